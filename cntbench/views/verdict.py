"""Verdicts on methods and on claims, in the same words on the terminal, the page and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from cntbench.comparison.claims import Judgement, file_judgements
from cntbench.errors import listed
from cntbench.views.missing import Missing, missing


@dataclass(frozen=True)
class Ranked:
    """A method's place for one purpose.

    Parameters
    ----------
    ablation
        Its name.
    rank, shared
        One more than the number of methods that are better; whether others have the same rank.
    score, low, high
        Mean score with its 95 % interval.
    passes
        Cost [forward passes]; NaN if not counted.
    pareto
        Whether no other method is at least as good and as cheap.
    """

    ablation: str
    rank: int
    shared: bool
    score: float
    low: float
    high: float
    passes: float
    pareto: bool


@dataclass(frozen=True)
class Ranking:
    """The methods for one purpose, best first.

    Parameters
    ----------
    title, measure, meaning
        The purpose, what methods are ranked by, and which edges count as true.
    sentence
        The decision.
    method
        The methods that took part.
    absent
        Sentences that name the others, with the reason.
    """

    title: str
    measure: str
    meaning: str
    sentence: str
    method: tuple[Ranked, ...]
    absent: tuple[str, ...]

    @property
    def tied(self) -> tuple[Ranked, ...]:
        """The methods that tie with the one of the highest score, the one to use first.

        As in `cntbench.comparison.verdict`: none is better than they are, and their scores lie in
        the interval of the highest one. The cheapest comes first; of equally cheap ones, the best.
        """
        highest = max(self.method, key=lambda m: m.score)
        least = min(highest.score, highest.low)
        tied = [method for method in self.method if method.rank == 1 and method.score >= least]
        by_cost = sorted(
            tied, key=lambda m: (np.nan_to_num(m.passes, nan=np.inf), -m.score, m.ablation)
        )
        return tuple(by_cost) or (highest,)  # none in a file whose ranks were changed

    @property
    def use(self) -> Ranked:
        """The method to use."""
        return self.tied[0]


@dataclass(frozen=True)
class VerdictView:
    """All rankings of a comparison, and what their scores are means over.

    Parameters
    ----------
    ranking
        By purpose.
    circuits
        Names.
    models
        Most models of a circuit.
    fewer
        Titles of purposes for which fewer circuits have a score, by their number.
    """

    ranking: tuple[Ranking, ...]
    circuits: tuple[str, ...]
    models: int
    fewer: Mapping[int, Sequence[str]]

    @property
    def sample(self) -> str:
        """What scores are means over, in words; a trained circuit has one model only."""
        count = len(self.circuits)
        circuits = f"{count} circuit{'' if count == 1 else 's'}{self.exceptions}"
        if self.models == 1:
            return f"{circuits}, 1 model of each"
        return f"{circuits}, with up to {self.models} models of each"

    @property
    def exceptions(self) -> str:
        """Purposes of fewer circuits in brackets, such as " (6 for direct edges)", or nothing."""
        each = (f"{count} for {listed(titles)}" for count, titles in self.fewer.items())
        return f" ({'; '.join(each)})" if self.fewer else ""

    @property
    def rows(self) -> list[tuple[str, tuple[Ranked | None, ...], float]]:
        """Name, place for each purpose, and cost of every ranked method, by its mean rank."""
        places: dict[str, list[Ranked | None]] = {}
        for at, ranking in enumerate(self.ranking):
            for method in ranking.method:
                row = places.setdefault(method.ablation, [None] * len(self.ranking))
                row[at] = method
        rows = []
        for name, row in places.items():
            ranked = [place for place in row if place is not None]
            rank = sum(place.rank for place in ranked) / len(ranked)
            rows.append((rank, name, tuple(row), ranked[0].passes))
        return [row[1:] for row in sorted(rows, key=lambda row: row[0])]

    @property
    def absent(self) -> list[str]:
        """Sentences that name methods which are missing from a ranking."""
        return list(dict.fromkeys(text for ranking in self.ranking for text in ranking.absent))


def verdict(comparison: xr.Dataset) -> VerdictView | None:
    """Return the verdict of a comparison; None if it has none."""
    if "verdict" not in comparison:
        return None
    rankings = tuple(_ranking(comparison, str(name)) for name in comparison["purpose"].values)
    circuits = tuple(map(str, comparison["scored_circuit"].values))
    fewer: dict[int, list[str]] = {}
    if "score_by_model" in comparison:
        scored = comparison["score_by_model"].notnull().any(["ablation", "seed"])
        counts = scored.sum("scored_circuit").values.tolist()
        for ranking, count in zip(rankings, counts, strict=True):
            if 0 < count < len(circuits):
                fewer.setdefault(count, []).append(ranking.title)
    return VerdictView(rankings, circuits, comparison.sizes["seed"], fewer)


def _ranking(comparison: xr.Dataset, name: str) -> Ranking:
    cells = comparison.sel(purpose=name)
    title = str(cells["purpose_title"].item())
    ranks = cells["rank"].values
    reasons = {
        str(ablation): str(reason)
        for ablation, reason in zip(cells["ablation"].values, cells["unscored"].values, strict=True)
        if reason
    }
    methods = [
        Ranked(
            str(cell["ablation"].item()),
            int(cell["rank"]),
            int((ranks == float(cell["rank"])).sum()) > 1,
            float(cell["score"]),
            float(cell["score_low"]),
            float(cell["score_high"]),
            float(cell.get("forward_passes", np.nan)),
            bool(cell["pareto"] == 1),
        )
        for cell in (cells.isel(ablation=i) for i in np.flatnonzero(~np.isnan(ranks)))
    ]
    return Ranking(
        title,
        str(cells["purpose_measure"].item()),
        str(cells["purpose_meaning"].item()),
        str(cells["verdict"].item()),
        tuple(sorted(methods, key=lambda m: (m.rank, -m.score, m.passes, m.ablation))),
        tuple(absences(f"Not ranked for {title}", reasons)),
    )


def absences(what: str, reasons: Mapping[str, str]) -> list[str]:
    """Return sentences that name methods with the reason why they are missing.

    Parameters
    ----------
    what
        What a sentence begins with.
    reasons
        By method.

    Examples
    --------
    >>> absences("Not tested", {"a": "it is new", "b": "it is new"})
    ['Not tested: a and b (it is new).']
    """
    methods: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        methods.setdefault(reason.rstrip("."), []).append(name)
    return [f"{what}: {listed(names)} ({reason})." for reason, names in methods.items()]


def claims(tree: xr.DataTree) -> tuple[Judgement, ...] | Missing:
    """Return the verdicts that a result holds, by task, ablation and claim."""
    if "claims" not in tree.children:
        return missing("claims")
    return tuple(file_judgements(tree.children["claims"].to_dataset(inherit=True)))
