"""Golden results of every task × ablation on the golden trajectory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import xarray as xr
from support.golden import golden_steps, golden_tasks, measure_golden, read_golden

from cntbench.runs.catalogue import load_catalogue

GOLDEN = Path(__file__).parents[2] / "golden" / "nano"


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="module")
def measured(golden_folder: Path, request: pytest.FixtureRequest) -> xr.Dataset:
    """Some checkpoints of the golden trajectory on one task, measured now.

    The last checkpoint and every fifth one, from another one for each task: tasks and ablations
    all meet, and each checkpoint is measured. ``--update-golden`` and ``--every-checkpoint``
    measure all.
    """
    options, trajectory = request.config.getoption, golden_folder / "trajectory"
    if options("--update-golden") or options("--every-checkpoint"):
        steps = ()
    else:
        every = golden_steps(golden_folder)
        steps = {*every[golden_tasks(load_catalogue()).index(request.param) % 5 :: 5], every[-1]}
    return measure_golden(trajectory, tasks=[request.param], steps=steps, jobs=1)


@pytest.fixture
def frozen(golden_folder: Path, request: pytest.FixtureRequest) -> partial[xr.Dataset]:
    """Read golden results; see `read_golden`."""
    if request.config.getoption("--update-golden"):
        pytest.skip("golden results are being measured anew")
    return partial(read_golden, golden_folder)
