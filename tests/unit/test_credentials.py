"""Passwords and tokens are neither printed nor kept: not in caches, messages or results."""

from __future__ import annotations

import json
import pickle

import pytest
from huggingface_hub import constants
from support.runs import quiet, write_study
from support.trajectories import run_cli

from cntbench.errors import CntbenchError, without_credentials
from cntbench.models.hub import client
from cntbench.models.trajectory import open_trajectory
from cntbench.results.failure import Failure

SECRET = "s3cret"
TOKEN = "hf_" + "Abc1" * 9


@pytest.fixture
def guarded(hub, monkeypatch):
    """The hub under an address that holds a password; returns it without."""
    plain = hub.endpoint
    hub.endpoint = plain.replace("://", f"://me:{SECRET}@")
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    url = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    return plain


def holding(folder, *words: str) -> list[str]:
    """Files that hold one of some words in clear."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [
        str(path) for path in files if any(word.encode() in path.read_bytes() for word in words)
    ]


@pytest.mark.parametrize("trouble", ["none", "refused", "cut", "gated"])
def test_a_password_in_the_address_of_the_hub_is_kept_nowhere(
    hub, guarded, trouble, tmp_path, monkeypatch, capsys
):
    if trouble == "gated":
        hub.gated = True
    elif trouble != "none":
        kind = "status" if trouble == "refused" else "cut"
        hub.break_("step8", "model.safetensors", kind, status=403)
    write_study(tmp_path / "specs", "quick", tmp_path, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    arguments = ["quick", "--trajectory", "hub:lab/tiny@step0,step8", "-j", 1]
    code, *printed = run_cli(monkeypatch, capsys, "run", *arguments, "-o", tmp_path / "out")
    assert code == {"none": 0, "gated": 2}.get(trouble, 3), printed
    assert SECRET not in "".join(printed)
    assert not holding(tmp_path, SECRET)
    if trouble == "gated":
        assert f"{guarded}/lab/tiny" in printed[1]


@pytest.mark.parametrize("trajectory", ["hub:lab/other@step0", "hub:lab/tiny@step9"])
def test_a_password_stands_in_no_message(guarded, trajectory):
    with pytest.raises(CntbenchError) as caught:
        open_trajectory(trajectory, quiet)
    assert SECRET not in str(caught.value)


def test_what_is_kept_without_the_password_serves_with_it(guarded, monkeypatch):
    open_trajectory("hub:lab/tiny@step0", quiet)
    record = json.loads(client._record_path("lab/tiny").read_text())
    assert record["endpoint"] == guarded
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_trajectory("hub:lab/tiny@step0", quiet).checkpoints[0].identity


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"http://me:{SECRET}@host:80/a answers", "http://host:80/a answers"),
        (f"at tcp://{SECRET}@host", "at tcp://host"),
        (f"Illegal header value b'Bearer {SECRET}'", "Illegal header value b'Bearer '"),
        (f"token {TOKEN} is not valid", "token  is not valid"),
        (
            "hub:lab/tiny@step8 at https://host/a?b=c@d",
            "hub:lab/tiny@step8 at https://host/a?b=c@d",
        ),
        ("hf_transformers_checkpoints/step8", "hf_transformers_checkpoints/step8"),
    ],
)
def test_credentials_are_left_out_of_every_error(text, left):
    assert without_credentials(text) == left
    error = CntbenchError(text, where=text, hint=text)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == f"{left}: {left}\n{left}"
    assert Failure.of(OSError(text), "").reason == " ".join(f"OSError: {left}".split())
