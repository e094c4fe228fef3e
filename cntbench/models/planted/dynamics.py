"""How a planted circuit changes over its training: edges emerge, weights drift, or nothing does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cntbench.models.planted.spec import Edge
from cntbench.models.steps import LARGEST
from cntbench.specs import spec


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if steps[0] < 0 or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("steps have to rise, from 0 or later")
    if steps[-1] > LARGEST:
        raise ValueError(f"steps are at most {LARGEST}")
    return steps


Steps = Annotated[tuple[int, ...], Field(min_length=1, strict=False), AfterValidator(_rising)]


@dataclass(frozen=True)
class Moment:
    """Where a circuit stands at one step.

    Parameters
    ----------
    gains
        By edge, the share of its final strength, 0 to 1; 1 for edges that are not listed.
    turn
        Angle by which every reading is turned within its own subspace [radian].
    growth
        Factor of what linear components write.
    """

    gains: Mapping[tuple[str, str], float] = field(default_factory=dict)
    turn: float = 0.0
    growth: float = 1.0


#: Where a circuit stands that does not change.
STILL = Moment()


@spec
class Emergence:
    """The gain of some edges follows a sigmoid, 1 / (1 + exp(−(step − emergence) / duration)).

    What an edge does not carry yet, its target takes from the token embedding, so that the target's
    output keeps its length and the influence over the edge is in proportion to the gain.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    emergence
        The step at which the gain is one half.
    duration
        Steps in which the gain's odds rise by a factor of e.
    edges
        The edges that emerge; their targets are linear.
    """

    kind: Literal["emergence"]
    steps: Steps
    emergence: Annotated[float, Field(ge=0, strict=False)]
    duration: Annotated[float, Field(gt=0, strict=False)]
    edges: Annotated[tuple[Edge, ...], Field(min_length=1, strict=False)]

    def at(self, step: int) -> Moment:
        """Return where the circuit stands at a step."""
        gain = 0.5 * (1 + math.tanh((step - self.emergence) / self.duration / 2))
        return Moment(gains=dict.fromkeys(self.edges, gain))


@spec
class Frozen:
    """The same weights at every step.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    """

    kind: Literal["frozen"]
    steps: Steps

    @property
    def edges(self) -> tuple[Edge, ...]:
        """No edge emerges."""
        return ()

    def at(self, step: int) -> Moment:
        """Return where the circuit stands, wherever that is in time."""
        return STILL


@spec
class Drift:
    """All weights rotate and grow smoothly, and no edge comes or goes.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    turn
        Angle of the rotation from step 0 to the last one [radian].
    growth
        Factor by which what linear components write grows over the same steps.
    """

    kind: Literal["drift"]
    steps: Steps
    turn: Annotated[float, Field(ge=0, le=10, strict=False)]
    growth: Annotated[float, Field(gt=0, le=10, strict=False)]

    @property
    def edges(self) -> tuple[Edge, ...]:
        """No edge emerges."""
        return ()

    def at(self, step: int) -> Moment:
        """Return where the circuit stands at a step."""
        part = step / max(self.steps[-1], 1)
        return Moment(turn=self.turn * part, growth=self.growth**part)


Dynamics = Emergence | Frozen | Drift

#: Classes of dynamics by their ``kind``.
KINDS: dict[str, type[Dynamics]] = {"emergence": Emergence, "frozen": Frozen, "drift": Drift}
