"""A hub that hangs: given up after the time that the user sets, said, and tried again later."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import close_session
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
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    return hub


@pytest.fixture
def impatient(hub, monkeypatch):
    """Wait for a quarter of a second from now on; returns how long each request may wait [s]."""
    waits, before = [], patience._before

    def noted(request):
        before(request)
        waits.append(max(request.extensions["timeout"].values()))

    def start():
        hub.requests.clear()
        monkeypatch.setattr(patience, "_before", noted)
        monkeypatch.setenv(patience.VARIABLE, "0.25")
        close_session()  # whose hooks are those of before
        return waits

    return start


@pytest.mark.parametrize(
    "fault",
    [{"kind": "hang"}, {"kind": "hang", "method": "GET"}, {"kind": "stall", "method": "GET"}],
    ids=["no metadata", "no answer", "no more bytes"],
)
def test_a_file_whose_hub_hangs_is_given_up_in_time(hub, impatient, tmp_path, fault):
    """huggingface_hub alone asks several times, and waits 10 s each time."""
    checkpoint = open_trajectory(ALL, quiet).checkpoints[1]
    hub.break_("step8", WEIGHTS, **fault)
    waits = impatient()
    with pytest.raises(HubTimeoutError) as caught:
        checkpoint.origin.fetch(tmp_path / "room")
    assert all(0 < wait <= 0.25 for wait in waits)
    assert hub.requests.count((fault.get("method", "HEAD"), "step8", WEIGHTS)) <= 1
    assert str(caught.value) == (
        "hub:lab/tiny@step8: could not be downloaded: the hub has sent nothing for 0.25 s\n"
        "CNTBENCH_HUB_TIMEOUT says how many seconds to wait."
    )


def test_a_list_of_revisions_that_hangs_is_given_up_in_time(hub, impatient):
    hub.break_("", "refs", "hang")
    waits = impatient()
    with pytest.raises(CntbenchError, match=r"the hub has sent nothing for 0\.25 s"):
        open_trajectory(ALL, quiet)
    assert all(0 < wait <= 0.25 for wait in waits)
    assert hub.requests.count(("GET", "", "refs")) <= 1


def test_a_slow_hub_is_waited_for(hub, tmp_path, monkeypatch):
    """By a clock that goes 40 s with each request for the file: every part starts the time anew."""
    checkpoint = open_trajectory(ALL, quiet).checkpoints[1]
    size = (hub.folder / "step8" / WEIGHTS).stat().st_size
    request = ("GET", "step8", WEIGHTS)
    clock = SimpleNamespace(monotonic=lambda: 1 + 40.0 * hub.requests.count(request))
    monkeypatch.setattr(patience, "time", clock)
    hub.break_("step8", WEIGHTS, "cut", method="GET", times=3, size=size // 5)
    folder = checkpoint.origin.fetch(tmp_path / "room")
    assert hub.requests.count(request) == 4, "longer than the hub may be silent"
    assert (folder / WEIGHTS).stat().st_size == size


def test_a_checkpoint_whose_hub_hangs_is_tried_again_after_the_others(hub, tmp_path):
    checkpoints = open_trajectory(ALL, quiet).checkpoints
    hangs = [HubTimeoutError("the hub has sent nothing for 60 s", where="step0")]
    arrived, failed = [], []

    def fetch(subject, room):
        if subject.name == "step0" and hangs:
            raise hangs.pop()
        return subject.origin.fetch(room)

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
    assert str(warning.message).endswith("nothing for 60 s; tried again after the others")
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
