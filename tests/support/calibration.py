"""Whether phases are found where something is learnt, on simulated films."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from cntbench.analysis.calibration import simulated
from cntbench.dynamics.phases import find_phases
from cntbench.parallel.processes import parallel_map

#: Films of each kind; docs/calibration.md says of how many its tables are.
FILMS = int(os.environ.get("CNTBENCH_FILMS", "40"))
#: Surrogates of each; a p-value of 0.05 needs 19, and the tables are of 99.
DRAWS = 99 if "CNTBENCH_FILMS" in os.environ else 39


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
        boundaries = find_phases(planted.film, rng, DRAWS).boundaries
        apart = np.maximum(boundaries - 1 - emergence, 0) + np.maximum(emergence - boundaries, 0)
        return float(apart.min(initial=np.inf))


def distances(*, films: int, checkpoints: int, jobs: int = 1) -> list[float]:
    """Return the distance of the nearest boundary from the emergence in every film [checkpoint]."""
    searches = [Search(number, checkpoints) for number in range(films)]
    return list(parallel_map(Search.work, searches, jobs=jobs))
