"""Breaks in a trajectory's lineage: checkpoints that do not descend from those before them.

Training moves the weights on a path, so a checkpoint lies between its neighbours, and distances
between neighbouring checkpoints change gradually.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cntbench.models.weight_samples import WeightSample

#: How much farther a checkpoint may be from both neighbours than these from each other. On a
#: straight path it is 0.5, on a random walk 0.7; in ten trainings of nano it is 0.62 at most, and
#: for a checkpoint of another training 19 at least.
APART = 1.5
#: How many times as large as the distances around it a distance between neighbours may be, for
#: the gap in steps. In ten trainings of nano it is 1.07 at most, and 27 at least at the step where
#: another training goes on.
JUMP = 4.0
#: Distances grow with a gap by a power of it: not at all, as in a random walk, or as on a line.
_POWERS = (0.0, 0.5, 1.0)


def lineage_breaks(steps: Sequence[int], samples: Sequence[WeightSample]) -> dict[int, str]:
    """Return the checkpoints that break the lineage, by index, and why."""
    breaks: dict[int, str] = {}
    for index in range(1, len(steps) - 1):
        before, sample, after = samples[index - 1 : index + 2]
        nearer = min(before.distance(sample), sample.distance(after))
        between = before.distance(after)
        if nearer > APART * between and index - 1 not in breaks:
            times = _times(nearer, between)
            breaks[index] = f"lies {times} as far from its neighbours as these from each other"
    others = [index for index in range(len(steps)) if index not in breaks]
    return breaks | _jumps(others, steps, samples)


def _jumps(
    others: Sequence[int], steps: Sequence[int], samples: Sequence[WeightSample]
) -> dict[int, str]:
    """Return the checkpoints, of the others, that lie too far from the one before."""
    pairs = list(pairwise(others))
    distances = [samples[a].distance(samples[b]) for a, b in pairs]
    gaps = [steps[b] - steps[a] for a, b in pairs]
    breaks = {}
    for index, (_, later) in enumerate(pairs):
        neighbours = [
            i for i in (index - 2, index - 1, index + 1, index + 2) if 0 <= i < len(pairs)
        ]
        expected = max(
            (distances[i] * (gaps[index] / gaps[i]) ** p for i in neighbours for p in _POWERS),
            default=0.0,
        )
        if len(neighbours) > 1 and distances[index] > JUMP * expected > 0:
            breaks[later] = (
                f"lies {_times(distances[index], expected)} as far from the checkpoint before as "
                "the distances around it suggest"
            )
    return breaks


def _times(distance: float, other: float) -> str:
    return f"{distance / other:.0f} times" if other else "infinitely"
