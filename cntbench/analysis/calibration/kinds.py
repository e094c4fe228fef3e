"""Kinds of simulated films, and the shipped claims that are true or false for each.

A claim that no kind names, such as one in a user's folder, is tested on all kinds. The table then
shows how often each kind supports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from cntbench.analysis.calibration import simulated
from cntbench.dynamics.film import Film


@dataclass(frozen=True)
class FilmKind:
    """A kind of simulated films.

    Parameters
    ----------
    content
        Description of the films, for tables.
    make
        Simulates a film from a random generator and a base; films with an effect take its size.
    false, true
        Claims that are false, and claims that are true, for these films.
    sizes
        Sizes of the effect; the last is used when length or shape varies. Empty without an effect.
    knob
        Keyword of ``make`` for the size.
    lengths
        Numbers of checkpoints; the last is used when size or shape varies.
    shapes
        Layers and heads of the model; the first is used when size or length varies.
    """

    content: str
    make: Callable[..., Film]
    false: tuple[str, ...] = ()
    true: tuple[str, ...] = ()
    sizes: tuple[float, ...] = ()
    knob: str = "size"
    lengths: tuple[int, ...] = (40,)
    shapes: tuple[tuple[int, int], ...] = ((3, 3),)


_DYNAMICS = ("gatherers_less_stable", "gatherers_reconfigure", "spreader_hierarchy", "three_phases")
_GATES = ("gatekeeper_hierarchy", "gatekeepers_reconfigure")
_SIZES, _LENGTHS, _DEEP = (0.33, 0.67, 1.0), (40, 80, 143), ((4, 5),)


def _planted(rng: np.random.Generator, base: Film, **size: float) -> Film:
    """Return a film that learns most within four checkpoints."""
    return simulated.planted(rng, base=base, duration=8, **size).film


#: By name. The lengths of the names are part of the films' seeds.
KINDS = {
    "frozen": FilmKind("one graph, and noise", simulated.frozen, false=_DYNAMICS),
    "time_shuffled": FilmKind(
        "real dynamics in a random order", simulated.time_shuffled, false=_DYNAMICS
    ),
    "untrained": FilmKind(
        "another untrained model at every checkpoint", simulated.untrained, false=_DYNAMICS
    ),
    "layers_only": FilmKind(
        "layers learn, single components do not",
        simulated.layers_only,
        false=("gatherers_less_stable", "gatherers_reconfigure", "spreader_hierarchy"),
    ),
    "wandering": FilmKind("every weight is a random walk", simulated.wandering, false=_DYNAMICS),
    "drifting": FilmKind(
        "a steady change from one graph to another",
        simulated.drifting,
        false=("gatherers_less_stable", "spreader_hierarchy", "three_phases"),
    ),
    "exchangeable": FilmKind(
        "spreaders and gatherers wander alike",
        simulated.exchangeable,
        false=("gatherers_less_stable",),
    ),
    "ramp": FilmKind("one even change between two levels", simulated.ramp, false=("three_phases",)),
    "exponential": FilmKind(
        "exponential weights with a mean for each layer",
        simulated.exponential,
        false=("long_tailed_weights",),
    ),
    "deep_layers_only": FilmKind(
        "layers learn, 4 layers of 5 heads", simulated.layers_only, false=_GATES, shapes=_DEEP
    ),
    "deep_wandering": FilmKind(
        "random walks, 4 layers of 5 heads", simulated.wandering, false=_GATES, shapes=_DEEP
    ),
    "deep_drifting": FilmKind(
        "a steady change, 4 layers of 5 heads",
        simulated.drifting,
        false=("gatekeeper_hierarchy",),
        shapes=_DEEP,
    ),
    "planted": FilmKind(
        "spreaders stay, gatherers change places when the model learns",
        _planted,
        true=("gatherers_reconfigure", "spreader_hierarchy"),
        sizes=_SIZES,
        lengths=_LENGTHS,
    ),
    # Of three heads in a layer, too few courses can be exchanged.
    "planted with 6 heads": FilmKind(
        "the same, in a model of 3 layers of 6 heads, or of 3",
        _planted,
        true=("gatherers_less_stable",),
        sizes=_SIZES,
        lengths=_LENGTHS,
        shapes=((3, 6), (3, 3)),
    ),
    "phased": FilmKind(
        "three phases, sudden transitions", simulated.phased, true=("three_phases",), lengths=(143,)
    ),
    **{
        f"phased {width:.2f}": FilmKind(
            f"transitions (10 to 90 %) take {100 * width:g} % of the film",
            partial(simulated.phased, width=width),
            true=("three_phases",),
            lengths=(143,),
        )
        for width in (0.01, 0.02, 0.03, 0.05, 0.08)
    },
    "phased 0.12": FilmKind(
        "transitions (10 to 90 %) take 12 % of the film",
        partial(simulated.phased, width=0.12),
        true=("three_phases",),
        sizes=_SIZES,
        lengths=_LENGTHS,
    ),
    "tailed": FilmKind(
        "log-normal weights, σ is the size",
        simulated.tailed,
        true=("long_tailed_weights",),
        sizes=(1.0, 2.0, 1.5),
        knob="sigma",
        shapes=((3, 4), (3, 6), (6, 8)),
    ),
    # Strong gates carry every path, so that betweenness cannot tell slow change from none.
    "gated": FilmKind(
        "gatekeepers stay",
        simulated.gated,
        true=("gatekeeper_hierarchy",),
        sizes=_SIZES[::-1],
        lengths=(143, 40),
        shapes=_DEEP,
    ),
    "turning gates": FilmKind(
        "gatekeepers change places when the model learns",
        partial(simulated.gated, turning=True),
        true=("gatekeepers_reconfigure",),
        sizes=_SIZES,
        lengths=(143, 40),
        shapes=_DEEP,
    ),
}
#: Claims that are true or false for some kind.
KNOWN = {name for kind in KINDS.values() for name in (*kind.false, *kind.true)}
