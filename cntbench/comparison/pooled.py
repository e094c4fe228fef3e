"""Claims over films of several seeds as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.attributes import described
from cntbench.comparison.claims import Judgement, over_files
from cntbench.dynamics.claim import Claim
from cntbench.output import FileKind, check_output, has_attribute
from cntbench.results.storage import write_netcdf

#: Title of the dataset.
POOLED_TITLE = "Claims over several films"
#: What `write_pooled` writes.
POOLED = FileKind("claims over several films", has_attribute("title", POOLED_TITLE))
#: Labels and numbers of each case, and what they mean.
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
        Results by name, such as ``seed0``, which have the same tasks and ablations.
    claims
        The claims; those that a result has not tested are left out.

    Returns
    -------
    xarray.Dataset or None
        Verdicts, effects and p-values, dims ``task, ablation, claim``; ``film_verdict`` with
        dim ``film`` as well has the verdict in each. None if there are no common claims.
    """
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
    return _dataset(over_files([*groups.values()], common), list(groups))


def with_pooled_claims(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> xr.DataTree:
    """Return a tree of results, by name, with `pooled_claims` as its child ``claims``, if any."""
    pooled = pooled_claims(trees, claims)
    return xr.DataTree.from_dict({**trees, **({} if pooled is None else {"claims": pooled})})


def write_pooled(pooled: xr.Dataset, path: Path, *, force: bool = False) -> None:
    """Write what `pooled_claims` returns, complete or not at all.

    An earlier one at the path is replaced; a file of another kind only with ``force``.

    Raises
    ------
    StorageError
        If the file cannot be written, or is of another kind.
    """
    check_output(path, POOLED, force=force)
    write_netcdf({"/": pooled}, path)


def _dataset(judgements: Sequence[Judgement], films: Sequence[str]) -> xr.Dataset:
    dims = ("task", "ablation", "claim")
    labels = {dim: list(dict.fromkeys(getattr(j, dim) for j in judgements)) for dim in dims}
    shape = [len(labels[dim]) for dim in dims]
    texts = {name: np.full(shape, "", dtype=object) for name in _LABELS}
    values = {name: np.full(shape, np.nan) for name in _NUMBERS}
    of_films = np.full([*shape, len(films)], "", dtype=object)
    for judgement in judgements:
        place = tuple(labels[dim].index(getattr(judgement, dim)) for dim in dims)
        verdict, test = judgement.verdict, judgement.found[judgement.verdict.decisive]
        case = {
            "verdict": verdict.label,
            "reason": judgement.why,
            "statistic": judgement.statistics[verdict.decisive],
            "p_value": verdict.p_value,
            "corrected_p_value": verdict.corrected,
            "answering": len(judgement.effects),
            **{name: getattr(test, name) for name in ("effect", "lower", "upper")},
            **{name: getattr(test, name) for name in ("power", "detectable")},
        }
        for name, value in case.items():
            (texts if name in texts else values)[name][place] = value
        of_films[place][:] = judgement.words
    return xr.Dataset(
        {
            **{name: (dims, texts[name], {"long_name": _LABELS[name]}) for name in texts},
            **{name: (dims, values[name], described(name, _NUMBERS[name], "1")) for name in values},
            "film_verdict": ((*dims, "film"), of_films, {"long_name": "verdict on each film"}),
        },
        coords={**{dim: (dim, labels[dim]) for dim in dims}, "film": ("film", list(films))},
        attrs={"title": POOLED_TITLE},
    )
