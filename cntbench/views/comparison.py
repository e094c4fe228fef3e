"""Ablation methods: their agreement on the film, and their results in a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.analysis.intervals import film_interval
from cntbench.comparison.agreement import rank_correlations
from cntbench.comparison.verdict import verdict as decide
from cntbench.results.film import usable
from cntbench.views.missing import Missing, missing
from cntbench.views.verdict import VerdictView, verdict

Array = NDArray[np.float64]

#: Why an ablation has no diagnostics, where the comparison does not say.
_UNTESTED = "no circuit has a test of it"


@dataclass(frozen=True)
class Agreement:
    """Rank correlation (Spearman's ρ) of the edges between any two ablations.

    Parameters
    ----------
    task, ablation
        Labels.
    mean, low, high
        Over usable checkpoints, with the 95 % interval of `film_interval`; dims
        ``task, ablation, other_ablation``, symmetric. NaN where no checkpoint defines it; 1 on the
        diagonal.
    """

    task: tuple[str, ...]
    ablation: tuple[str, ...]
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Method:
    """One ablation in a comparison; NaN or empty where it was not measured.

    Parameters
    ----------
    ablation
        Its name.
    recovery
        By difficulty (``exact``, ``realistic``) and truth (``direct``, ``total``): mean AUROC and
        mean average precision over the random planted circuits; NaN if not measured.
    passed, failed
        Names of special circuits.
    split_half
        Reliability by halves of the prompts, mean over checkpoints, with its 95 % interval.
    over_draws
        Rank correlation of two random draws, likewise.
    circuit_overlap
        Jaccard index of the circuits of two resamples of the prompts, likewise.
    settled_at
        Prompts from which on it is high enough; NaN if that is more than were resampled.
    relative_seconds, relative_token_layers
        Cost, relative to the yardstick.
    """

    ablation: str
    recovery: dict[tuple[str, str], tuple[float, float]]
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    split_half: tuple[float, float, float]
    over_draws: tuple[float, float, float]
    circuit_overlap: tuple[float, float, float]
    settled_at: float
    relative_seconds: float
    relative_token_layers: float


@dataclass(frozen=True)
class Methods:
    """All ablations of a comparison.

    Parameters
    ----------
    source
        The result they were measured on, besides planted circuits.
    yardstick
        The ablation that costs are relative to.
    circuits
        The random planted circuits over which recovery is averaged.
    method
        The methods, in the order of the comparison.
    failures
        Failed expectations by circuit and words, each with the methods and their values.
    left_out
        Why ablations could not be measured on the circuits, by ablation.
    undiagnosed
        Why ablations have no diagnostics, by ablation.
    verdict
        Rankings by purpose; None if there are none. A comparison without a verdict, as in the
        result of a run, is decided by its recovery of realistic planted edges, by the same rule.
    """

    source: str
    yardstick: str
    circuits: tuple[str, ...]
    method: tuple[Method, ...]
    failures: Mapping[tuple[str, str], Sequence[str]]
    left_out: Mapping[str, str]
    undiagnosed: Mapping[str, str]
    verdict: VerdictView | None


def agreement(tree: xr.DataTree) -> Agreement:
    """Compare the ablations of a result with each other."""
    root = tree.to_dataset(inherit=False)
    film = root.isel(checkpoint=usable(root))["influence"]
    film = film.transpose("task", "ablation", "checkpoint", "source", "target")
    tasks, ablations, checkpoints = film.shape[:3]
    edges = film.values.reshape(tasks, ablations, checkpoints, film.shape[3] * film.shape[4])
    intervals = np.full((3, tasks, ablations, ablations), np.nan)
    intervals[:, :, np.arange(ablations), np.arange(ablations)] = 1.0
    for task, i, j in np.ndindex(tasks, ablations, ablations):
        if i < j:
            correlations = rank_correlations(edges[task, i], edges[task, j])
            intervals[:, task, i, j] = intervals[:, task, j, i] = film_interval(correlations)
    return Agreement(
        tuple(map(str, root["task"].values)), tuple(map(str, root["ablation"].values)), *intervals
    )


def methods(tree: xr.DataTree, comparison: xr.Dataset | None = None) -> Methods | Missing:
    """Return what a comparison says of the ablations, by default the result's own group."""
    if comparison is None:
        if "comparison" not in tree.children:
            return missing("comparison")
        comparison = tree.children["comparison"].to_dataset(inherit=True)
    special = tuple(map(str, comparison["special"].values)) if "special" in comparison else ()
    circuits: tuple[str, ...] = ()
    if "auroc" in comparison:
        circuits = tuple(str(c) for c in comparison["circuit"].values if str(c) not in special)
    names = [str(name) for name in comparison["ablation"].values]
    rows = [comparison.sel(ablation=name) for name in names]
    method = tuple(_method(n, row, circuits) for n, row in zip(names, rows, strict=True))
    left_out = _reasons(comparison, "left_out")
    return Methods(
        source=str(comparison.attrs.get("source", "")),
        yardstick=str(comparison.attrs.get("yardstick", "")),
        circuits=circuits,
        method=method,
        failures=_failures(comparison),
        left_out=left_out,
        verdict=verdict(comparison) or _decided(comparison, circuits),
        undiagnosed={
            m.ablation: {**_reasons(comparison, "undiagnosed"), **left_out}.get(
                m.ablation, _UNTESTED
            )
            for m in method
            if special and not (m.passed or m.failed)
        },
    )


def _decided(comparison: xr.Dataset, circuits: tuple[str, ...]) -> VerdictView | None:
    """Rank methods by the mean scores of circuits, as a verdict does by those of models."""
    if not circuits or "realistic" not in comparison["difficulty"]:
        return None
    scores = comparison["auroc"].sel(circuit=list(circuits), difficulty="realistic")
    scores = scores.dropna("circuit", how="all").sel(truth=["direct", "total"])
    if not scores.size:
        return None
    scores = scores.assign_coords(truth=["direct_edges", "total_influence"]).rename(
        truth="purpose", circuit="scored_circuit"
    )
    dataset = decide(scores.expand_dims(seed=[0]))
    models = comparison["seeds"].max() if "seeds" in comparison else 1
    view = verdict(dataset.assign_coords(scored_circuit=scores["scored_circuit"], seed=[0]))
    return view and replace(view, models=int(models))


def _reasons(comparison: xr.Dataset, attribute: str) -> dict[str, str]:
    reasons: dict[str, str] = json.loads(str(comparison.attrs.get(attribute, "{}")))
    return reasons


def _method(name: str, row: xr.Dataset, circuits: tuple[str, ...]) -> Method:
    return Method(
        ablation=name,
        recovery=_recovery(row, circuits),
        passed=_special(row, 1),
        failed=_special(row, 0),
        split_half=_interval(row, "split_half"),
        over_draws=_interval(row, "over_draws"),
        circuit_overlap=_interval(row, "circuit_overlap"),
        settled_at=_number(row, "settled_at"),
        relative_seconds=_number(row, "relative_seconds"),
        relative_token_layers=_number(row, "relative_token_layers"),
    )


def _special(row: xr.Dataset, mark: int) -> tuple[str, ...]:
    """Return the special circuits with a mark: 1 passed, 0 failed."""
    if "passed" not in row:
        return ()
    return tuple(map(str, row["special"].values[row["passed"].values == mark]))


def _recovery(
    row: xr.Dataset, circuits: tuple[str, ...]
) -> dict[tuple[str, str], tuple[float, float]]:
    if not circuits:
        return {}
    means = row[["auroc", "ap"]].sel(circuit=list(circuits)).mean("circuit", skipna=True)
    return {
        (str(difficulty), str(truth)): (
            float(means["auroc"].sel(difficulty=difficulty, truth=truth)),
            float(means["ap"].sel(difficulty=difficulty, truth=truth)),
        )
        for difficulty in means["difficulty"].values
        for truth in means["truth"].values
    }


def _failures(comparison: xr.Dataset) -> dict[tuple[str, str], list[str]]:
    failed: dict[tuple[str, str], list[str]] = {}
    for circuit in sorted(comparison["special"].values) if "passed" in comparison else ():
        cells = comparison[["passed", "what", "value"]].sel(special=circuit)
        for cell in (cells.isel(ablation=i) for i in np.flatnonzero(cells["passed"] == 0)):
            value = f"{cell['ablation'].item()} {cell['value'].item():.2g}"
            failed.setdefault((str(circuit), str(cell["what"].item())), []).append(value)
    return failed


def _interval(row: xr.Dataset, name: str) -> tuple[float, float, float]:
    mean, low, high = (_number(row, f"{name}_{end}") for end in ("mean", "low", "high"))
    return mean, low, high


def _number(row: xr.Dataset, name: str) -> float:
    return float(row[name]) if name in row else np.nan
