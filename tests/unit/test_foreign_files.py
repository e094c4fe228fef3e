"""A file that lies where a run keeps its own, and is of anything else, is never believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from support.runs import plan_for, quiet, write_study
from support.trajectories import run_cli, write_trajectory

from cntbench.results.failure import Failure
from cntbench.results.storage import open_results, write_results
from cntbench.runs.blocks import source_blocks
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.executors import dask, processes
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.merge import merge
from cntbench.runs.run import run, run_shard
from cntbench.runs.shard import Shard

#: What another run may have changed of a study, beside its seed.
OTHERS = {
    "seed": {"seed": 5},
    "task": {"tasks": ("bigram",)},
    "tasks": {"tasks": ("induction", "bigram")},
    "ablation": {"ablations": ("mean",)},
    "prompts": {"prompts": 3},
    "precision": {"dtype": "float64"},
    "blocks": {"blocks": 2},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8))


@pytest.fixture(scope="module")
def runs(checkpoints, tmp_path_factory) -> dict[str, RunFolder]:
    """A whole run of the plan, and the measurements of each of the others."""
    folder = tmp_path_factory.mktemp("runs")
    run(plan_for(checkpoints, untrained=2), folder / "mine", jobs=1, progress=quiet)
    for name, others in OTHERS.items():
        other = plan_for(checkpoints, untrained=2, **others)
        run_shard(other, RunFolder(folder / name, Shard(1, 1)), jobs=1, progress=quiet)
    return {path.name: RunFolder(path) for path in folder.iterdir()}


@pytest.fixture
def plan(checkpoints):
    return plan_for(checkpoints, untrained=2)


@pytest.fixture
def begun(runs, tmp_path) -> RunFolder:
    """A copy of the plan's run that lacks its result."""
    shutil.copytree(runs["mine"].path, tmp_path / "run")
    (tmp_path / "run" / "results.nc").unlink()
    return RunFolder(tmp_path / "run")


def whole(runs: dict[str, RunFolder]) -> bytes:
    return runs["mine"].results.read_bytes()


def without_identity(path: Path) -> None:
    """Rewrite a file as versions did whose files do not say what they are of."""
    plain = open_results(path).to_dataset()
    plain.attrs = {key: plain.attrs[key] for key in ("device", "determinism")}
    write_results(xr.DataTree(plain), path)


@pytest.mark.parametrize("other", OTHERS)
def test_files_of_another_run_are_not_read(runs, plan, begun, other):
    for subject in plan.subjects:
        shutil.copy(runs[other].checkpoint_file(subject), begun.checkpoint_file(subject))
        assert begun.read_checkpoint_file(plan, subject) is None, subject.name


def test_all_files_of_another_run_are_replaced(runs, plan, begun):
    for subject in plan.subjects:
        shutil.copy(runs["seed"].checkpoint_file(subject), begun.checkpoint_file(subject))
    outcome = run(plan, begun.path, jobs=1, progress=quiet)
    assert (outcome.measured, outcome.reused, outcome.failed) == (2, 0, {})
    assert outcome.path.read_bytes() == whole(runs)


@pytest.mark.parametrize("execute", [processes.execute, dask.execute])
@pytest.mark.usefixtures("forked_workers")
def test_a_copy_of_the_neighbour_is_measured_again_on_every_executor(runs, plan, begun, execute):
    first, second, one, two = plan.subjects
    shutil.copy(begun.checkpoint_file(first), begun.checkpoint_file(second))
    shutil.copy(begun.checkpoint_file(one), begun.checkpoint_file(two))
    outcome = run(plan, begun.path, jobs=2, progress=quiet, execute=execute)
    assert (outcome.measured, outcome.reused, outcome.failed) == (1, 1, {})
    assert outcome.path.read_bytes() == whole(runs)


def test_a_file_that_does_not_say_what_it_is_of_is_measured_again(runs, plan, begun):
    first, _, untrained, _ = plan.subjects
    without_identity(begun.checkpoint_file(first))
    without_identity(begun.checkpoint_file(untrained))
    outcome = run(plan, begun.path, jobs=1, progress=quiet)
    assert (outcome.measured, outcome.reused) == (1, 1)
    assert outcome.path.read_bytes() == whole(runs)


def test_another_config_of_the_same_weights_is_another_model(checkpoints, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, folder)
    run(plan_for(folder, untrained=1), tmp_path / "run", jobs=1, progress=quiet)
    config = json.loads((folder / "step0" / "config.json").read_text())
    for changed, measured in ({"transformers_version": "0"}, 0), ({"layer_norm_eps": 0.1}, 1):
        (folder / "step0" / "config.json").write_text(json.dumps(config | changed))
        plan = plan_for(folder, untrained=1)
        missing = [
            s for s in plan.subjects if RunFolder(tmp_path / "run").read_checkpoint_file(plan, s)
        ]
        assert len(missing) == 3 - 2 * measured, "of the untrained model, too"
        assert run(plan, tmp_path / "run", jobs=1, progress=quiet).measured == measured


@pytest.mark.parametrize("execute", [None, processes.execute])
def test_blocks_of_another_run_and_copies_of_their_neighbours(checkpoints, tmp_path, execute):
    def measured(folder: RunFolder, seed: int) -> None:
        plan = plan_for(checkpoints, blocks=3, seed=seed)
        subject = plan.trajectory.checkpoints[0]
        with folder.locked(plan):
            cells = CheckpointMeasurer(plan, folder)
            for piece in cells.blocks(subject):
                assert cells.attempt(piece, subject.origin.path) is None

    own, other = RunFolder(tmp_path / "mine"), RunFolder(tmp_path / "other")
    measured(own, 0)
    measured(other, 5)
    plan = plan_for(checkpoints, blocks=3)
    one, two, three = source_blocks(plan.trajectory.checkpoints[0], 3)
    shutil.copy(other.block(one), own.block(one))
    shutil.copy(own.block(three), own.block(two))
    assert [own.read_block(plan, piece) is None for piece in (one, two, three)] == [True] * 2 + [
        False
    ]
    options = {} if execute is None else {"execute": execute}
    jobs = 1 if execute is None else 2
    again = run(plan, own.path, jobs=jobs, progress=quiet, **options)
    expected = run(plan, tmp_path / "whole", jobs=1, progress=quiet)
    assert again.path.read_bytes() == expected.path.read_bytes()


@pytest.mark.parametrize("other", ["seed", "task", "tasks"])
def test_files_of_another_run_are_not_merged(runs, plan, begun, tmp_path, other):
    first, second, one, two = plan.subjects
    shutil.copy(runs[other].checkpoint_file(first), begun.checkpoint_file(first))
    shutil.copy(begun.checkpoint_file(one), begun.checkpoint_file(two))
    catalogue, paths = load_catalogue(), [begun.path]
    outcome = merge(catalogue, paths, tmp_path / "merged", jobs=1, progress=quiet)
    assert outcome.failed.keys() == {first.label, two.label}
    assert all("of another run" in failure.reason for failure in outcome.failed.values())
    assert (outcome.tree["status"].sel(checkpoint=second.name) == "ok").all()
    paths.append(runs["mine"].path)
    outcome = merge(catalogue, paths, tmp_path / "merged", jobs=1, progress=quiet)
    assert outcome.failed == {}
    assert outcome.path.read_bytes() == whole(runs)


def test_why_a_checkpoint_failed_in_another_run_is_not_merged(runs, plan, begun, checkpoints):
    subject, failure = plan.subjects[0], Failure("failed", "no luck")
    begun.path.joinpath("failures").mkdir()
    begun.write_failure(plan, subject, failure)
    assert begun.read_failure(plan, subject) == failure
    assert begun.read_failure(plan_for(checkpoints, seed=5), subject) is None


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """Run a command line on the study ``tiny`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=1)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    return lambda *words: run_cli(monkeypatch, capsys, *words, "-j", 1)


def test_the_command_line_measures_shares_again(cli):
    cli("run", "tiny", "--seed", 5, "-o", "other")
    cli("run", "tiny", "--shard", "1/2", "-o", "part")
    shutil.copy("other/checkpoints/step0.nc", "part/checkpoints")
    code, out, _ = cli("run", "tiny", "--shard", "1/2", "-o", "part")
    assert (code, "Measured 1 checkpoint of shard 1/2, found 1" in out) == (0, True)


DAMAGE = ("", "{", "[]", "3", '{"a": 1}', '{"checkpoints": 3}', "[" * 100_000, "\0")


@pytest.mark.parametrize("name", ["study.json", "request.json"])
def test_a_damaged_record_is_named_with_what_to_do(cli, name):
    assert cli("run", "tiny", "-o", "run")[0] == 0
    before = Path("run/results.nc").read_bytes()
    good = Path("run", name).read_text()
    says = f"run/{name}: is damaged", "Delete this file and run the same command again"
    for content in DAMAGE:
        Path("run", name).write_text(content)
        code, _, err = cli("merge", "run", "-o", "merged")
        assert (code, *(part in err for part in says)) == (2, True, True), content
        if name == "study.json" and content in DAMAGE[:2]:
            code, _, err = cli("run", "tiny", "-o", "run")
            assert (code, *(part in err for part in says)) == (2, True, True), content
    Path("run", name).unlink()
    code, out, _ = cli("run", "tiny", "-o", "run")
    assert (code, "Measured 0 checkpoints, found 3" in out) == (0, True)
    assert Path("run/results.nc").read_bytes() == before
    assert Path("run", name).read_text() == good


def test_without_its_record_a_folder_belongs_to_the_study_that_was_asked_for(cli):
    assert cli("run", "tiny", "-o", "run")[0] == 0
    Path("run/study.json").unlink()
    code, _, err = cli("run", "tiny", "--seed", 5, "-o", "run")
    assert (code, "is not empty" in err) == (2, True)
