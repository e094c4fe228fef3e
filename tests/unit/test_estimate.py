"""Estimates: the arithmetic, from a clock and a rate that are known."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from support.counting import counted
from support.runs import plan_for, quiet
from support.trajectories import write_trajectory

from cntbench.dynamics.claim import Claim
from cntbench.engine.meter import Work, predicted_work
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.estimate import calibration
from cntbench.estimate.calibration import Call, Speed, measured_rate
from cntbench.estimate.estimate import CostEstimate, TaskCost, estimate
from cntbench.estimate.result_size import result_bytes
from cntbench.models.hub.origin import HubRevision
from cntbench.reporting.estimate import _lines as estimate_lines
from cntbench.runs.blocks import split_evenly
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import Plan
from cntbench.runs.run import Outcome, run


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    folder = write_trajectory(tmp_path_factory.mktemp("trajectory") / "checkpoints")
    ablations = ("zero", "resample", "noise_direct")
    several = {"tasks": ("induction", "bigram"), "ablations": ablations, "prompts": 3}
    return plan_for(folder, **several, untrained=2, null_draws=2)


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory) -> Outcome:
    """The outcome of the run, whose folder no test changes."""
    return run(plan, tmp_path_factory.mktemp("finished") / "run", jobs=1, progress=quiet)


class Clock:
    """A clock that goes on by the same time whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 100.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


FOUND = CostEstimate(
    study="x",
    trajectory="dir:x",
    checkpoints=12,
    done=5,
    untrained=0,
    ablations=("zero",),
    components=6,
    edges=9,
    tasks=(
        TaskCost("a", 2, 8, 3, Work(30, 10, 700, 300), memory=500),
        TaskCost("b", 2, 8, 3, Work(1, 1, 2000, 0), memory=700),
    ),
    model=1000,
    size=1,
    jobs=2,
    speed=Speed(flops=1500.0, loading=0.5),
)


def test_costs_add_up():
    assert FOUND.work == Work(31, 11, 2700, 300)
    assert FOUND.work.token_layers == 21
    assert FOUND.memory == 1700
    assert FOUND.missing == 7


def test_the_time_is_that_of_the_process_with_the_most_checkpoints():
    assert FOUND.seconds_per_checkpoint == 0.5 + 3000 / 1500
    assert FOUND.seconds == 4 * 2.5
    assert replace(FOUND, jobs=1).seconds == 7 * 2.5
    assert replace(FOUND, jobs=100).seconds == 2.5
    assert replace(FOUND, done=12).seconds == 0
    assert replace(FOUND, untrained=8).seconds == 8 * 2.5
    # Each of three blocks reads the model; two processes take 11 of the 21 blocks at most.
    assert replace(FOUND, blocks=3).seconds_per_checkpoint == 3 * 0.5 + 2
    assert replace(FOUND, blocks=3).seconds == pytest.approx(11 * 3.5 / 3)


def calls(plan: Plan) -> list[Request]:
    return requests_of(plan, plan.trajectory.load(plan.trajectory.checkpoints[0]), 2**30)


def test_the_rate_is_work_over_time(plan):
    flops = [predicted_work(call).flops for call in calls(plan)]
    made = [Call(*each) for each in zip(calls(plan), flops, strict=True)]
    # Looked at before each call: at 0.4 s, at 0.8 s, and at 1.2 s, when it is enough.
    rate = measured_rate(made, seed=0, clock=Clock(0.4))
    assert rate == pytest.approx((flops[0] + flops[1]) / 1.2)
    # One call at least, however slow it is.
    assert measured_rate(made, seed=0, clock=Clock(50.0)) == pytest.approx(flops[0] / 100)


def test_a_large_call_is_timed_on_some_of_its_prompts(plan, monkeypatch):
    call = calls(plan)[0]
    assert calibration._shortened(call) == (call, predicted_work(call).flops)
    monkeypatch.setattr(calibration, "CALL_FLOPS", 1)
    shorter, flops = calibration._shortened(call)
    assert len(shorter.prompts) == 2
    assert flops == predicted_work(shorter).flops


@pytest.mark.parametrize("blocks", [1, 4])
def test_an_estimate_counts_what_the_run_will_compute(plan, tmp_path, blocks):
    plan = replace(plan, study=replace(plan.study, spec=replace(plan.study.spec, blocks=blocks)))
    folder = RunFolder(tmp_path / "run")
    estimated = estimate(plan, folder, jobs=2, clock=Clock(0.6))
    assert not folder.path.exists()
    assert (estimated.checkpoints, estimated.done, estimated.components, estimated.edges) == (
        3,
        0,
        6,
        9,
    )
    assert [(t.name, t.prompts, t.length) for t in estimated.tasks] == [
        ("induction", 3, 32),
        ("bigram", 3, 32),
    ]
    assert estimated.speed.loading == pytest.approx(0.6)
    model = plan.trajectory.load(plan.trajectory.checkpoints[0])
    methods = [entry.method for entry in plan.ablations]
    for task, cost, prompts in zip(plan.tasks, estimated.tasks, plan.prompts, strict=True):
        counts = [
            counted(Request(model, prompts, methods, some, effects=task.spec.effects))
            for some in split_evenly(len(model.components), blocks)
        ]
        attention, mlp, products = map(sum, zip(*counts, strict=True))
        assert cost.work == Work(attention, mlp, products, cost.work.attention)


def test_the_size_is_that_of_the_result(plan, finished, tmp_path):
    cost = estimate(plan, RunFolder(tmp_path / "run"), jobs=1, clock=Clock(0.6))
    tree = finished.tree
    numbers = [
        variable.nbytes
        for group in tree.subtree
        if group.name != "comparison"
        for variable in group.to_dataset(inherit=False).data_vars.values()
        if variable.dtype.kind == "f"
    ]
    assert cost.size == sum(numbers)


def test_a_further_readout_is_counted(plan):
    nothing = {"untrained": 0, "null_draws": 0, "tests": ()}
    more = replace(plan.axes, readouts=(*plan.axes.readouts, "another"))
    tasks, methods, nodes = len(more.tasks), len(more.ablations), len(more.nodes)
    # Value and effect, each with its error, in single precision.
    added = 3 * tasks * 2 * (1 + methods * nodes) * 4
    assert result_bytes(more, 3, **nothing) - result_bytes(plan.axes, 3, **nothing) == added


def test_what_is_measured_counts_as_done(plan, finished, tmp_path):
    shutil.copytree(finished.path.parent, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step8.nc").unlink()
    cost = estimate(plan, RunFolder(tmp_path / "run"), jobs=1, clock=Clock(0.6))
    assert (cost.done, cost.missing, cost.untrained) == (2, 1, 0)
    next((tmp_path / "run" / "untrained").iterdir()).unlink()
    assert estimate(plan, RunFolder(tmp_path / "run"), jobs=1, clock=Clock(0.6)).untrained == 1


def test_a_folder_of_another_study_is_refused(plan, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("")
    with pytest.raises(CntbenchError, match="not the folder of a run"):
        estimate(plan, RunFolder(tmp_path / "run"), jobs=1)


def test_a_plan_of_mostly_untrained_models_says_what_to_do():
    def said(**changes: int) -> str:
        lines = estimate_lines(replace(FOUND, done=0, **changes))
        return " ".join(line for line in lines if "--untrained" in line)

    assert said(checkpoints=3, untrained=20).startswith("20 of the 23 models to measure are ")
    assert "--untrained 0 leaves them out (about" in said(checkpoints=3, untrained=20)
    assert said(checkpoints=20, untrained=20) == ""


def test_claims_that_the_plan_cannot_answer_are_named(plan):
    cost = estimate(plan, None, jobs=1, clock=Clock(0.6))
    assert "three_phases needs 40 checkpoints" in cost.unanswerable
    assert "7 claims need 139 null_draws" in cost.unanswerable
    line = estimate_lines(cost)[-1]
    assert line.startswith("Claims that can only be inconclusive: ")
    assert line.endswith("The plan has 3 checkpoints.")
    spec = replace(plan.claims[0].spec, level=0.01)
    strict = replace(plan, claims=(replace(plan.claims[0], spec=spec), *plan.claims[1:]))
    cost = estimate(strict, None, jobs=1, clock=Clock(0.6))
    assert "7 claims need 699 null_draws" in cost.unanswerable
    without = replace(plan, study=replace(plan.study, spec=replace(plan.study.spec, null_draws=0)))
    assert not estimate(without, None, jobs=1, clock=Clock(0.6)).unanswerable


def test_revisions_that_do_not_exist_answer_no_claim(plan, monkeypatch):
    monkeypatch.setattr(Claim, "needs", 3)
    *known, last = plan.trajectory.checkpoints
    absent = replace(last, origin=HubRevision("lab/tiny", "step9", ""))
    shorter = replace(plan, trajectory=replace(plan.trajectory, checkpoints=(*known, absent)))
    assert not any("checkpoints" in message for message in unanswerable(plan))
    assert f"{plan.claims[0].name} needs 3 checkpoints" in unanswerable(shorter)
    cost = estimate(shorter, None, jobs=1, clock=Clock(0.6))
    assert estimate_lines(cost)[-1].endswith("The plan has 2 checkpoints.")


def unanswerable(plan):
    return estimate(plan, None, jobs=1, clock=Clock(0.6)).unanswerable
