"""Golden results of every task × ablation on the golden trajectory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import xarray as xr
from support.golden import measure_golden, read_golden

GOLDEN = Path(__file__).parents[2] / "golden" / "nano"


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="module")
def measured(golden_folder: Path, request: pytest.FixtureRequest) -> xr.Dataset:
    """The film of the golden trajectory on one task, measured now."""
    return measure_golden(golden_folder / "trajectory", tasks=[request.param], jobs=1)


@pytest.fixture
def frozen(golden_folder: Path, request: pytest.FixtureRequest) -> partial[xr.Dataset]:
    """Read golden results; see `read_golden`."""
    if request.config.getoption("--update-golden"):
        pytest.skip("golden results are being measured anew")
    return partial(read_golden, golden_folder)
