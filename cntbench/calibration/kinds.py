"""Kinds of simulated films, and which of the shipped claims are true of each.

A claim that no kind names, such as one of a user's folder, is tried on all of them: then the table
says how often each supports it, and the user knows which should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from cntbench.calibration import simulated
from cntbench.dynamics.film import Film


class Make(Protocol):
    """Simulates a film; those with effects take their size."""

    def __call__(self, rng: np.random.Generator, base: Film, /, **size: float) -> Film:
        """Return the film."""


@dataclass(frozen=True)
class Kind:
    """A kind of simulated films.

    Parameters
    ----------
    content
        What happens in them, for tables.
    make
        Simulates one.
    false, true
        Claims that are not true of them, and claims that are.
    sizes
        Sizes of the effect, the last one that of the other films; none for films without.
    knob
        Keyword of ``make`` for the size.
    lengths
        Numbers of checkpoints, the last one that of films of other sizes.
    shapes
        Layers and heads of the model, the first one that of films of other sizes.
    """

    content: str
    make: Make | Callable[..., Film]
    false: tuple[str, ...] = ()
    true: tuple[str, ...] = ()
    sizes: tuple[float, ...] = ()
    knob: str = "size"
    lengths: tuple[int, ...] = (40,)
    shapes: tuple[tuple[int, int], ...] = ((3, 3),)


_DYNAMICS = (
    "gatherers_less_stable",
    "gatherers_reconfigure",
    "spreader_hierarchy",
    "three_phases",
)
_GATES = ("gatekeeper_hierarchy", "gatekeepers_reconfigure")
_SIZES, _LENGTHS, _DEEP = (0.33, 0.67, 1.0), (40, 80, 143), ((4, 5),)


def _planted(rng: np.random.Generator, base: Film, **size: float) -> Film:
    """Return a film that learns most within four checkpoints."""
    return simulated.planted(rng, base=base, duration=8, **size).film


#: By name. The lengths of the names are part of the films' seeds.
KINDS = {
    "frozen": Kind("one graph, and noise", simulated.frozen, false=_DYNAMICS),
    "time_shuffled": Kind(
        "real dynamics in a random order", simulated.time_shuffled, false=_DYNAMICS
    ),
    "untrained": Kind(
        "another untrained model at every checkpoint", simulated.untrained, false=_DYNAMICS
    ),
    "layers_only": Kind(
        "layers learn, single components do not",
        simulated.layers_only,
        false=("gatherers_less_stable", "gatherers_reconfigure", "spreader_hierarchy"),
    ),
    "wandering": Kind("every weight is a random walk", simulated.wandering, false=_DYNAMICS),
    "drifting": Kind(
        "a steady change from one graph to another",
        simulated.drifting,
        false=("gatherers_less_stable", "spreader_hierarchy", "three_phases"),
    ),
    "exchangeable": Kind(
        "spreaders and gatherers wander alike",
        simulated.exchangeable,
        false=("gatherers_less_stable",),
    ),
    "ramp": Kind("one even change between two levels", simulated.ramp, false=("three_phases",)),
    "exponential": Kind(
        "exponential weights with a mean for each layer",
        simulated.exponential,
        false=("long_tailed_weights",),
    ),
    "deep_layers_only": Kind(
        "layers learn, 4 layers of 5 heads", simulated.layers_only, false=_GATES, shapes=_DEEP
    ),
    "deep_wandering": Kind(
        "random walks, 4 layers of 5 heads", simulated.wandering, false=_GATES, shapes=_DEEP
    ),
    "deep_drifting": Kind(
        "a steady change, 4 layers of 5 heads",
        simulated.drifting,
        false=("gatekeeper_hierarchy",),
        shapes=_DEEP,
    ),
    "planted": Kind(
        "spreaders stay, gatherers change places when the model learns",
        _planted,
        true=("gatherers_reconfigure", "spreader_hierarchy"),
        sizes=_SIZES,
        lengths=_LENGTHS,
    ),
    # Of three heads in a layer, too few courses can be exchanged.
    "planted with 6 heads": Kind(
        "the same, in a model of 3 layers of 6 heads, or of 3",
        _planted,
        true=("gatherers_less_stable",),
        sizes=_SIZES,
        lengths=_LENGTHS,
        shapes=((3, 6), (3, 3)),
    ),
    "phased": Kind(
        "three phases, sudden transitions",
        simulated.phased,
        true=("three_phases",),
        lengths=(143,),
    ),
    **{
        f"phased {width:.2f}": Kind(
            f"transitions (10 to 90 %) take {100 * width:g} % of the film",
            partial(simulated.phased, width=width),
            true=("three_phases",),
            lengths=(143,),
        )
        for width in (0.01, 0.02, 0.03, 0.05, 0.08)
    },
    "phased 0.12": Kind(
        "transitions (10 to 90 %) take 12 % of the film",
        partial(simulated.phased, width=0.12),
        true=("three_phases",),
        sizes=_SIZES,
        lengths=_LENGTHS,
    ),
    "tailed": Kind(
        "log-normal weights, σ is the size",
        simulated.tailed,
        true=("long_tailed_weights",),
        sizes=(1.0, 2.0, 1.5),
        knob="sigma",
        shapes=((3, 4), (3, 6), (6, 8)),
    ),
    # Strong gates carry every path, so that betweenness cannot tell slow change from none.
    "gated": Kind(
        "gatekeepers stay",
        simulated.gated,
        true=("gatekeeper_hierarchy",),
        sizes=_SIZES[::-1],
        lengths=(143, 40),
        shapes=_DEEP,
    ),
    "turning gates": Kind(
        "gatekeepers change places when the model learns",
        partial(simulated.gated, turning=True),
        true=("gatekeepers_reconfigure",),
        sizes=_SIZES,
        lengths=(143, 40),
        shapes=_DEEP,
    ),
}
#: Claims of which the kinds know whether they are true.
KNOWN = {name for kind in KINDS.values() for name in (*kind.false, *kind.true)}
