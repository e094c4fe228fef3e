"""A hub that hangs: given up after the time that the user sets, said, and tried again later."""

from __future__ import annotations

import time
import warnings

import pytest
from huggingface_hub import constants, file_download
from support.runs import quiet

from cntbench.errors import CntbenchError, CntbenchWarning, HubTimeoutError
from cntbench.models.hub import patience
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.prefetch import Prefetch

ALL = "hub:lab/tiny@step0,step8,step100"
WEIGHTS = "model.safetensors"


@pytest.fixture
def hub(hub, monkeypatch):
    """A hub for which huggingface_hub by itself would wait as long as it usually does."""
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 10)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 60)
    monkeypatch.setenv(patience.VARIABLE, "0.25")
    return hub


@pytest.mark.parametrize(
    "fault",
    [{"kind": "hang"}, {"kind": "hang", "method": "GET"}, {"kind": "stall", "method": "GET"}],
    ids=["no metadata", "no answer", "no more bytes"],
)
def test_a_file_whose_hub_hangs_is_given_up_in_time(hub, tmp_path, fault):
    checkpoint = open_trajectory(ALL, quiet).checkpoints[1]
    hub.break_("step8", WEIGHTS, **fault)
    start = time.monotonic()
    with pytest.raises(HubTimeoutError) as caught:
        checkpoint.origin.fetch(tmp_path / "room")
    assert 0.2 < time.monotonic() - start < 2, "huggingface_hub alone waits 80 s or more"
    assert str(caught.value) == (
        "hub:lab/tiny@step8: could not be downloaded: the hub has sent nothing for 0.25 s\n"
        "CNTBENCH_HUB_TIMEOUT says how many seconds to wait."
    )


def test_a_list_of_revisions_that_hangs_is_given_up_in_time(hub):
    hub.break_("", "refs", "hang")
    start = time.monotonic()
    with pytest.raises(CntbenchError, match=r"the hub has sent nothing for 0\.25 s"):
        open_trajectory(ALL, quiet)
    assert time.monotonic() - start < 2


def test_a_slow_hub_is_waited_for(hub, tmp_path):
    checkpoint = open_trajectory(ALL, quiet).checkpoints[1]
    size = (hub.folder / "step8" / WEIGHTS).stat().st_size
    hub.break_("step8", WEIGHTS, "slow", method="GET", size=size // 5)
    start = time.monotonic()
    folder = checkpoint.origin.fetch(tmp_path / "room")
    assert time.monotonic() - start > 0.4, "longer than the hub may be silent"
    assert (folder / WEIGHTS).stat().st_size == size


def test_a_checkpoint_whose_hub_hangs_is_tried_again_after_the_others(hub, tmp_path):
    checkpoints = open_trajectory(ALL, quiet).checkpoints
    hub.break_("step0", WEIGHTS, "hang", times=1)
    hub.requests.clear()
    arrived, failed = [], []
    fetch = lambda subject, room: subject.origin.fetch(room)  # noqa: E731
    with (
        warnings.catch_warnings(record=True) as told,
        Prefetch(checkpoints, fetch, tmp_path / "rooms", 1) as ahead,
    ):
        warnings.simplefilter("always")
        while started := ahead.start():
            for subject, folder in started:
                error = folder.exception()
                if ahead.postpone(subject, error):
                    continue
                (failed if error else arrived).append(subject.name)
                ahead.release(subject)
    (warning,) = told
    assert issubclass(warning.category, CntbenchWarning)
    assert str(warning.message).endswith("nothing for 0.25 s; tried again after the others")
    assert (arrived, failed) == (["step8", "step100", "step0"], [])


def test_it_is_tried_again_once(hub, tmp_path):
    checkpoint = open_trajectory("hub:lab/tiny@step0", quiet).checkpoints[0]
    error = HubTimeoutError("hangs", where="step0")
    with Prefetch([], None, tmp_path / "rooms", 1) as ahead:
        assert not ahead.postpone(checkpoint, None)
        assert not ahead.postpone(checkpoint, CntbenchError("is gone"))
        with pytest.warns(CntbenchWarning):
            assert ahead.postpone(checkpoint, error)
        assert not ahead.postpone(checkpoint, error)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_that_is_none_is_refused(hub, monkeypatch, text):
    monkeypatch.setenv(patience.VARIABLE, text)
    with pytest.raises(CntbenchError, match=f"CNTBENCH_HUB_TIMEOUT: '{text}' is not a time"):
        open_trajectory(ALL, quiet)


def test_the_default_is_a_minute(monkeypatch):
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    assert patience.patience() == 60
