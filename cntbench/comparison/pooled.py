"""Claims over the films of several seeds, as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from cntbench.comparison.claims import Judgement, check_independent, pooled_judgements
from cntbench.dynamics.claim import Claim
from cntbench.files.attributes import described
from cntbench.files.output import FileKind, has_attribute

#: Title of the dataset.
POOLED_TITLE = "Claims over several films"
#: A file with pooled claims.
POOLED = FileKind("claims over several films", has_attribute("title", POOLED_TITLE))
#: Texts and numbers of the dataset, with their meaning.
_LABELS = {
    "verdict": "verdict over all films",
    "reason": "why it is not supported; empty if it is",
    "statistic": "statistic of the test that decides",
}
_NUMBERS = {
    "effect": "mean effect of the test that decides",
    "lower": "lower bound of its 95 % interval over films",
    "upper": "upper bound of its 95 % interval over films",
    "p_value": "largest p-value of the tests, combined over films",
    "corrected_p_value": "the same, corrected for the number of claims (Holm)",
    "power": "probability of finding the smallest effect that counts, at a p-value of 0.05",
    "detectable": "smallest effect that is found with probability 0.8",
    "answering": "number of films that answer the claim",
}


def pooled_claims(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> xr.Dataset | None:
    """Pool the verdicts on claims over results.

    Parameters
    ----------
    trees
        Results of the same tasks and ablations, by name, such as ``seed0``.

    Returns
    -------
    xarray.Dataset or None
        Verdicts, effects and p-values, dims ``task, ablation, claim``; ``film_verdict``, the
        verdict on each film, also has dim ``film``. None if there are no common claims.

    Raises
    ------
    CntbenchError
        If two results are of one training run (`check_independent`).
    """
    check_independent(trees)
    groups = {
        name: tree.children["claims"].to_dataset(inherit=True)
        for name, tree in trees.items()
        if "claims" in tree.children
    }
    common = [
        claim
        for claim in claims
        if all(claim.name in group["claim"].values for group in groups.values())
    ]
    if len(groups) < len(trees) or not common:
        return None
    return _dataset(pooled_judgements([*groups.values()], common), list(groups))


def with_pooled_claims(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> xr.DataTree:
    """Return results as a tree, with `pooled_claims`, if there are any, as its child ``claims``."""
    pooled = pooled_claims(trees, claims)
    return xr.DataTree.from_dict({**trees, **({} if pooled is None else {"claims": pooled})})


def _dataset(judgements: Sequence[Judgement], films: Sequence[str]) -> xr.Dataset:
    dims = ("task", "ablation", "claim")
    labels = {dim: list(dict.fromkeys(getattr(j, dim) for j in judgements)) for dim in dims}
    shape = [len(labels[dim]) for dim in dims]
    texts = {name: np.full(shape, "", dtype=object) for name in _LABELS}
    values = {name: np.full(shape, np.nan) for name in _NUMBERS}
    of_films = np.full([*shape, len(films)], "", dtype=object)
    for judgement in judgements:
        cell = tuple(labels[dim].index(getattr(judgement, dim)) for dim in dims)
        verdict, test = judgement.verdict, judgement.results[judgement.verdict.decisive]
        case = {
            "verdict": verdict.label,
            "reason": judgement.why,
            "statistic": judgement.statistics[verdict.decisive],
            "p_value": verdict.p_value,
            "corrected_p_value": verdict.corrected,
            "answering": len(judgement.effects),
            **{n: getattr(test, n) for n in ("effect", "lower", "upper", "power", "detectable")},
        }
        for name, value in case.items():
            (texts if name in texts else values)[name][cell] = value
        of_films[cell][:] = judgement.file_verdicts
    return xr.Dataset(
        {
            **{name: (dims, texts[name], {"long_name": _LABELS[name]}) for name in texts},
            **{name: (dims, values[name], described(name, _NUMBERS[name], "1")) for name in values},
            "film_verdict": ((*dims, "film"), of_films, {"long_name": "verdict on each film"}),
        },
        coords={**{dim: (dim, labels[dim]) for dim in dims}, "film": ("film", list(films))},
        attrs={"title": POOLED_TITLE},
    )
