"""Golden results of every task × ablation on the golden trajectory."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr
from support.golden import measure_golden

GOLDEN = Path(__file__).parents[2] / "golden" / "nano"


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def measured(golden_folder: Path) -> xr.Dataset:
    """The film of the golden trajectory, measured now."""
    return measure_golden(golden_folder / "trajectory")
