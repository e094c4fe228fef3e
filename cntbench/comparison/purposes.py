"""Purposes of a method, and the score of every method on every planted model for each of them.

A purpose defines which edges of a planted circuit are true. A method's score for it measures how
well its influence separates them from all other feasible edges. Methods are scored on the realistic
and the trained models of circuits without diagnostics: special circuits show what misleads a
method, not how often it is right. Trained circuits count only for edges on the readout and circuits
at a budget, because their components may have effects on each other that do not reach the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from cntbench.analysis.recovery import Recovery, auroc
from cntbench.comparison.stability import score_intervals
from cntbench.errors import in_file
from cntbench.files.attributes import described
from cntbench.models.planted.spec import Difficulty

#: The models on which methods are scored.
DIFFICULTIES: tuple[Difficulty, ...] = ("realistic", "trained")


@dataclass(frozen=True)
class Purpose:
    """A purpose for which methods are ranked.

    Parameters
    ----------
    title
        Its name in the sentence "For … use".
    measure
        The score; larger is better.
    meaning
        Which edges are true.
    truth
        Name of their array in a `cntbench.analysis.recovery.Recovery`; empty for the purpose that
        `cntbench.comparison.budgets` scores.
    """

    title: str
    measure: str
    meaning: str
    truth: str = ""


PURPOSES: Mapping[str, Purpose] = {
    "direct_edges": Purpose(
        "direct edges", "AUROC", "planted edges, against all other pairs", "truth_direct"
    ),
    "total_influence": Purpose(
        "total influence",
        "AUROC",
        "pairs of which one reaches the other, against all other pairs",
        "truth_total",
    ),
    "readout_edges": Purpose(
        "edges on the readout",
        "AUROC",
        "planted edges that lead on to the readout, against all other pairs",
        "truth_readout",
    ),
    "circuit": Purpose(
        "a circuit at a budget",
        "CPR",
        "share of the model's output that the best edges alone recover, over budgets of edges",
    ),
}


def purpose_scores(
    records: Sequence[Recovery],
    ablations: Sequence[str],
    circuits: Sequence[str],
    areas: Mapping[tuple[str, str, int], float],
) -> xr.Dataset | None:
    """Score every ablation on every model, for each purpose.

    Parameters
    ----------
    records
        Scores and true edges of every ablation and model.
    ablations
        Names; scores of those without records are NaN.
    circuits
        Names of the circuits without diagnostics.
    areas
        CPR by ablation, circuit and seed, from `cntbench.comparison.budgets`.

    Returns
    -------
    xarray.Dataset or None
        ``score_by_model``, dims ``purpose, ablation, scored_circuit, seed``, and
        ``score_prompts_low``, ``score_prompts_high``, the interval of its mean over resamples of
        the prompts, dims ``purpose, ablation``; NaN where a score is undefined. None if none of
        these circuits was measured.

    Raises
    ------
    CntbenchError
        If a true edge has no score.
    """
    used = [r for r in records if r.difficulty in DIFFICULTIES and r.circuit in circuits]
    if not used:
        return None
    labels: dict[str, list[Any]] = {
        "purpose": list(PURPOSES),
        "ablation": list(ablations),
        "scored_circuit": [name for name in circuits if any(r.circuit == name for r in used)],
        "seed": sorted({record.seed for record in used}),
    }
    scores = xr.DataArray(
        np.full([len(names) for names in labels.values()], np.nan),
        labels,
        tuple(labels),
        attrs=described(
            "score_by_model",
            "; ".join(f"{name}: {p.measure}, {p.meaning}" for name, p in PURPOSES.items()),
            "1",
        ),
    )
    for record in used:
        at: dict[str, Any] = {"ablation": record.ablation, "scored_circuit": record.circuit}
        if record.difficulty != "trained":  # a trained circuit has one model for all seeds
            at["seed"] = record.seed
        key = (record.ablation, record.circuit, record.seed)
        for name, purpose in PURPOSES.items():
            score = _auroc(record, purpose) if purpose.truth else areas.get(key, np.nan)
            scores.loc[{"purpose": name, **at}] = score
    dataset = scores.to_dataset(name="score_by_model")
    truths = [purpose.truth for purpose in PURPOSES.values()]
    for end, values in zip(("low", "high"), score_intervals(used, truths, ablations), strict=True):
        name = f"score_prompts_{end}"
        about = f"{end} end of where 95 % of the scores lie over resamples of prompts"
        dataset[name] = (("purpose", "ablation"), values, described(name, about, "1"))
    return dataset


def _auroc(record: Recovery, purpose: Purpose) -> float:
    truth = record.truth(purpose.truth)
    with in_file(f"circuit {record.circuit!r}"):
        return np.nan if truth is None else auroc(record.scores, truth)
