"""The comparison on exact planted circuits: shipped ablations still find what they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.golden import fitted_ablations

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.comparison.table import comparison
from cntbench.results.difference import excess
from cntbench.runs.catalogue import KnownCircuit, StudyEntry, load_catalogue
from cntbench.runs.known_circuits import measure_planted, planted_models
from cntbench.specs import StudySpec

pytestmark = pytest.mark.filterwarnings("ignore:the optimal constants")
FOLDER = Path(__file__).parents[2] / "golden" / "planted"
#: The first circuits share a file; later ones have a file each.
FILE = FOLDER / "exact.nc"
NUMBERS = ("auroc", "ap", "baseline_ap", "value")


def compared(ablations: Iterable[str], circuits: Iterable[KnownCircuit]) -> xr.Dataset:
    """Compare shipped ablations on one exact model of each circuit."""
    shipped = load_catalogue().ablations
    spec = StudySpec(
        version=1,
        summary="Ablations on the exact circuits.",
        trajectory="nano",
        tasks=("induction",),
        ablations=tuple(shipped),
    )
    models = planted_models(
        StudyEntry("golden", FILE, spec),
        tuple(shipped[name] for name in ablations),
        tuple(circuits),
        seeds=1,
        prompts=8,
    )
    exact = [model for model in models if model.difficulty == "exact"]
    recovered, diagnosed = measure_planted(exact, progress=lambda *_: None)
    dataset = comparison(None, recovery(recovered), diagnostics(diagnosed))
    return dataset[[*NUMBERS, "passed", "what"]]


@pytest.fixture(scope="module")
def comparisons(request: pytest.FixtureRequest) -> xr.Dataset:
    """Every shipped ablation on every circuit without dynamics.

    Those that fit something are measured by themselves, where not all is asked for.
    """
    catalogue, options = load_catalogue(), request.config.getoption
    whole = options("--update-golden") or options("--every-checkpoint")
    fitted = () if whole else fitted_ablations(catalogue)
    others = [name for name in catalogue.ablations if name not in fitted]
    return compared(others, catalogue.known_circuits())


@pytest.fixture(scope="module")
def found_by_fits() -> xr.Dataset:
    """Ablations that fit something, on the circuits that are wired by hand, which are small."""
    catalogue = load_catalogue()
    known = [c for c in catalogue.known_circuits() if not c.circuit.spec.random]
    return compared(fitted_ablations(catalogue), known)


def of_circuits(comparisons: xr.Dataset, circuits: Sequence[str]) -> xr.Dataset:
    """Select circuits, and their diagnostics."""
    special = [name for name in comparisons["special"].values if name in circuits]
    return comparisons.sel(circuit=list(circuits), special=special)


def golden_files(comparisons: xr.Dataset) -> dict[Path, list[str]]:
    """The file of each circuit, and its circuits."""
    names = [str(name) for name in comparisons["circuit"].values]
    shared = list(xr.load_dataset(FILE)["circuit"].values) if FILE.is_file() else names
    return {FILE: shared, **{FOLDER / f"{n}.nc": [n] for n in names if n not in shared}}


def test_no_method_finds_anything_else(
    comparisons: xr.Dataset, request: pytest.FixtureRequest
) -> None:
    files = golden_files(comparisons)
    if request.config.getoption("--update-golden"):
        FOLDER.mkdir(exist_ok=True)
        for path, circuits in files.items():
            of_circuits(comparisons, circuits).to_netcdf(path)
    assert set(FOLDER.glob("*.nc")) == set(files), "pytest tests/golden --update-golden makes them"
    names = set(comparisons["ablation"].values)
    for path, circuits in files.items():
        golden = xr.load_dataset(path)
        if path == FILE:  # others may lack methods that are younger than the circuit
            fitted = fitted_ablations(load_catalogue())
            assert names | {*fitted} == set(golden["ablation"].values)
        _hold(of_circuits(comparisons, circuits), golden, path)


def test_no_fit_finds_anything_else(found_by_fits: xr.Dataset) -> None:
    names = found_by_fits["circuit"].values
    for path, circuits in golden_files(found_by_fits).items():
        measured = [name for name in circuits if name in names]
        _hold(of_circuits(found_by_fits, measured), xr.load_dataset(path), path)


def _hold(now: xr.Dataset, golden: xr.Dataset, path: Path) -> None:
    """Hold what was found of some methods and circuits to a golden file."""
    shared = [name for name in now["ablation"].values if name in golden["ablation"].values]
    now = now.sel(ablation=shared)
    assert now.sizes["circuit"]
    golden = golden.sel({dim: now[dim].values for dim in ("ablation", "circuit", "special")})
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


def test_direct_methods_recover_the_planted_edges(comparisons: xr.Dataset) -> None:
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
        scores = comparisons.sel(circuit=circuits, ablation=observing, truth="direct")
        assert (scores["auroc"] == 1).all()
        np.testing.assert_allclose(scores["ap"], 1)


def test_methods_see_what_the_circuits_say_of_them(comparisons: xr.Dataset) -> None:
    catalogue = load_catalogue()
    for name in ("zero", "mean", "resample", "zero_direct", "mean_direct", "resample_direct"):
        method = catalogue.ablations[name].method
        family = name.partition("_")[0]
        for special in comparisons["special"].values:
            stated = [
                family not in diagnostic.fails
                for diagnostic in catalogue.planted[special].diagnostics
                if diagnostic.scope == method.scope
            ]
            if stated:
                passed = comparisons["passed"].sel(special=special, ablation=name)
                assert bool(passed) == all(stated), f"{name} on {special}"
