"""Runs over a hub: downloads ahead, what lies on disk, and nothing that goes wrong is lost."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants, hf_hub_download
from safetensors.torch import load_file, save_file
from support import runs
from support.runs import quiet
from support.trajectories import Trap, as_pickle, spoil, write_trajectory

from cntbench.errors import CntbenchError
from cntbench.results.storage import open_results
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.plan import Plan
from cntbench.runs.resources import Resources
from cntbench.runs.run import Interrupted, Outcome, run

ALL = "hub:lab/tiny@step0,step8,step100"


def plan_for(trajectory: str = ALL, **changes: object) -> Plan:
    return runs.plan_for(trajectory, **changes)


def statuses(outcome: Outcome) -> dict[str, str]:
    status = outcome.tree["status"].sel(task="induction", ablation="zero")
    return dict(zip(status["checkpoint"].values.tolist(), status.values.tolist(), strict=True))


@pytest.fixture
def watch(monkeypatch):
    """Call a function whenever a checkpoint is about to be measured, and one after it was."""
    measured = CheckpointMeasurer.measured

    def watching(look, after=lambda name: None):
        def watched(self, piece, files):
            look(piece.subject.name)
            result = measured(self, piece, files)
            after(piece.subject.name)
            return result

        monkeypatch.setattr(CheckpointMeasurer, "measured", watched)

    return watching


def test_a_run_over_the_hub_has_the_numbers_of_the_same_files_in_a_folder(hub, tmp_path):
    here = plan_for(f"dir:{hub.folder}", untrained=1)
    ours = run(plan_for(untrained=1), tmp_path / "hub", jobs=1, progress=quiet)
    theirs = run(here, tmp_path / "dir", jobs=1, progress=quiet)
    for name, variable in theirs.tree.variables.items():
        np.testing.assert_array_equal(ours.tree[name].values, variable.values)
    assert ours.tree.attrs["source"] == "hub:lab/tiny"
    for name in hub.revisions():
        assert f'"{name}": "{hub.commit(name)}"' in ours.tree.attrs["spec"]


def test_processes_give_the_same_bytes_and_leave_no_downloads(hub, tmp_path):
    plan = plan_for(untrained=1)
    result = run(plan, tmp_path / "one", jobs=1, progress=quiet)
    two = run(plan, tmp_path / "two", jobs=2, progress=quiet, resources=Resources(keep=0))
    assert result.failed == two.failed == {}
    assert result.path.read_bytes() == two.path.read_bytes()
    assert not (tmp_path / "one" / "downloads").exists()
    assert not (tmp_path / "two" / "downloads").exists()


def wait_for(condition, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_the_next_checkpoints_download_while_one_is_measured(hub, tmp_path, watch, keep):
    order = ["step0", "step8", "step100", "step101"]
    shutil.copytree(hub.folder / "step0", hub.folder / "step101")
    plan = plan_for(f"{ALL},step101")
    on_disk, early = [], []

    def coming(name):
        return set(order[: order.index(name) + 1 + keep])

    def after(name):
        early.append(set(hub.asked()) == coming(name))

    def look(name):
        early.append(wait_for(lambda: set(hub.asked()) >= coming(name)))
        on_disk.append(len(list((tmp_path / "run" / "downloads").iterdir())))

    watch(look, after)
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet, resources=Resources(keep=keep))
    assert outcome.failed == {}
    assert all(early)
    assert max(on_disk) == 1 + keep


def test_what_the_user_had_in_the_hub_cache_is_used_and_stays(hub, tmp_path, watch):
    for file in ("config.json", "model.safetensors"):
        kept = hf_hub_download("lab/tiny", file, revision="step8")
    hub.requests.clear()
    outcome = run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    assert outcome.failed == {}
    assert hub.asked() == ["step0", "step100"]
    assert Path(kept).is_file()


def test_what_a_killed_run_left_behind_is_used_or_deleted(hub, tmp_path):
    plan = plan_for()
    downloads = tmp_path / "run" / "downloads"
    plan.trajectory.checkpoints[0].origin.fetch(downloads / "step0")
    (downloads / "step8").mkdir()
    (downloads / "step8" / "model.safetensors").write_bytes(b"half")
    (downloads / "step77").mkdir()
    whole = run(plan, tmp_path / "whole", jobs=1, progress=quiet)
    # A run that is killed this early has no manifest yet.
    for path in downloads.parent.rglob("*"):
        if path.is_file() and "downloads" not in path.parts:
            path.unlink()
    shutil.move(downloads, tmp_path / "left")
    shutil.copytree(tmp_path / "whole", tmp_path / "run", dirs_exist_ok=True)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    shutil.move(tmp_path / "left", downloads)
    hub.requests.clear()
    again = run(plan, tmp_path / "run", jobs=1, progress=quiet, resources=Resources(keep=1))
    assert hub.asked() == ["step8", "step100"]
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert not downloads.exists()


def test_offline_a_run_goes_on_from_the_hub_cache(hub, tmp_path, monkeypatch):
    whole = run(plan_for(), tmp_path / "whole", jobs=1, progress=quiet).path.read_bytes()
    hub.break_("step8", "model.safetensors", "status", status=403)
    first = run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    assert statuses(first) == {"step0": "ok", "step8": "failed", "step100": "ok"}
    hub.mend()
    for file in ("config.json", "model.safetensors"):
        hf_hub_download("lab/tiny", file, revision="step8")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    again = run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (1, 2, {})
    assert not hub.requests
    assert again.path.read_bytes() == whole


def break_everything(hub) -> dict[str, str]:
    """Let everything go wrong that can; returns the statuses that follow."""
    steps = (2, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000)
    write_trajectory(hub.folder, steps=steps, first_seed=10)
    for name in ("step1", "step3000"):
        shutil.copytree(hub.folder / "step0", hub.folder / name)
    spoil(hub.folder / "step2")
    hub.hidden.add("step4")
    weights = "model.safetensors"
    hub.break_("step8", weights, "status", times=1, status=429, headers={"Retry-After": "4"})
    hub.break_("step16", weights, "status", times=2, status=500)
    hub.break_("step32", weights, "status", status=500)
    hub.break_("step64", weights, "hang", method="GET")
    hub.break_("step128", weights, "cut", times=1, method="GET")
    hub.break_("step256", weights, "short", method="GET")
    hub.break_("step512", weights, "status", status=403)
    (hub.folder / "step1000" / weights).unlink()
    path = as_pickle(hub.folder / "step2000")
    torch.save({"trap": Trap(hub.folder.parent / "canary")}, path)
    hub.break_("step4000", weights, "short")
    return {
        "step0": "ok",
        "step1": "duplicate",
        "step2": "failed",
        "step4": "missing",
        "step8": "ok",
        "step16": "ok",
        "step32": "failed",
        "step64": "failed",
        "step100": "ok",
        "step128": "ok",
        "step256": "failed",
        "step512": "failed",
        "step1000": "missing",
        "step2000": "failed",
        "step3000": "duplicate",
        "step4000": "failed",
    }


REASONS = {
    "step1": "same weights as step0",
    "step2": "tensor 'gpt_neox.final_layer_norm.bias' has non-finite numbers",
    "step4": "the repository has no such revision",
    "step32": "could not be downloaded: the hub answers 500",
    "step64": "could not be downloaded: the hub cannot be reached",
    "step256": "could not be downloaded: the download is incomplete",
    "step512": "access is refused: the hub answers 403",
    "step1000": "the revision has no model.safetensors or pytorch_model.bin",
    "step2000": "pytorch_model.bin: is a pickle of more than tensors",
    "step3000": "same weights as step0",
    "step4000": "model.safetensors: is not a complete safetensors file",
}


def repair_everything(hub) -> None:
    hub.mend()
    write_trajectory(hub.folder, steps=(2, 4, 1000, 2000), first_seed=30)
    (hub.folder / "step2000" / "pytorch_model.bin").unlink()
    hub.hidden.clear()


@pytest.fixture(scope="module")
def undisturbed():
    """The bytes of a run of what was repaired, once there was one: they are always the same."""
    return []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_through_everything_that_can_go_wrong(hub, undisturbed, tmp_path, jobs):
    expected = break_everything(hub)
    text = f"hub:lab/tiny@{','.join(expected)}"
    outcome = run(plan_for(text), tmp_path / "run", jobs=jobs, progress=quiet)
    assert statuses(outcome) == expected
    assert not (hub.folder.parent / "canary").exists()
    reasons = outcome.tree["status_reason"].isel(task=0, ablation=0)
    for name, reason in REASONS.items():
        message = reasons.sel(checkpoint=name).item()
        assert message.startswith(reason), (name, message)
        assert str(tmp_path) not in message
        assert "\n" not in message
    lost = [name for name, status in expected.items() if status in ("missing", "failed")]
    assert sorted(outcome.failed) == sorted(lost)
    assert not (tmp_path / "run" / "downloads").exists()
    good = [status == "ok" for status in expected.values()]
    for metric in ("gini", "turnover"):
        defined = outcome.tree["metrics"][metric].notnull().isel(task=0, ablation=0).values
        first = [False] if metric == "turnover" else [True]
        assert list(defined[good]) == first + [True] * (sum(good) - 1)
        assert not defined[~np.array(good)].any()
    assert outcome.tree["influence"].sel(checkpoint=lost).isnull().all()

    repair_everything(hub)
    again = run(plan_for(text), tmp_path / "run", jobs=jobs, progress=quiet)
    assert set(statuses(again).values()) == {"ok", "duplicate"}
    assert sorted(hub.asked()) == sorted(lost)
    assert again.failed == {}
    assert (again.measured, again.reused) == (len(lost), len(expected) - len(lost))
    if not undisturbed:
        whole = run(plan_for(text), tmp_path / "whole", jobs=1, progress=quiet)
        undisturbed.append(whole.path.read_bytes())
    assert [again.path.read_bytes()] == undisturbed


def test_a_branch_that_moves_changes_no_run_that_has_begun(hub, tmp_path):
    hub.break_("step100", "model.safetensors", "status", status=403)
    run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    hub.mend()
    hub.moved |= {"step8", "step100"}
    again = run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (1, 2, {})
    for name in ("step8", "step100"):
        assert hub.commit(name, moved=False) in again.tree.attrs["spec"]
    fresh = run(plan_for(), tmp_path / "fresh", jobs=1, progress=quiet)
    assert hub.commit("step8", moved=True) in fresh.tree.attrs["spec"]


def test_a_branch_that_is_deleted_costs_nothing_that_was_measured(hub, tmp_path):
    run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    hub.hidden.add("step8")
    again = run(plan_for(), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (0, 3, {})
    assert statuses(again)["step8"] == "ok"


def test_an_interrupt_does_not_wait_for_a_download(hub, tmp_path, monkeypatch):
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 60)
    before = set(threading.enumerate())
    hub.break_("step8", "model.safetensors", "hang")

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 1 and wait_for(lambda: hub.hanging):
            raise KeyboardInterrupt

    plan = plan_for()
    with pytest.raises(Interrupted, match="1 of 3"):
        run(plan, tmp_path / "run", jobs=1, progress=interrupt)
    assert hub.hanging, "it was not waited for"
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    hub.mend()
    assert run(plan, tmp_path / "run", jobs=1, progress=quiet).failed == {}


def overwrite(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)


def test_a_folder_whose_weights_changed_is_refused_where_they_were_measured(tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints")
    text = f"dir:{folder}"
    first = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet).path.read_bytes()
    overwrite(folder / "step8")
    with pytest.raises(
        CntbenchError,
        match=r"different: checkpoints\.step8\n.*files in checkpoints to measure again",
    ):
        run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert (tmp_path / "run" / "results.nc").read_bytes() == first
    (tmp_path / "run" / "checkpoints" / "step8.nc").unlink()
    again = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (1, 2)
    whole = run(plan_for(text), tmp_path / "whole", jobs=1, progress=quiet)
    assert again.path.read_bytes() == whole.path.read_bytes()


def test_a_bad_checkpoint_of_a_folder_is_tried_again_when_it_is_mended(tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints")
    text = f"dir:{folder}"
    whole = run(plan_for(text), tmp_path / "whole", jobs=1, progress=quiet).path.read_bytes()
    path = folder / "step8" / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:100])
    outcome = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert statuses(outcome) == {"step0": "ok", "step8": "failed", "step100": "ok"}
    path.write_bytes(good)
    again = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (1, 2, {})
    assert again.path.read_bytes() == whole


def test_a_shard_outlives_its_weights_and_is_not_taken_for_others(tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints")
    text = f"dir:{folder}"
    run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    path = folder / "step8" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    again = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.reused, again.failed) == (3, {})
    shutil.rmtree(folder / "step8")
    write_trajectory(tmp_path / "other", steps=(1, 2, 8))
    shutil.move(tmp_path / "other" / "step8", folder / "step8")
    with pytest.raises(CntbenchError, match=r"different: checkpoints\.step8"):
        run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)


def test_a_shard_of_other_weights_is_measured_again(tmp_path):
    """Weights that nobody could read when the run began, and that changed since."""
    folder = write_trajectory(tmp_path / "checkpoints")
    text = f"dir:{folder}"
    plan = plan_for(text)
    unknown = plan.trajectory.checkpoints[1]
    run(plan, tmp_path / "run", jobs=1, progress=quiet)
    manifest = tmp_path / "run" / "study.json"
    manifest.write_text(manifest.read_text().replace(unknown.revision, ""))
    overwrite(folder / "step8")
    again = run(plan_for(text), tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (1, 2)
    dataset = open_results(tmp_path / "run" / "checkpoints" / "step8.nc")
    assert dataset["revision"].item() == plan_for(text).trajectory.checkpoints[1].revision
