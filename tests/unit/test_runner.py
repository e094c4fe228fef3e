"""Runs: the engine's numbers, the same on any number of processes, and nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from filelock import FileLock
from safetensors.torch import load_file, save_file
from support import runs
from support.runs import quiet
from support.trajectories import die, write_trajectory

import cntbench
from cntbench.analysis.derived import DerivedPart
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.models.trajectory import Trajectory
from cntbench.results.failure import Failure
from cntbench.results.storage import open_results
from cntbench.runs.executors import processes
from cntbench.runs.folder import RunFolder
from cntbench.runs.plan import Plan
from cntbench.runs.run import Interrupted, Outcome, run

#: Two tasks by two ablations, with untrained models and null models.
LARGER = {
    "tasks": ("induction", "bigram"),
    "ablations": ("zero", "resample"),
    "prompts": 3,
    "untrained": 2,
    "null_draws": 9,
}


def plan_for(folder: Path, **changes: object) -> Plan:
    return runs.plan_for(folder, **{**LARGER, **changes})


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoints that no test changes."""
    return write_trajectory(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def plan(checkpoints):
    return plan_for(checkpoints)


#: Of a study with one cell, where a test is about checkpoints.
ONE_CELL = {"tasks": ("induction",), "ablations": ("zero",), "null_draws": 0}


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory) -> Outcome:
    """The outcome of a whole run in this process, which no test changes."""
    return run(plan, tmp_path_factory.mktemp("finished") / "run", jobs=1, progress=quiet)


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the folder of the whole run."""
    return shutil.copytree(finished.path.parent, tmp_path / "run")


@pytest.fixture
def changing(tmp_path):
    """Checkpoints that a test may change."""
    return write_trajectory(tmp_path / "checkpoints")


def checkpoint_files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "checkpoints").iterdir()}


def test_files_are_read_while_others_are_measured(finished, plan, folder):
    """Their reading would otherwise be a time at the end in which all processes but one wait."""
    left = RunFolder(folder)
    for subject in plan.subjects:
        left.checkpoint_file(subject).unlink()

    def removing(measurer, ahead, jobs):
        for subject, failure in processes.execute(measurer, ahead, jobs):
            yield subject, failure
            left.checkpoint_file(subject).unlink()

    again = run(plan, folder, jobs=1, progress=quiet, execute=removing)
    assert (again.measured, again.failed) == (3, {})
    assert again.path.read_bytes() == finished.path.read_bytes()


def test_the_result_holds_what_the_engine_measures(plan, finished):
    assert (finished.measured, finished.reused, finished.failed) == (3, 0, {})
    film = open_results(finished.path).to_dataset()
    assert film.sizes["checkpoint"] == 3
    model = plan.trajectory.load(plan.trajectory.checkpoints[1])
    direct = influence(Request(model, plan.prompts[0], [entry.method for entry in plan.ablations]))
    at = {"task": "induction", "checkpoint": "step8"}
    np.testing.assert_array_equal(film["influence"].sel(at), direct.influence.astype(np.float32))
    by_readout = film["readout_effect"].sel({**at, "readout": "logit_difference"})
    np.testing.assert_array_equal(by_readout, direct.readout_effect[:, 2].astype(np.float32))
    effect = film["readout_effect"]
    assert effect.sel(readout="cross_entropy", task="induction").isnull().all()
    assert effect.sel(readout="cross_entropy", task="bigram").notnull().all()


def test_metrics_stand_in_a_group(finished):
    tree = open_results(finished.path)
    strength = tree["metrics"]["out_strength"].sel(task="induction", ablation="zero")
    weights = tree["influence"].sel(task="induction", ablation="zero")
    np.testing.assert_allclose(strength, weights.sum("target"), rtol=1e-6)
    assert tree["metrics"]["turnover"].isel(checkpoint=0).isnull().all()


def test_null_models_and_roles_stand_in_groups(checkpoints, finished, tmp_path):
    tree = open_results(finished.path)
    at = {"task": "induction", "ablation": "zero", "checkpoint": "step8"}
    message = tree["nulls"]["out_strength"].sel(at).sel(statistic="mean")
    weights = tree["influence"].sel(at).values[:3, 3:]
    np.testing.assert_allclose(message[:3], weights.mean() * 3, rtol=0.5)
    rank = tree["roles"]["spreader_rank"].sel(at)
    assert sorted(rank.values[:3]) == [1, 2, 3]
    assert rank[3:].isnull().all(), "the last layer has no targets"
    with pytest.raises(KeyError):
        open_results(
            run(
                plan_for(checkpoints, **ONE_CELL),
                tmp_path / "no",
                jobs=1,
                progress=quiet,
            ).path
        )["nulls"]


def test_untrained_models_are_measured_beside_the_trajectory(plan, finished):
    others = open_results(finished.path)["untrained"]
    assert list(others["seed"].values) == [2**31, 2**31 + 1]
    assert others["influence"].dims == ("task", "ablation", "seed", "source", "target")
    config = plan.trajectory.config
    made = [plan.trajectory.read(model, config)[1] for model in plan.untrained]
    methods = [entry.method for entry in plan.ablations]
    for i, model in enumerate(made):
        direct = influence(Request(model, plan.prompts[0], methods)).influence.astype(np.float32)
        part = others["influence"].sel(task="induction").isel(seed=i)
        np.testing.assert_array_equal(part, direct)
    assert not (made[0].unembed.weight == made[1].unembed.weight).all()
    gini = finished.tree["nulls"]["gini"]
    assert gini.attrs["draws"] == 2
    assert gini.notnull().all()


def test_other_numbers_of_untrained_models_and_draws_use_what_is_there(checkpoints, folder):
    before = checkpoint_files(folder)
    more = plan_for(checkpoints, untrained=3, null_draws=5)
    again = run(more, folder, jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (0, 3)
    assert checkpoint_files(folder) == before
    assert again.tree["untrained"].sizes["seed"] == 3
    none = run(plan_for(checkpoints, untrained=0), folder, jobs=1, progress=quiet).tree
    assert "untrained" not in none.children
    assert none["nulls"]["gini"].isnull().all()
    assert "no untrained models were measured" in none["nulls"]["gini"].attrs["undefined"]


def test_a_finished_run_is_not_worked_out_again(plan, folder, monkeypatch):
    whole = (folder / "results.nc").read_bytes()

    def fail(part):
        raise AssertionError("worked out again")

    with monkeypatch.context() as patched:
        patched.setattr(DerivedPart, "work", fail)
        assert run(plan, folder, jobs=1, progress=quiet).path.read_bytes() == whole
        (folder / "checkpoints" / "step8.nc").unlink()
        assert run(plan, folder, jobs=1, progress=quiet).path.read_bytes() == whole
        (folder / "results.nc").unlink()
        with pytest.raises(AssertionError, match="worked out again"):
            run(plan, folder, jobs=1, progress=quiet)
    assert run(plan, folder, jobs=1, progress=quiet).path.read_bytes() == whole


def test_nobody_is_told_the_seeds_of_untrained_models(checkpoints, tmp_path):
    told = []
    plan = plan_for(checkpoints, **ONE_CELL)
    run(plan, tmp_path / "run", jobs=1, progress=lambda what, done, total: told.append(what))
    measured = [what for what in told if what.startswith("measured ")]
    assert measured[-3:] == [
        "measured checkpoint step100",
        "measured untrained model 1 of 2",
        "measured untrained model 2 of 2",
    ]
    assert str(2**31)[:6] not in " ".join(told)


def test_an_untrained_model_that_fails_costs_no_other(checkpoints, tmp_path, monkeypatch):
    plan = plan_for(checkpoints, **ONE_CELL)
    read = Trajectory.read

    def failing(self, subject, folder, dtype):
        if subject == plan.untrained[0]:
            raise ValueError("no such model")
        return read(self, subject, folder, dtype)

    monkeypatch.setattr(Trajectory, "read", failing)
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    failure = Failure("failed", "ValueError: no such model")
    assert outcome.failed == {"untrained model 1 of 2": failure}
    assert outcome.measured == 3
    assert list(outcome.tree["untrained"]["seed"].values) == [2**31 + 1]


def test_no_checkpoint_leaves_nothing_but_gaps(changing, tmp_path):
    plan = plan_for(changing)
    for path in changing.glob("*/model.safetensors"):
        path.unlink()
    tree = run(plan, tmp_path / "run", jobs=1, progress=quiet).tree
    assert (tree["status"] == "failed").all()
    assert tree["roles"]["spreader_strength"].isnull().all()
    assert tree["nulls"]["out_strength"].isnull().all()


def test_an_interrupted_summary_is_interrupted(checkpoints, tmp_path, monkeypatch):
    plan = plan_for(checkpoints, **ONE_CELL)

    def interrupt(part):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DerivedPart, "work", interrupt)
        with pytest.raises(Interrupted, match="3 of 3 checkpoints are kept"):
            run(plan, tmp_path / "run", jobs=1, progress=quiet)
    assert run(plan, tmp_path / "run", jobs=1, progress=quiet).reused == 3


def test_processes_give_the_same_bytes(plan, finished, tmp_path):
    two = run(plan, tmp_path / "two", jobs=2, progress=quiet)
    assert finished.path.read_bytes() == two.path.read_bytes()


def test_going_on_measures_only_what_is_missing(plan, folder):
    whole = (folder / "results.nc").read_bytes()
    before = checkpoint_files(folder)
    (folder / "checkpoints" / "step8.nc").unlink()
    damaged = folder / "checkpoints" / "step100.nc"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    again = run(plan, folder, jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (2, 1)
    assert checkpoint_files(folder)["step0.nc"] == before["step0.nc"]
    assert again.path.read_bytes() == whole


def test_an_interrupted_run_goes_on_to_the_same_bytes(plan, finished, tmp_path):
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="2 of 3 checkpoints are kept"):
        run(plan, tmp_path / "run", jobs=1, progress=interrupt)
    assert not (tmp_path / "run" / "results.nc").exists()
    assert sorted(checkpoint_files(tmp_path / "run")) == ["step0.nc", "step8.nc"]
    again = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (1, 2)
    assert again.path.read_bytes() == finished.path.read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_checkpoint_that_fails_costs_no_other(changing, tmp_path, jobs):
    plan = plan_for(changing, **ONE_CELL)
    path = changing / "step8" / "model.safetensors"
    good = load_file(path)
    save_file({name: tensor + 1 for name, tensor in good.items()}, path)
    outcome = run(plan, tmp_path / "run", jobs=jobs, progress=quiet)
    assert list(outcome.failed) == ["step8"]
    film = open_results(outcome.path).to_dataset()
    assert (film["status"].sel(checkpoint="step8") == "failed").all()
    assert "have changed since" in film["status_reason"].sel(checkpoint="step8").values[0, 0]
    assert film["influence"].sel(checkpoint=["step0", "step100"]).notnull().any()
    save_file(good, path)
    again = run(plan, tmp_path / "run", jobs=jobs, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (1, 2, {})


def test_workers_that_die_lose_nothing_but_the_run(plan, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first = plan.trajectory.checkpoints[0].name
    whole = finished.path.parent
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / f"{first}.nc", folder / "checkpoints")
    shutil.copy(whole / "study.json", folder)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "_work", die)
        outcome = run(plan, folder, jobs=2, progress=quiet)
    assert (outcome.measured, outcome.reused) == (0, 1)
    assert {"step8", "step100"} < set(outcome.failed)
    reasons = [failure.reason for failure in outcome.failed.values()]
    assert all("its worker was killed twice" in reason for reason in reasons)
    again = run(plan, folder, jobs=2, progress=quiet)
    assert (again.measured, again.reused, again.failed) == (2, 1, {})
    assert again.path.read_bytes() == finished.path.read_bytes()


def test_duplicates_are_marked(changing, tmp_path):
    shutil.copytree(changing / "step0", changing / "step1")
    plan = plan_for(changing, **ONE_CELL)
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    status = outcome.tree["status"].sel(task="induction", ablation="zero")
    assert list(status.values) == ["ok", "duplicate", "ok", "ok"]
    assert outcome.tree["metrics"]["gini"].sel(checkpoint="step1").isnull().all()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prompts": 4}, "prompts"),
        ({"seed": 1}, "seed"),
        ({"tasks": ("induction",)}, r"tasks\.bigram"),
        ({"ablations": ("zero",)}, r"ablations\.resample"),
    ],
)
def test_a_folder_of_another_study_is_refused(checkpoints, folder, changes, named):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(CntbenchError, match=f"belongs to another study; different: {named}"):
        run(plan_for(checkpoints, **changes), folder, jobs=1, progress=quiet)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_prose_in_a_spec_does_not_make_another_study(plan, checkpoints):
    assert "summary" not in plan.identity["tasks"]["induction"]
    assert plan.hash == plan_for(checkpoints).hash


def test_a_folder_that_cannot_be_used_is_refused(plan, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear")
    with pytest.raises(CntbenchError, match="not the folder of a run"):
        run(plan, tmp_path / "notes", jobs=1, progress=quiet)
    with pytest.raises(CntbenchError, match="is a file"):
        run(plan, tmp_path / "notes" / "diary.txt", jobs=1, progress=quiet)
    with pytest.raises(CntbenchError, match="cannot be written"):
        run(plan, tmp_path / "notes" / "diary.txt" / "run", jobs=1, progress=quiet)
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear"


def test_a_second_run_in_the_same_folder_is_refused(plan, folder):
    with (
        FileLock(folder / ".lock"),
        pytest.raises(CntbenchError, match="another run is using this folder"),
    ):
        run(plan, folder, jobs=1, progress=quiet)


def test_a_model_that_is_too_small_is_refused_before_anything_is_written(tmp_path):
    small = write_trajectory(tmp_path / "small", vocabulary=20)
    with pytest.raises(CntbenchError, match=r"task 'long_gap': the vocabulary is too small: 24"):
        plan_for(small, tasks=("long_gap",))
    short = write_trajectory(tmp_path / "short", context=16)
    with pytest.raises(CntbenchError, match=r"'induction' has prompts of 32 tokens.* is 16"):
        plan_for(short)


def test_an_ablation_by_other_prompts_needs_two(checkpoints):
    with pytest.raises(CntbenchError, match="'resample_other' takes outputs from other prompts"):
        plan_for(checkpoints, ablations=("resample_other",), prompts=1)


def test_verdicts_that_were_added_stay_with_their_film(checkpoints, tmp_path):
    plan = plan_for(checkpoints, **ONE_CELL, untrained=0)
    path = run(plan, tmp_path / "run", jobs=1, progress=quiet).path
    added = cntbench.claims(path, "long_tailed_weights", draws=19)
    again = run(plan, tmp_path / "run", jobs=1, progress=quiet).tree
    for name in ("claims", "phases"):
        xr.testing.assert_identical(again[name].to_dataset(), added[name].to_dataset())
    fewer = plan_for(checkpoints, **ONE_CELL, untrained=0, checkpoints="count=1")
    assert "claims" not in run(fewer, tmp_path / "run", jobs=1, progress=quiet).tree
