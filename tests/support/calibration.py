"""How often claims are supported on simulated films: such as they are not true of, and others."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import examine, judge
from cntbench.dynamics.film import Film
from cntbench.dynamics.phases import find_phases
from cntbench.parallel import parallel_map
from cntbench.runs.catalogue import load_catalogue
from support import simulated

#: Films of each kind; the tables of docs/claims.md are those of 200.
FILMS = int(os.environ.get("CNTBENCH_FILMS", "40"))
DRAWS = 99
CHECKPOINTS = 40

DYNAMICS = ("gatherers_less_stable", "gatherers_reconfigure", "spreader_hierarchy", "three_phases")

#: Films by the function that simulates them, and the claims that are not true of them.
NULLS = {
    "frozen": DYNAMICS,
    "time_shuffled": DYNAMICS,
    "untrained": DYNAMICS,
    "layers_only": ("gatherers_less_stable", "gatherers_reconfigure", "spreader_hierarchy"),
    "wandering": DYNAMICS,
    "drifting": ("gatherers_less_stable", "spreader_hierarchy", "three_phases"),
    "exchangeable": ("gatherers_less_stable",),
    "ramp": ("three_phases",),
    "exponential": ("long_tailed_weights",),
}
#: Films that claims are true of.
TRUE = {
    "planted": ("gatherers_reconfigure", "spreader_hierarchy"),
    # Of three heads in a layer, too few courses can be exchanged.
    "planted with 6 heads": ("gatherers_less_stable",),
    "phased": ("three_phases",),
    # Transitions take these shares of the film.
    "phased 0.03": ("three_phases",),
    "phased 0.08": ("three_phases",),
    "phased 0.12": ("three_phases",),
}


@dataclass(frozen=True)
class Trial:
    """One simulated film and the claims to test on it."""

    kind: str
    claims: tuple[Claim, ...]
    number: int
    checkpoints: int
    draws: int

    @property
    def film(self) -> Film:
        """The film, the same for the same trial."""
        rng = np.random.default_rng([self.number, len(self.kind)])
        heads = 6 if self.kind.endswith("6 heads") else 3
        base = simulated.template(layers=3, heads=heads, checkpoints=self.checkpoints)
        if self.kind.startswith("phased "):
            return simulated.phased(rng, base=base, width=float(self.kind.split()[1]))
        if self.kind.startswith("planted"):
            # Most of what is learnt is learnt within four checkpoints.
            return simulated.planted(rng, base=base, duration=8).film
        return getattr(simulated, self.kind)(rng, base=base)

    def work(self) -> tuple[list[float], list[str]]:
        """Return p-values before correction, and verdicts after it."""
        found = examine(
            self.film, self.claims, seed=self.number, labels=[self.kind], draws=self.draws
        )
        verdicts = judge([claim.rule for claim in self.claims], found)
        return [one.p_value for one in verdicts], [one.label for one in verdicts]


@dataclass(frozen=True)
class Rate:
    """How one claim fares on films of one kind.

    Parameters
    ----------
    kind, claim
        Which.
    films
        Their number.
    rejected
        Films with a p-value of at most the claim's level, before correction.
    supported
        Films on which the claim is supported.
    """

    kind: str
    claim: str
    films: int
    rejected: int
    supported: int


def rates(
    kinds: dict[str, tuple[str, ...]],
    *,
    films: int = FILMS,
    checkpoints: int = CHECKPOINTS,
    draws: int = DRAWS,
    jobs: int = 2,
) -> list[Rate]:
    """Return the rate of every claim on films of every kind."""
    catalogue = load_catalogue()
    trials = [
        Trial(kind, catalogue.some_claims(names), number, checkpoints, draws)
        for kind, names in kinds.items()
        for number in range(films)
    ]
    results = list(parallel_map(Trial.work, trials, jobs=jobs))
    found = []
    for place, (kind, names) in enumerate(kinds.items()):
        of_kind = results[place * films : (place + 1) * films]
        for column, name in enumerate(names):
            level = catalogue.claims[name].spec.level
            found.append(
                Rate(
                    kind,
                    name,
                    films,
                    rejected=sum(p[column] <= level for p, _ in of_kind),
                    supported=sum(words[column] == "supported" for _, words in of_kind),
                )
            )
    return found


def table(found: list[Rate]) -> str:
    """Return rates as a Markdown table."""
    lines = ["| films | claim | p ≤ level | supported |", "|---|---|---|---|"]
    lines += [
        f"| {one.kind} | {one.claim} | {one.rejected / one.films:.3f} "
        f"| {one.supported / one.films:.3f} |"
        for one in found
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Search:
    """One planted film, in which the emergence is looked for."""

    number: int
    checkpoints: int

    def work(self) -> float:
        """Return how many checkpoints lie between the emergence and the nearest boundary.

        A boundary lies between two checkpoints; infinity if there is none.
        """
        rng = np.random.default_rng([self.number, 7])
        base = simulated.template(layers=3, heads=3, checkpoints=self.checkpoints)
        planted = simulated.planted(rng, base=base, duration=8)
        emergence = float(np.interp(planted.emergence, base.step, np.arange(len(base))))
        found = find_phases(planted.film, rng, DRAWS).boundaries
        apart = np.maximum(found - 1 - emergence, 0) + np.maximum(emergence - found, 0)
        return float(apart.min(initial=np.inf))


def distances(*, films: int, checkpoints: int, jobs: int = 2) -> list[float]:
    """Return the distance of the nearest boundary from the emergence in every film [checkpoint]."""
    searches = [Search(number, checkpoints) for number in range(films)]
    return list(parallel_map(Search.work, searches, jobs=jobs))
