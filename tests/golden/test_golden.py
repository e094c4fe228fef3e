"""Nothing has moved: every task × ablation still gives the frozen numbers.

``pytest tests/golden --update-golden`` measures them anew; say why in the commit message.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.golden import measure_golden

from cntbench.catalogue import load_catalogue
from cntbench.golden import excess, golden_file, moves, only, report
from cntbench.schema import VARIABLES
from cntbench.storage import open_results, write_results

CATALOGUE = load_catalogue()
PAIRS = [
    (task.name, ablation)
    for task in CATALOGUE.tasks.values()
    for ablation in CATALOGUE.ablations
    if not task.needs_text
]


@pytest.mark.parametrize(("task", "ablation"), PAIRS, ids=[f"{t}-{a}" for t, a in PAIRS])
def test_no_number_has_moved(
    task: str, ablation: str, measured: xr.Dataset, golden_folder: Path, request
) -> None:
    path = golden_file(golden_folder, task, ablation)
    found = only(measured, task, ablation)
    if request.config.getoption("--update-golden"):
        write_results(xr.DataTree(found), path)
    assert path.is_file(), f"{path.name} is missing: pytest tests/golden --update-golden makes it"
    moved = moves(open_results(path).to_dataset(), found)
    assert not moved, report(moved)


def test_no_golden_file_is_orphaned(golden_folder: Path) -> None:
    expected = {golden_file(golden_folder, *pair).name for pair in PAIRS}
    present = {path.name for path in golden_folder.glob("*.nc")}
    assert not present - expected, "belongs to no task × ablation; delete it"


def test_the_tolerance_is_twice_what_float32_needs(
    golden_folder: Path, measured: xr.Dataset
) -> None:
    """float64 stands for every other order of float32 sums: it lies within half the tolerance."""
    steps = (0, 352, 1112)
    exact = measure_golden(golden_folder / "trajectory", double=True, steps=steps)
    rounded = measured.isel(checkpoint=measured["step"].isin(steps).values)
    for name, variable in VARIABLES.items():
        if variable.type == "float":
            assert excess(exact[name].values, rounded[name].values).max() < 0.5, name


def test_the_golden_trajectory_learns_induction(measured: xr.Dataset) -> None:
    accuracy = measured["readout_value"].sel(readout="accuracy")
    induction = accuracy.sel(task="induction").values
    assert induction[0] < 0.15
    assert induction[-1] > 0.9
    for control in ("random_tokens", "shuffled_repeat"):
        assert (accuracy.sel(task=control).values < 0.25).all()


def test_a_moved_edge_is_reported_by_name(measured: xr.Dataset) -> None:
    golden = only(measured, "induction", "zero")
    found = golden.copy(deep=True)
    edge = {"checkpoint": "step1112", "source": "L0.H3", "target": "L1.H1"}
    found["influence"].loc[edge] = found["influence"].loc[edge] * 1.001
    text = report(moves(golden, found))
    assert "1 values have moved" in text
    assert "influence induction zero step1112 L0.H3 L1.H1" in text


def test_a_value_that_became_undefined_has_moved(measured: xr.Dataset) -> None:
    golden = only(measured, "induction", "zero")
    found = golden.copy(deep=True)
    found["influence"].loc[{"source": "L0.H3", "target": "L1.H1"}] = np.nan
    worst = moves(golden, found)[0]
    assert worst.excess == np.inf
    assert worst.place[-2:] == ("L0.H3", "L1.H1")
