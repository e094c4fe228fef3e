"""Golden results of every task × ablation on the golden trajectory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import xarray as xr
from support.golden import (
    fitted_ablations,
    golden_steps,
    golden_tasks,
    measure_golden,
    read_golden,
)

from cntbench.runs.catalogue import load_catalogue

#: What was measured of each ablation.
Measured = dict[str, xr.Dataset]
GOLDEN = Path(__file__).parents[2] / "golden" / "nano"
#: Steps at which the fits of a task are measured where its last one would take six times as long.
FITTED_AT = {"bigram": [64]}


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="module")
def measured(golden_folder: Path, request: pytest.FixtureRequest) -> Measured:
    """One task at some checkpoints of the golden trajectory, measured now.

    The tasks part the checkpoints between them: each checkpoint is measured on one task, each
    task and ablation at one checkpoint or two. Ablations that fit something, which takes longer
    than all others together, are measured at the last of these, or where `FITTED_AT` says.
    ``--update-golden`` and ``--every-checkpoint`` measure all: among the fits of all checkpoints is
    one (counterfactual_repeat, step456, L0.MLP) that the rounding of another processor leads
    elsewhere, by up to 7 tolerances.
    """
    catalogue, task = load_catalogue(), request.param
    measure = partial(measure_golden, golden_folder / "trajectory", tasks=[task], jobs=1)
    if any(map(request.config.getoption, ("--update-golden", "--every-checkpoint"))):
        return dict.fromkeys(catalogue.ablations, measure())
    tasks, fitted = golden_tasks(catalogue), fitted_ablations(catalogue)
    steps = golden_steps(golden_folder)[tasks.index(task) :: len(tasks)]
    others = [name for name in catalogue.ablations if name not in fitted]
    return {
        **dict.fromkeys(others, measure(ablations=others, steps=steps)),
        **dict.fromkeys(fitted, measure(ablations=fitted, steps=FITTED_AT.get(task, steps[-1:]))),
    }


@pytest.fixture
def frozen(golden_folder: Path, request: pytest.FixtureRequest) -> partial[xr.Dataset]:
    """Read golden results; see `read_golden`."""
    if request.config.getoption("--update-golden"):
        pytest.skip("golden results are being measured anew")
    return partial(read_golden, golden_folder)
