"""Recovery of known edges: how well scores separate true edges from the other feasible ones.

Scores are defined on feasible edges (NaN elsewhere); the truth says which of these have an effect.
Both statistics, computed from ranks, are exact with ties: AUROC counts a tie half, and average
precision treats tied edges as one step. Scores that differ by rounding are tied. The statistics are
NaN if all edges are true, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.analysis.intervals import t_interval
from cntbench.errors import CntbenchError, in_file
from cntbench.files.attributes import described

TRUTHS = ("direct", "total")
#: Influence below this, and relative differences of scores, are rounding error of single precision.
RESOLUTION = 1e-6


@dataclass(frozen=True)
class Recovery:
    """The scores of an ablation on one model of a planted circuit.

    Parameters
    ----------
    circuit, difficulty, seed, ablation
        The model and the ablation.
    scores
        Influence, dims ``source, target``; NaN where not feasible.
    truth_direct, truth_total
        Whether an edge has a direct effect, or a total one, dims ``source, target``.
    truth_readout
        Whether a direct edge leads on to the readout; None if unknown.
    by_prompt
        What the scores are means of, or absolute values of means, with a last dim ``prompt``; None
        if it was not kept.
    """

    circuit: str
    difficulty: str
    seed: int
    ablation: str
    scores: NDArray[np.float64]
    truth_direct: NDArray[np.bool_]
    truth_total: NDArray[np.bool_]
    truth_readout: NDArray[np.bool_] | None = None
    by_prompt: NDArray[np.float64] | None = None

    def truth(self, name: str) -> NDArray[np.bool_] | None:
        """Return an array of true edges by its name; None for an empty name or if they are unknown.

        A trained circuit is known to carry the *answer* by its edges alone. Its components may have
        effects on each other that do not concern the answer.
        """
        known = bool(name) and (self.difficulty != "trained" or name == "truth_readout")
        return getattr(self, name) if known else None


def tied(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores of which those that differ by rounding are equal, along the last dim.

    Sorted, a score that exceeds the one below it by at most `RESOLUTION` of itself takes its value.

    Examples
    --------
    >>> tied(np.array([0.5, np.nan, 0.40731033, 0.40731032, 0]))
    array([0.5       ,        nan, 0.40731032, 0.40731032, 0.        ])
    """
    order = np.argsort(scores, axis=-1)  # NaN comes last
    rising = np.take_along_axis(scores, order, axis=-1)
    steps = np.diff(rising, axis=-1)
    joined = steps <= RESOLUTION * np.abs(rising[..., 1:])
    groups = np.zeros(rising.shape, dtype=np.intp)
    groups[..., 1:] = np.where(joined, 0, np.arange(1, rising.shape[-1]))
    lowest = np.take_along_axis(rising, np.maximum.accumulate(groups, axis=-1), axis=-1)
    result = np.empty_like(rising)
    np.put_along_axis(result, order, lowest, axis=-1)
    return result


def auroc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the probability that a true edge scores above another one; ties count half.

    Raises a `CntbenchError` if a true edge is not feasible.
    """
    from scipy.stats import rankdata

    feasible_scores, is_true = _feasible(scores, truth)
    if not _both_kinds(is_true):
        return np.nan
    others_below = rankdata(feasible_scores)[is_true] - rankdata(feasible_scores[is_true])
    return float(others_below.sum() / (is_true.sum() * (~is_true).sum()))


def average_precision(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the precision at the score of a true edge, mean over true edges; errors as `auroc`."""
    from scipy.stats import rankdata

    feasible_scores, is_true = _feasible(scores, truth)
    if not _both_kinds(is_true):
        return np.nan
    among_all, among_true = -feasible_scores, -feasible_scores[is_true]
    return float(np.mean(rankdata(among_true, "max") / rankdata(among_all, "max")[is_true]))


def random_average_precision(true: int, feasible: int) -> float:
    """Return the expected average precision of random scores without ties.

    With H the n-th harmonic number, (H + (n − H) (p − 1) / (n − 1)) / n for p true edges of n: an
    edge at rank i has i − 1 others above it, each true with probability (p − 1) / (n − 1). It
    exceeds the prevalence p / n, and approaches it for large n. Source: Bestgen 2015, "Exact
    expected average precision of the random baseline for system evaluation".
    """
    if not 0 < true < feasible:
        return np.nan
    harmonic = float(np.sum(1 / np.arange(1, feasible + 1)))
    return (harmonic + (feasible - harmonic) * (true - 1) / (feasible - 1)) / feasible


def recovery(records: Iterable[Recovery]) -> xr.Dataset:
    """Compare all records with both truths, mean over seeds; trained circuits know neither.

    Raises a `CntbenchError` if a true edge is not feasible, or a circuit has the same seed twice.

    Returns
    -------
    xarray.Dataset
        Dims ``circuit, difficulty, truth, ablation``: ``auroc`` and ``ap``, each with the ``_low``
        and ``_high`` end of its 95 % t interval over seeds, ``baseline_ap`` of random scores (their
        AUROC is 0.5), and ``seeds``, the number of seeds with a defined score.
    """
    cells: dict[tuple[str, ...], dict[int, tuple[float, float, float]]] = {}
    for record in records:
        for truth in TRUTHS:
            true = record.truth(f"truth_{truth}")
            if true is None:
                continue
            key = (record.circuit, record.difficulty, truth, record.ablation)
            seeds = cells.setdefault(key, {})
            if record.seed in seeds:
                raise CntbenchError(
                    f"ablation {record.ablation!r} was measured twice on circuit "
                    f"{record.circuit!r}, {record.difficulty}, seed {record.seed}"
                )
            seeds[record.seed] = _scored(record, true)
    labels = {
        name: list(dict.fromkeys(key[place] for key in cells))
        for place, name in enumerate(("circuit", "difficulty", "truth", "ablation"))
    }
    dataset = _empty(labels)
    arrays = {str(name): variable.values for name, variable in dataset.data_vars.items()}
    shape = tuple(map(len, labels.values()))
    for at, cell in zip(np.ndindex(shape), product(*labels.values()), strict=True):
        scores = np.array(list(cells.get(cell, {}).values())).reshape(-1, 3)
        for place, name in enumerate(("auroc", "ap")):
            interval = np.clip(t_interval(scores[:, place]), 0, 1)
            for suffix, value in zip(("", "_low", "_high"), interval, strict=True):
                arrays[f"{name}{suffix}"][at] = value
        arrays["baseline_ap"][at] = t_interval(scores[:, 2])[0]
        arrays["seeds"][at] = int((~np.isnan(scores[:, 0])).sum())
    return dataset


def _scored(record: Recovery, truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return AUROC, average precision, and the latter of random scores."""
    with in_file(f"circuit {record.circuit!r}"):
        _, is_true = _feasible(record.scores, truth)
        scores = auroc(record.scores, truth), average_precision(record.scores, truth)
    return *scores, random_average_precision(int(is_true.sum()), len(is_true))


def _feasible(
    scores: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores of the feasible edges, with ties, and which of these are true."""
    feasible = ~np.isnan(scores)
    true = np.nan_to_num(np.asarray(truth, dtype=np.float64)) > 0
    if (true & ~feasible).any():
        source, target = np.argwhere(true & ~feasible)[0]
        raise CntbenchError(
            f"the true edge from component {source} to {target} has no score: it is not feasible, "
            "or was not measured"
        )
    return tied(scores[feasible]), true[feasible]


def _both_kinds(is_true: NDArray[np.bool_]) -> bool:
    return bool(is_true.any() and not is_true.all())


def _empty(labels: Mapping[str, list[str]]) -> xr.Dataset:
    shape = tuple(map(len, labels.values()))
    documents = {
        "auroc": "probability that a true edge scores above another feasible one; 0.5 by chance",
        "ap": "average precision, mean over seeds",
        "baseline_ap": "expected average precision of random scores",
    }
    for name in ("auroc", "ap"):
        for side, suffix in (("lower", "low"), ("upper", "high")):
            documents[f"{name}_{suffix}"] = (
                f"{side} end of the 95 % interval of {name} over seeds, by Student's t: too narrow "
                "where scores are near 1"
            )
    dataset = xr.Dataset(coords=dict(labels))
    for name, document in documents.items():
        dataset[name] = (tuple(labels), np.full(shape, np.nan), described(name, document, "1"))
    dataset["seeds"] = (
        tuple(labels),
        np.zeros(shape, dtype=np.int64),
        described("seeds", "number of seeds with a defined score", "1"),
    )
    return dataset
