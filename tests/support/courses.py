"""Metric trajectories of known kind: without change points, and with some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cntbench.dynamics.phases import LEVEL, chance
from cntbench.dynamics.segments import segment
from cntbench.dynamics.trajectory import standardised
from cntbench.parallel.processes import parallel_map
from support.calibration import DRAWS

FEATURES = 5

#: Kinds by how many change points they have.
KINDS = {
    "white noise": 0,
    "autoregressive 0.5": 0,
    "autoregressive 0.9": 0,
    "random walk": 0,
    "trend": 0,
    "trend with autoregressive noise": 0,
    "parabola": 0,
    "slow relaxation": 0,
    "fast relaxation": 0,
    "one step": 1,
    "two steps": 2,
}


def course(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """A trajectory, dims ``checkpoint, feature``."""
    noise = rng.standard_normal((count, FEATURES))
    size = 3 * rng.standard_normal(FEATURES)
    time = np.linspace(0, 1, count)[:, None]
    if kind == "white noise":
        return noise
    if kind.startswith("autoregressive"):
        return autoregressive(float(kind.split()[1]), count, rng)
    if kind == "random walk":
        return noise.cumsum(axis=0)
    if kind == "trend":
        return size * time + noise / 2
    if kind == "trend with autoregressive noise":
        return size * time + 0.3 * autoregressive(0.7, count, rng)
    if kind == "parabola":
        return size * time**2 + 3 * rng.standard_normal(FEATURES) * time + noise / 2
    if kind == "slow relaxation":
        return size * np.exp(-rng.uniform(2, 6, FEATURES) * time) + noise / 2
    if kind == "fast relaxation":
        return size * np.exp(-10 * time) + noise / 2
    first = rng.uniform(0.2, 0.4) if kind == "two steps" else rng.uniform(0.3, 0.7)
    values = 0.7 * size * (time > first) + noise
    if kind == "two steps":
        second = first + rng.uniform(0.25, 0.35)
        values += 2 * rng.standard_normal(FEATURES) * (time > second)
    return values


def autoregressive(coefficient: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """A stationary first-order process."""
    values = rng.standard_normal((count + 100, FEATURES))
    for at in range(1, len(values)):
        values[at] += coefficient * values[at - 1]
    return values[100:]


@dataclass(frozen=True)
class Look:
    """One trajectory in which phases are looked for."""

    kind: str
    number: int
    checkpoints: int

    def work(self) -> int:
        """Return the number of change points that are found."""
        rng = np.random.default_rng([self.number, list(KINDS).index(self.kind)])
        features = standardised(course(self.kind, self.checkpoints, rng))
        segments = segment(features)
        best = segments.number
        if segments.advantage[best - 1] <= 0 or chance(features, segments, rng, DRAWS) > LEVEL:
            return 0
        return best


def counts(*, films: int, checkpoints: int, jobs: int = 1) -> dict[str, np.ndarray]:
    """How many trajectories of each kind have how many change points, from 0."""
    looks = [Look(kind, n, checkpoints) for kind in KINDS for n in range(films)]
    column = np.array(list(parallel_map(Look.work, looks, jobs=jobs))).reshape(len(KINDS), films)
    return {kind: np.bincount(row, minlength=5) for kind, row in zip(KINDS, column, strict=True)}


def table(numbers: dict[str, np.ndarray]) -> str:
    """Return counts as a Markdown table."""
    lines = ["| course | none | 1 | 2 | 3 | 4 |", "|---|---|---|---|---|---|"]
    for kind, row in numbers.items():
        lines.append(f"| {kind} | " + " | ".join(f"{n / row.sum():.3f}" for n in row) + " |")
    return "\n".join(lines)
