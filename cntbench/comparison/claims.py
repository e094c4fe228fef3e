"""Claims over several result files, such as the seeds of one model: pooled verdicts, as a dataset.

Tests are pooled by `cntbench.analysis.pooling`. Verdicts follow the rule for one file
(`cntbench.dynamics.claims`): the p-value of a claim is the largest of its tests' p-values,
corrected by Holm. A file that cannot answer a test, for example because it has too few checkpoints,
is left out of that claim, and the number of files that answer is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import xarray as xr

from cntbench.analysis.pooling import pool_films
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult, Verdict, judge
from cntbench.dynamics.verdicts import claim_results, claim_rules
from cntbench.errors import CntbenchError
from cntbench.files.attributes import described
from cntbench.files.output import FileKind, has_attribute
from cntbench.results.film import usable

#: Reason that `cntbench.dynamics.claims.examine` gives for a film with too few checkpoints.
_TOO_FEW = re.compile(r"needs (\d+) checkpoints, has (\d+)")
#: Title of the dataset of pooled verdicts.
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


@dataclass(frozen=True)
class Judgement:
    """One claim on one task by one ablation, in one file or over several.

    Parameters
    ----------
    effects
        Effects of the decisive test, in each file that answers the claim.
    file_verdicts
        The verdict in each file that has the task and ablation.
    """

    task: str
    ablation: str
    claim: str
    summary: str
    text: str
    source: str
    verdict: Verdict
    results: tuple[ClaimTestResult, ...]
    statistics: tuple[str, ...]
    effects: tuple[float, ...]
    file_verdicts: tuple[str, ...]

    @property
    def why(self) -> str:
        """Why the claim is not supported; empty if it is."""
        number, reason = self.verdict.decisive, self.verdict.reason
        if not reason or self.results[number].reason:
            return reason
        return f"{self.statistics[number].replace('_', ' ')}: the effect {reason}"


def file_judgements(group: xr.Dataset, claims: Sequence[str] | None = None) -> list[Judgement]:
    """Return the verdicts of one file.

    Parameters
    ----------
    group
        The file's group ``claims``, with the coordinates ``task`` and ``ablation``.
    """
    if claims is not None:
        group = group.sel(claim=list(claims))
    judgements = []
    labels = product(group["task"].values, group["ablation"].values)
    for task, ablation in labels:
        cell = group.sel(task=task, ablation=ablation)
        of_claims = (
            cell.variables[name].values
            for name in ("verdict", "reason", "p_value", "corrected_p_value", "decisive")
        )
        for index, (label, reason, p_value, corrected, decisive) in enumerate(
            zip(*of_claims, strict=True)
        ):
            verdict = Verdict(
                label, str(reason), float(p_value), float(corrected), int(decisive) - 1
            )
            results = claim_results(cell, index)
            judgements.append(_judgement(str(task), str(ablation), index, verdict, [cell], results))
    return judgements


def common_claims(groups: Sequence[xr.Dataset]) -> list[str]:
    """Return the names of the claims that all files have tested, in the same version."""
    versions = [
        dict(zip(group["claim"].values.astype(str), group["claim_version"].values, strict=True))
        for group in groups
    ]
    first, *others = versions
    return [name for name in first if all(first[name] == other.get(name) for other in others)]


def check_independent(trees: Mapping[str, xr.DataTree]) -> None:
    """Refuse results of one training run, which pooling would count as several.

    Results may share the checkpoint that training starts from, and a run may be in several results
    if no task and ablation is.

    Raises
    ------
    CntbenchError
        If two results measured the same checkpoints on the same task by the same ablation.
    """
    roots = {name: tree.to_dataset(inherit=False) for name, tree in trees.items()}
    cells = {
        name: {*product(root["task"].values.tolist(), root["ablation"].values.tolist())}
        for name, root in roots.items()
    }
    revisions = {
        name: {*root["revision"].values[usable(root)].tolist()} for name, root in roots.items()
    }
    for first, second in combinations(trees, 2):
        shared = len(revisions[first] & revisions[second])
        if shared > 1 and cells[first] & cells[second]:
            raise CntbenchError(
                f"{shared} checkpoints of it are those of {first}, so both are one training run",
                where=second,
                hint="Verdicts are pooled over independent runs. Leave one of the two out.",
            )


def pooled_judgements(
    groups: Sequence[xr.Dataset], claims: Sequence[Claim] | None = None
) -> list[Judgement]:
    """Return pooled verdicts for every task and ablation of any file, in the files' order.

    Parameters
    ----------
    groups
        The files' groups ``claims``, with the coordinates ``task`` and ``ablation``.
    claims
        Claims that every file has tested; by default those of `common_claims`, by the rules that
        the first file records.
    """
    names = common_claims(groups) if claims is None else [claim.name for claim in claims]
    groups = [group.sel(claim=names) for group in groups]
    rules = claim_rules(groups[0]) if claims is None else [claim.rule for claim in claims]
    cells = {
        (str(task), str(ablation)): None
        for group in groups
        for task in group["task"].values
        for ablation in group["ablation"].values
    }
    judgements = []
    for task, ablation in cells:
        in_files = [
            group.sel(task=task, ablation=ablation)
            for group in groups
            if _has(group, task, ablation)
        ]
        results = [
            pool_films([claim_results(cell, index) for cell in in_files], rules[index])
            for index in range(len(names))
        ]
        judgements += [
            _judgement(task, ablation, index, verdict, in_files, results[index])
            for index, verdict in enumerate(judge(rules, results, several=len(in_files) > 1))
        ]
    return judgements


def _has(group: xr.Dataset, task: str, ablation: str) -> bool:
    """Return whether a file has a task and an ablation."""
    return task in group["task"] and ablation in group["ablation"]


def too_short(judgements: Sequence[Judgement]) -> str:
    """Return a sentence on the claims that need more checkpoints, or an empty string."""
    needs: dict[str, tuple[int, int]] = {}
    for judgement in judgements:
        for need, has in _TOO_FEW.findall(judgement.why):
            before = needs.get(judgement.claim, (0, int(has)))[1]
            needs[judgement.claim] = int(need), min(before, int(has))
    if not needs:
        return ""
    count = len({judgement.claim for judgement in judgements})
    least = sorted({need for need, _ in needs.values()})
    present = min(have for _, have in needs.values())
    measured = "1 checkpoint is" if present == 1 else f"{present} checkpoints are"
    tested = "1 claim" if count == 1 else f"{count} claims"
    need = "it needs" if len(needs) == 1 else "they need"
    return (
        f"{measured} too few for {len(needs)} of {tested}: {need} {' or '.join(map(str, least))}."
    )


def _judgement(
    task: str,
    ablation: str,
    index: int,
    verdict: Verdict,
    cells: Sequence[xr.Dataset],
    results: Sequence[ClaimTestResult],
) -> Judgement:
    first = cells[0].variables
    answers = [claim_results(cell, index) for cell in cells]
    return Judgement(
        task=task,
        ablation=ablation,
        claim=str(first["claim"].values[index]),
        summary=str(first["claim_summary"].values[index]),
        text=str(first["claim_text"].values[index]),
        source=str(first["claim_source"].values[index]),
        verdict=verdict,
        results=tuple(results),
        statistics=tuple(map(str, first["test_statistic"].values[index][: len(results)])),
        effects=tuple(
            tests[verdict.decisive].effect
            for tests in answers
            if not any(test.reason for test in tests)
        ),
        file_verdicts=tuple(str(cell.variables["verdict"].values[index]) for cell in cells),
    )


def pooled_claims(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> xr.Dataset | None:
    """Pool the verdicts on claims over results.

    Parameters
    ----------
    trees
        Results by name, such as ``seed0``.

    Returns
    -------
    xarray.Dataset or None
        Verdicts, effects and p-values, dims ``task, ablation, claim``; ``film_verdict``, the
        verdict on each film, also has dim ``film``, and is empty where the film lacks the task or
        the ablation. None if there are no common claims.

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
    return _pooled_dataset(pooled_judgements([*groups.values()], common), groups)


def with_pooled_claims(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> xr.DataTree:
    """Return results as a tree, with `pooled_claims`, if there are any, as its child ``claims``."""
    pooled = pooled_claims(trees, claims)
    return xr.DataTree.from_dict({**trees, **({} if pooled is None else {"claims": pooled})})


def _pooled_dataset(judgements: Sequence[Judgement], films: Mapping[str, xr.Dataset]) -> xr.Dataset:
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
        have = [_has(group, judgement.task, judgement.ablation) for group in films.values()]
        of_films[cell][have] = judgement.file_verdicts
    return xr.Dataset(
        {
            **{name: (dims, texts[name], {"long_name": _LABELS[name]}) for name in texts},
            **{name: (dims, values[name], described(name, _NUMBERS[name], "1")) for name in values},
            "film_verdict": ((*dims, "film"), of_films, {"long_name": "verdict on each film"}),
        },
        coords={**{dim: (dim, labels[dim]) for dim in dims}, "film": ("film", list(films))},
        attrs={"title": POOLED_TITLE},
    )
