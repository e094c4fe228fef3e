"""The comparison on exact planted circuits: shipped ablations still find what they found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.comparison.table import comparison
from cntbench.results.difference import excess
from cntbench.runs.catalogue import StudyEntry, load_catalogue
from cntbench.runs.known_circuits import measure_planted
from cntbench.specs import StudySpec

pytestmark = pytest.mark.filterwarnings("ignore:the optimal constants")
FOLDER = Path(__file__).parents[2] / "golden" / "planted"
#: The first circuits share a file; later ones have a file each.
FILE = FOLDER / "exact.nc"
NUMBERS = ("auroc", "ap", "baseline_ap", "value")


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    """Every shipped ablation on every circuit without dynamics, one exact model of each."""
    catalogue = load_catalogue()
    spec = StudySpec(
        version=1,
        summary="Every ablation on the exact circuits.",
        trajectory="nano",
        tasks=("induction",),
        ablations=tuple(catalogue.ablations),
    )
    recovered, diagnosed = measure_planted(
        StudyEntry("golden", FILE, spec),
        tuple(catalogue.ablations.values()),
        catalogue.known_circuits(),
        difficulties=("exact",),
        seeds=1,
        prompts=8,
        progress=lambda *_: None,
        jobs=1,
    )
    dataset = comparison(None, recovery(recovered), diagnostics(diagnosed))
    return dataset[[*NUMBERS, "passed", "what"]]


def of_circuits(found: xr.Dataset, circuits: Sequence[str]) -> xr.Dataset:
    """Select circuits, and their diagnostics."""
    special = [name for name in found["special"].values if name in circuits]
    return found.sel(circuit=list(circuits), special=special)


def golden_files(found: xr.Dataset) -> dict[Path, list[str]]:
    """The file of each circuit, and its circuits."""
    names = [str(name) for name in found["circuit"].values]
    shared = list(xr.load_dataset(FILE)["circuit"].values) if FILE.is_file() else names
    return {FILE: shared, **{FOLDER / f"{n}.nc": [n] for n in names if n not in shared}}


def test_no_method_finds_anything_else(found: xr.Dataset, request: pytest.FixtureRequest) -> None:
    files = golden_files(found)
    if request.config.getoption("--update-golden"):
        FOLDER.mkdir(exist_ok=True)
        for path, circuits in files.items():
            of_circuits(found, circuits).to_netcdf(path)
    assert set(FOLDER.glob("*.nc")) == set(files), "pytest tests/golden --update-golden makes them"
    for path, circuits in files.items():
        golden, now = xr.load_dataset(path), of_circuits(found, circuits)
        if path != FILE:  # it may lack methods that are younger than the circuit
            now = now.sel(ablation=golden["ablation"].values)
        for name in golden.coords:
            assert list(golden[name].values) == list(now[name].values), (path, name)
        for name in NUMBERS:
            apart = xr.apply_ufunc(excess, golden[name], now[name])
            if not apart.size:  # diagnostics of circuits that have none
                continue
            worst = apart.where(apart == apart.max(), drop=True)
            tolerances = f"{name} has moved, by {apart.max().item()} tolerances"
            assert apart.max() <= 1, f"{path}: {tolerances}:\n{worst}"
        xr.testing.assert_equal(golden[["passed", "what"]], now[["passed", "what"]])


def test_direct_methods_recover_the_planted_edges(found: xr.Dataset) -> None:
    catalogue = load_catalogue()
    # Noise, and constants that are fitted, leave what a component ever writes, and so reach
    # components that do not read it. Shares in a stream do not tell who reads which of its parts.
    direct = [
        name
        for name, entry in catalogue.ablations.items()
        if entry.method.scope == "direct"
        and entry.spec.replacement not in ("noise", "optimal_constant")
        and not entry.method.uses("contributions")
    ]
    dags = {name: c.truth() for name, c in catalogue.planted.items() if c.spec.random}
    assert direct
    # Edges that lead nowhere have no effect on the readout.
    heard = [name for name, truth in dags.items() if (truth.direct == truth.readout).all()]
    assert 0 < len(heard) < len(dags)
    for observable, circuits in (("target", list(dags)), ("readout", heard)):
        observing = [n for n in direct if catalogue.ablations[n].method.observable == observable]
        scores = found.sel(circuit=circuits, ablation=observing, truth="direct")
        assert (scores["auroc"] == 1).all()
        np.testing.assert_allclose(scores["ap"], 1)


def test_methods_see_what_the_circuits_say_of_them(found: xr.Dataset) -> None:
    catalogue = load_catalogue()
    for name in ("zero", "mean", "resample", "zero_direct", "mean_direct", "resample_direct"):
        method = catalogue.ablations[name].method
        family = name.partition("_")[0]
        for special in found["special"].values:
            stated = [
                family not in diagnostic.fails
                for diagnostic in catalogue.planted[special].diagnostics
                if diagnostic.scope == method.scope
            ]
            if stated:
                passed = found["passed"].sel(special=special, ablation=name)
                assert bool(passed) == all(stated), f"{name} on {special}"
