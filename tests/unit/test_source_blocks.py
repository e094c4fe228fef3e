"""A model in blocks of sources: every executor finds the same bytes, and no whole block is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from support.runs import plan_for, quiet, write_study
from support.trajectories import run_cli, spoil, write_trajectory

from cntbench.errors import CntbenchError
from cntbench.results.storage import open_results
from cntbench.runs import measurer as cells
from cntbench.runs.blocks import SourceBlock, source_blocks
from cntbench.runs.executors import dask, processes
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.run import run

BLOCKS = 3


def in_blocks(plan, blocks=BLOCKS):
    study = replace(plan.study, spec=replace(plan.study.spec, blocks=blocks))
    return replace(plan, study=study)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("trajectory") / "checkpoints", steps=(0, 8))


@pytest.fixture(scope="module")
def plan(checkpoints):
    return in_blocks(plan_for(checkpoints))


@pytest.fixture(scope="module")
def result(plan, tmp_path_factory):
    """The result of a run in this process."""
    return run(plan, tmp_path_factory.mktemp("whole") / "run", jobs=1, progress=quiet).path


@pytest.fixture(scope="module")
def whole(result):
    """Its bytes."""
    return result.read_bytes()


def count_measured(monkeypatch):
    """Return a list that grows by the sources of every block that is measured."""
    measured, really = [], cells.measure

    def measure(*arguments, sources):
        measured.append(sources)
        return really(*arguments, sources=sources)

    monkeypatch.setattr(cells, "measure", measure)
    return measured


@given(st.integers(1, 60), st.integers(1, 20))
def test_blocks_are_all_sources_once(components, blocks):
    results = [block.sources(range(components)) for block in source_blocks("a model", blocks)]
    assert [source for some in results for source in some] == list(range(components))
    assert max(map(len, results)) - min(map(len, results)) <= 1


def test_the_numbers_are_those_of_the_whole_model(plan, result, tmp_path):
    """To the rounding of float32: other runs share the products."""
    other = run(in_blocks(plan, 1), tmp_path / "one", jobs=1, progress=quiet)
    actual, expected = open_results(result), other.tree
    for name in ("influence", "influence_se", "readout_value", "readout_effect", "prefix_matching"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, atol=1e-6)
    assert (actual["status"] == "ok").all()


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("execute", [processes.execute, dask.execute])
def test_every_executor_finds_the_same_bytes(plan, whole, tmp_path, execute):
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet, execute=execute)
    assert (outcome.measured, outcome.failed) == (2, {})
    assert outcome.path.read_bytes() == whole
    assert not list((tmp_path / "run").glob("blocks/*/*"))


def test_more_blocks_than_components(plan, tmp_path):
    many = in_blocks(plan, 50)
    outcome = run(many, tmp_path / "run", jobs=1, progress=quiet)
    edges = outcome.tree["influence"].notnull().sum(["source", "target"])
    assert (edges == outcome.tree.attrs["feasible_edges"]).all()


@pytest.mark.parametrize("execute", [processes.execute, None])
def test_what_was_measured_of_a_model_is_not_measured_again(
    plan, whole, tmp_path, monkeypatch, execute
):
    """Two blocks of the first checkpoint, and all of the second, were kept by a killed run."""
    folder = RunFolder(tmp_path / "run")
    first, second = plan.trajectory.checkpoints
    done = [*source_blocks(first, BLOCKS)[:2], *source_blocks(second, BLOCKS)]
    with folder.locked(plan):
        before = CheckpointMeasurer(plan, folder)
        for block in done:
            before.blocks(block.subject)
            assert before.attempt(block, block.subject.origin.path) is None
    measured = count_measured(monkeypatch)
    if execute is None:
        outcome = run(plan, folder.path, jobs=1, progress=quiet)
        assert measured == [source_blocks(first, BLOCKS)[2].sources(plan.ablated)]
    else:
        outcome = run(plan, folder.path, jobs=2, progress=quiet, execute=execute)
    assert outcome.path.read_bytes() == whole


def test_a_damaged_block_and_one_of_other_weights_are_measured_again(plan, whole, tmp_path):
    folder = RunFolder(tmp_path / "run")
    first, second = plan.trajectory.checkpoints
    with folder.locked(plan):
        before = CheckpointMeasurer(plan, folder)
        one, two, _ = source_blocks(first, BLOCKS)
        before.blocks(first)
        before.attempt(one, first.origin.path)
        before.attempt(two, second.origin.path)
    damaged = folder.block(one)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert folder.read_block(plan, two) is None
    assert run(plan, folder.path, jobs=1, progress=quiet).path.read_bytes() == whole


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_model_that_fails_costs_no_other(tmp_path, jobs):
    checkpoints = write_trajectory(tmp_path / "checkpoints", steps=(0, 8))
    spoil(checkpoints / "step8")
    outcome = run(in_blocks(plan_for(checkpoints)), tmp_path / "run", jobs=jobs, progress=quiet)
    assert list(outcome.failed) == ["step8"]
    assert outcome.measured == 1


def test_a_run_in_blocks_is_another_run(plan, result):
    with pytest.raises(CntbenchError, match="belongs to another study; different: blocks"):
        run(in_blocks(plan, 1), result.parent, jobs=1, progress=quiet)


def test_the_command_line_takes_blocks(checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "specs", "tiny", checkpoints, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    options = ["-o", "run", "-j", 1, "--blocks", 2]
    assert run_cli(monkeypatch, capsys, "run", "tiny", *options)[0] == 0
    root = xr.open_dataset("run/results.nc")
    assert '"blocks": 2' in root.attrs["spec"]


def test_a_block_that_disappears_is_a_failure(plan, tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(plan):
        some = CheckpointMeasurer(plan, folder)
        subject = plan.trajectory.checkpoints[0]
        assert some.blocks(subject) == [SourceBlock(subject, n, BLOCKS) for n in (1, 2, 3)]
        for block in [None, *some.blocks(subject)[1:]]:
            if block is not None:
                assert some.attempt(block, subject.origin.fetch()) is None
            assert some.join(subject).reason == "a block disappeared during the run"
        assert folder.read_checkpoint_file(plan, subject) is None
