"""Recovery of known edges: how well scores tell true edges from the other feasible ones.

Scores are numbers on feasible edges (NaN elsewhere), the truth says which of these carry an effect.
Both statistics are exact with ties: AUROC counts a tie half, and average precision takes tied edges
together (as scikit-learn computes them). Where all edges are true, or none is, neither says
anything, and they are NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from cntbench.analysis.intervals import t_interval
from cntbench.errors import CntbenchError

TRUTHS = ("direct", "total")


@dataclass(frozen=True)
class Recovery:
    """What an ablation finds on one planted circuit of one seed.

    Parameters
    ----------
    circuit, difficulty, seed, ablation
        What was measured.
    scores
        Influence, dims ``source, target``; NaN where not feasible.
    truth_direct, truth_total
        Whether an edge carries a direct effect, or a total one, dims ``source, target``.
    """

    circuit: str
    difficulty: str
    seed: int
    ablation: str
    scores: NDArray[np.float64]
    truth_direct: NDArray[np.bool_]
    truth_total: NDArray[np.bool_]


def auroc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the probability that a true edge has a higher score than another, ties half.

    Raises
    ------
    CntbenchError
        If a true edge is not feasible.
    """
    found, wanted = _feasible(scores, truth)
    return float(roc_auc_score(wanted, found)) if _both_kinds(wanted) else np.nan


def average_precision(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the mean over true edges of the precision at their score.

    Raises
    ------
    CntbenchError
        If a true edge is not feasible.
    """
    found, wanted = _feasible(scores, truth)
    return float(average_precision_score(wanted, found)) if _both_kinds(wanted) else np.nan


def random_average_precision(true: int, feasible: int) -> float:
    """Return the average precision that random scores without ties have in expectation.

    With H the n-th harmonic number, (H + (n − H) (p − 1) / (n − 1)) / n for p true edges of n: an
    edge at rank i has i − 1 others above it, each true with probability (p − 1) / (n − 1). Above
    the prevalence p / n, which it approaches for large n. Source: Bestgen 2015, "Exact expected
    average precision of the random baseline for system evaluation".
    """
    if not 0 < true < feasible:
        return np.nan
    harmonic = float(np.sum(1 / np.arange(1, feasible + 1)))
    return (harmonic + (feasible - harmonic) * (true - 1) / (feasible - 1)) / feasible


def recovery(records: Iterable[Recovery]) -> xr.Dataset:
    """Score all records against both truths, mean over seeds.

    Returns
    -------
    xarray.Dataset
        Dims ``circuit, difficulty, truth, ablation``: ``auroc`` and ``ap``, each with the ``_low``
        and ``_high`` end of its 95 % t interval over seeds, ``baseline_ap`` of random scores (their
        AUROC is 0.5), and ``seeds``, the number of them with a defined score.

    Raises
    ------
    CntbenchError
        If a true edge is not feasible, or a seed of a circuit stands twice.
    """
    cells: dict[tuple[str, ...], dict[int, tuple[float, float, float]]] = {}
    for record in records:
        for truth in TRUTHS:
            key = (record.circuit, record.difficulty, truth, record.ablation)
            seeds = cells.setdefault(key, {})
            if record.seed in seeds:
                raise CntbenchError(
                    f"ablation {record.ablation!r} was measured twice on circuit "
                    f"{record.circuit!r}, {record.difficulty}, seed {record.seed}"
                )
            seeds[record.seed] = _scored(record, getattr(record, f"truth_{truth}"))
    labels = {
        name: list(dict.fromkeys(key[place] for key in cells))
        for place, name in enumerate(("circuit", "difficulty", "truth", "ablation"))
    }
    dataset = _empty(labels)
    for cell in product(*labels.values()):
        found = np.array(list(cells.get(cell, {}).values())).reshape(-1, 3)
        at: Mapping[str, str] = dict(zip(labels, cell, strict=True))
        for place, name in enumerate(("auroc", "ap")):
            for suffix, value in zip(
                ("", "_low", "_high"), t_interval(found[:, place]), strict=True
            ):
                dataset[f"{name}{suffix}"].loc[at] = value
        dataset["baseline_ap"].loc[at] = t_interval(found[:, 2])[0]
        dataset["seeds"].loc[at] = int((~np.isnan(found[:, 0])).sum())
    return dataset


def _scored(record: Recovery, truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    try:
        _, wanted = _feasible(record.scores, truth)
        found = auroc(record.scores, truth), average_precision(record.scores, truth)
    except CntbenchError as error:
        raise CntbenchError(f"circuit {record.circuit!r}: {error.what}") from None
    return *found, random_average_precision(int(wanted.sum()), len(wanted))


def _feasible(
    scores: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    feasible = ~np.isnan(scores)
    true = np.nan_to_num(np.asarray(truth, dtype=np.float64)) > 0
    if (true & ~feasible).any():
        source, target = np.argwhere(true & ~feasible)[0]
        raise CntbenchError(
            f"the true edge from component {source} to {target} has no score: it is not feasible, "
            "or was not measured"
        )
    return scores[feasible], true[feasible]


def _both_kinds(wanted: NDArray[np.bool_]) -> bool:
    return bool(wanted.any() and not wanted.all())


def _empty(labels: Mapping[str, list[str]]) -> xr.Dataset:
    shape = tuple(map(len, labels.values()))
    documents = {
        "auroc": "probability that a true edge scores above another feasible one; 0.5 by chance",
        "ap": "average precision, mean over seeds",
        "baseline_ap": "expected average precision of random scores",
    }
    for name in ("auroc", "ap"):
        documents[f"{name}_low"] = f"lower end of the 95 % interval of {name} over seeds"
        documents[f"{name}_high"] = f"upper end of the 95 % interval of {name} over seeds"
    dataset = xr.Dataset(coords=dict(labels))
    for name, document in documents.items():
        attributes = {"long_name": document, "units": "1"}
        dataset[name] = (tuple(labels), np.full(shape, np.nan), attributes)
    dataset["seeds"] = (
        tuple(labels),
        np.zeros(shape, dtype=np.int64),
        {"long_name": "number of seeds with a defined score", "units": "1"},
    )
    return dataset
