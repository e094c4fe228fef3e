"""The use of the machine that a run reports: the work that was counted, over its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr
from support.runs import plan_for
from support.trajectories import write_trajectory

from cntbench.engine.meter import predicted_work, total
from cntbench.estimate import utilisation as module
from cntbench.estimate.utilisation import SHORTEST, Utilisation, utilisation
from cntbench.reporting.estimate import utilisation_line
from cntbench.runs.measurer import requests_of
from cntbench.runs.run import Outcome


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_for(write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8)))


@pytest.fixture(autouse=True)
def small_product(monkeypatch):
    monkeypatch.setitem(module.SIZE, "cpu", 64)


OUTCOME = Outcome(2, 0, {}, xr.DataTree(), Path(), models=3, seconds=20.0)


def test_it_counts_the_work_of_what_was_measured(plan):
    model = plan.trajectory.load(plan.trajectory.checkpoints[0])
    each = total(map(predicted_work, requests_of(plan, model))).flops
    used = utilisation(plan, OUTCOME, 8, "cpu")
    assert used.flops == 3 * each
    assert (used.seconds, used.processes) == (20.0, 3)
    assert used.peak > 1e6
    assert used.share == pytest.approx(used.flops / 20 / 3 / used.peak)


@pytest.mark.parametrize("change", [{"seconds": SHORTEST / 2}, {"models": 0}])
def test_short_runs_and_those_that_measure_nothing_say_nothing(plan, change):
    assert utilisation(plan, replace(OUTCOME, **change), 1, "cpu") is None


def test_what_it_says():
    line = utilisation_line(Utilisation(flops=6e12, seconds=60.0, processes=2, peak=1e11))
    assert line == (
        "Matrix products: 6 TFLOP in 60 s on 2 processes, 100 GFLOP/s: 50% of what one large "
        "product reaches on each just now."
    )
