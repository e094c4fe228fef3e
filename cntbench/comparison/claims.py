"""Claims over several result files, such as the seeds of one model: the verdicts on all of them.

For each test, the pooled effect is the mean over the files, its interval Student's over the files
(the file's own if there is one only), and the pooled p-value Stouffer's, all files counting alike.
From these the verdict follows as it does for one file (`cntbench.dynamics.claims`): a claim's
p-value is the largest of its tests', corrected by Holm. A file that does not answer a test, for
want of checkpoints or of anything to ask about, takes no part in that claim, and is counted.

Source: Stouffer et al. 1949, "The American soldier", vol. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from cntbench.analysis.intervals import t_interval
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult, Verdict, judge
from cntbench.dynamics.verdict_merge import found_in


@dataclass(frozen=True)
class Judgement:
    """One claim on one task by one ablation, in one file or over several.

    Parameters
    ----------
    task, ablation
        The cell.
    claim, summary, text, source
        What is claimed, and where.
    verdict
        On all files together.
    found
        Of each test, over all files.
    statistics
        Names of the tests' statistics.
    effects
        Of the test that decides, in each file that answers the claim.
    words
        The verdict in each file that has the cell.
    """

    task: str
    ablation: str
    claim: str
    summary: str
    text: str
    source: str
    verdict: Verdict
    found: tuple[ClaimTestResult, ...]
    statistics: tuple[str, ...]
    effects: tuple[float, ...]
    words: tuple[str, ...]


def in_file(group: xr.Dataset, claims: Sequence[str] | None = None) -> list[Judgement]:
    """Return the verdicts that a file holds.

    Parameters
    ----------
    group
        Its group ``claims``, with the coordinates ``task`` and ``ablation``.
    claims
        Names of those that are asked for, by default all.
    """
    if claims is not None:
        group = group.sel(claim=list(claims))
    judgements = []
    for task in group["task"].values:
        for ablation in group["ablation"].values:
            cell = group.sel(task=task, ablation=ablation)
            for place in range(group.sizes["claim"]):
                numbers = {n: cell[n].values[place] for n in ("p_value", "corrected_p_value")}
                verdict = Verdict(
                    cell["verdict"].values[place],
                    str(cell["reason"].values[place]),
                    float(numbers["p_value"]),
                    float(numbers["corrected_p_value"]),
                    int(cell["decisive"].values[place]) - 1,
                )
                judgements.append(
                    _judgement(
                        str(task), str(ablation), place, verdict, [cell], found_in(cell, place)
                    )
                )
    return judgements


def over_files(groups: Sequence[xr.Dataset], claims: Sequence[Claim]) -> list[Judgement]:
    """Return the verdicts on every task and ablation that some file has, in the files' order.

    Parameters
    ----------
    groups
        The files' groups ``claims``, with the coordinates ``task`` and ``ablation``.
    claims
        What was tested in all of them, beside others or not.
    """
    groups = [group.sel(claim=[claim.name for claim in claims]) for group in groups]
    cells = {
        (str(task), str(ablation)): None
        for group in groups
        for task in group["task"].values
        for ablation in group["ablation"].values
    }
    judgements = []
    for task, ablation in cells:
        there = [
            group.sel(task=task, ablation=ablation)
            for group in groups
            if task in group["task"] and ablation in group["ablation"]
        ]
        found = [
            _together([found_in(cell, place) for cell in there]) for place in range(len(claims))
        ]
        judgements += [
            _judgement(task, ablation, place, verdict, there, found[place])
            for place, verdict in enumerate(judge(claims, found, several=len(groups) > 1))
        ]
    return judgements


def _judgement(
    task: str,
    ablation: str,
    place: int,
    verdict: Verdict,
    cells: Sequence[xr.Dataset],
    found: Sequence[ClaimTestResult],
) -> Judgement:
    first = cells[0].isel(claim=place)
    answers = [found_in(cell, place) for cell in cells]
    return Judgement(
        task=task,
        ablation=ablation,
        claim=str(first["claim"].item()),
        summary=str(first["claim_summary"].item()),
        text=str(first["claim_text"].item()),
        source=str(first["claim_source"].item()),
        verdict=verdict,
        found=tuple(found),
        statistics=tuple(map(str, first["test_statistic"].values[: len(found)])),
        effects=tuple(
            tests[verdict.decisive].effect
            for tests in answers
            if not any(test.reason for test in tests)
        ),
        words=tuple(str(cell["verdict"].values[place]) for cell in cells),
    )


def _together(files: Sequence[Sequence[ClaimTestResult]]) -> Sequence[ClaimTestResult]:
    """Pool the files that answer all tests of a claim."""
    answering = [tests for tests in files if not any(test.reason for test in tests)]
    if len(answering) < 2:
        return (answering or files)[0]
    return [_pooled(tests) for tests in zip(*answering, strict=True)]


def _pooled(found: Sequence[ClaimTestResult]) -> ClaimTestResult:
    _, lower, upper = t_interval([one.effect for one in found])
    # A p-value of 1 would outweigh all others; it stands for anything in its last step.
    p_values = np.minimum([one.p_value for one in found], 1 - 1e-3)
    return ClaimTestResult(
        value=float(np.mean([one.value for one in found])),
        null=float(np.mean([one.null for one in found])),
        lower=lower,
        upper=upper,
        p_value=float(stats.combine_pvalues(p_values, method="stouffer").pvalue),
    )
