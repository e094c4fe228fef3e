"""A worker that is killed costs nothing, and work that kills costs nothing but itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from support.killing import DeadlyCells, Killer, deadly
from support.runs import plan_for, quiet
from support.trajectories import write_trajectory

from cntbench.errors import CntbenchNote, CntbenchWarning
from cntbench.parallel.processes import WorkerKilledError, parallel_map, print_warning
from cntbench.runs import run as runner
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.executors import dask, processes
from cntbench.runs.run import run

pytestmark = pytest.mark.usefixtures("forked_workers")
EXECUTORS = pytest.mark.parametrize("execute", [processes.execute, dask.execute])


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectory") / "checkpoints"
    return plan_for(write_trajectory(folder, steps=(0, 8, 16)), untrained=1)


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """The bytes of a run in this process, which nothing kills."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(plan, folder, jobs=1, progress=quiet).path.read_bytes()


@pytest.fixture
def kill(monkeypatch, tmp_path):
    """Make a piece kill so many of the processes that measure it."""

    def arm(piece: SourceBlock, most: int) -> Killer:
        killer = Killer(tmp_path / "deaths", most)
        deadly_measurer = partial(DeadlyCells, killer=killer, victim=piece)
        monkeypatch.setattr(runner, "CheckpointMeasurer", deadly_measurer)
        return killer

    return arm


@EXECUTORS
def test_a_worker_that_is_killed_costs_nothing(plan, whole, kill, tmp_path, execute):
    killer = kill(SourceBlock(plan.subjects[1]), 1)
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet, execute=execute)
    assert (killer.deaths, outcome.measured, outcome.failed) == (1, 3, {})
    assert outcome.path.read_bytes() == whole


@EXECUTORS
@pytest.mark.parametrize("victim", [1, -1], ids=["checkpoint", "untrained"])
def test_what_kills_two_workers_fails_and_costs_no_other(
    plan, whole, kill, tmp_path, execute, victim, monkeypatch
):
    subject = plan.subjects[victim]
    killer = kill(SourceBlock(subject), 10)
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet, execute=execute)
    assert killer.deaths == 2
    assert outcome.failed.keys() == {subject.label}
    assert "its worker was killed twice (out of memory?)" in outcome.failed[subject.label].reason
    monkeypatch.undo()
    again = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    assert again.measured == (1 if victim == 1 else 0)
    assert again.path.read_bytes() == whole


def test_a_block_that_kills_fails_its_model_alone(plan, kill, tmp_path):
    plan = replace(plan, study=replace(plan.study, spec=replace(plan.study.spec, blocks=2)))
    subject = plan.subjects[0]
    killer = kill(SourceBlock(subject, 2, 2), 10)
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet)
    assert killer.deaths == 2
    assert outcome.failed.keys() == {subject.label}
    assert outcome.measured == 2


def test_work_without_checkpoints_goes_on_too(tmp_path):
    once, always = Killer(tmp_path / "once", 1), Killer(tmp_path / "always", 10)
    numbers = [(0, None), (1, once), (2, None), (3, None)]
    assert list(parallel_map(deadly, numbers, jobs=2)) == [0, 1, 2, 3]
    assert once.deaths == 1
    with pytest.raises(WorkerKilledError, match="killed twice"):
        list(parallel_map(deadly, [*numbers, (4, always), (5, None)], jobs=2))
    assert always.deaths == 2


def test_workers_print_warnings_of_cntbench_in_one_line(capsys):
    where = "__import__('warnings').showwarning.__name__"
    assert list(parallel_map(eval, [where] * 2, jobs=2)) == [print_warning.__name__] * 2
    print_warning("not converged", CntbenchWarning, "constants.py", 7)
    assert capsys.readouterr().err == "warning: not converged\n"
    print_warning("untrained models: 5", CntbenchNote, "constants.py", 7)
    assert capsys.readouterr().err == "note: untrained models: 5\n"
    print_warning("too small", RuntimeWarning, "arrays.py", 7)
    assert capsys.readouterr().err == "arrays.py:7: RuntimeWarning: too small\n"
