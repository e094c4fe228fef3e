"""Simulated films with known dynamics, which test roles, phases and claims.

`frozen`, `time_shuffled` and `untrained` have no dynamics. `layers_only`, `wandering`, `drifting`
and `exponential` could mislead a claim: layers change but components do not, weights change without
a stable hierarchy, without phases, or have tails that are not long. `planted` has a known moment of
emergence, known spreaders that stay, and known gatherers that change places; `phased` has three
phases. Each takes a random generator and a film of the shape to simulate (`template`), and
returns a film that is measured with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cntbench.components import components, feasible
from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls import time_order
from cntbench.dynamics.nulls.frozen import measured
from cntbench.readouts import STANDARD

#: Standard error of a weight relative to it, and of a readout relative to its range.
NOISE = 0.05
#: Chance level and value after learning of each readout: a task with 32 possible answers.
_CHANCE = {"cross_entropy": np.log(32), "accuracy": 1 / 32, "logit_difference": 0.0}
_LEARNT = {"cross_entropy": 0.2, "accuracy": 0.95, "logit_difference": 7.0}
#: Ratio of neighbouring strengths in a planted hierarchy, and in that of the early gatherers.
_STEEP, _FLAT = 1.8, 1.3


@dataclass(frozen=True)
class Planted:
    """A film with its truth.

    Parameters
    ----------
    film
        The film as measured.
    emergence
        The step at which half is learned.
    spreaders
        Constant outgoing factor of every component, dims ``source``.
    gatherers_before, gatherers_after
        Incoming factor of every component long before and long after the emergence, dims
        ``target``. Within each layer the order reverses.
    """

    film: Film
    emergence: float
    spreaders: Array
    gatherers_before: Array
    gatherers_after: Array


def template(*, layers: int = 3, heads: int = 4, checkpoints: int = 143, spacing: int = 8) -> Film:
    """Return a film without any influence, of a model with parallel blocks."""
    nodes = components(layers, heads, parallel=True)
    weights = np.where(feasible(nodes), 0.0, np.nan)
    nothing = np.zeros((len(STANDARD), checkpoints))
    return Film(
        weights=np.repeat(weights[None], checkpoints, axis=0),
        errors=np.repeat(weights[None], checkpoints, axis=0),
        step=np.arange(checkpoints, dtype=np.int64) * spacing,
        names=tuple(node.name for node in nodes),
        layer=np.array([node.layer for node in nodes], dtype=np.int64),
        readouts=nothing,
        readout_errors=nothing,
    )


def frozen(rng: np.random.Generator, base: Film) -> Film:
    """Return a film of one random graph: nothing changes but the noise."""
    weights = np.repeat(_random_graph(base, rng)[None], len(base), axis=0)
    return _measured(base, weights, rng.uniform() * np.ones(len(base)), rng)


def time_shuffled(rng: np.random.Generator, base: Film) -> Film:
    """Return a planted film whose graphs are in random order; its readouts are not."""
    film = planted(rng, base=base).film
    order = time_order.order(len(film), rng)
    return replace(film, weights=film.weights[order], errors=film.errors[order])


def untrained(rng: np.random.Generator, base: Film) -> Film:
    """Return a film of a different untrained model at each checkpoint; readouts stay at chance.

    Influence between two layers is the same for all components, except for scatter that is drawn
    anew at every checkpoint.
    """
    level = _layer_levels(base, rng)
    scatter = rng.lognormal(0, 0.3, base.weights.shape)
    return _measured(base, level * scatter, np.zeros(len(base)), rng)


def layers_only(rng: np.random.Generator, base: Film) -> Film:
    """Return a film in which layers learn and components do not.

    The levels of the layer pairs drift apart along a sigmoid that the readouts follow; the weights
    of components are drawn anew at every checkpoint.
    """
    learnt = _sigmoid(base, rng)
    level = _layer_levels(base, rng) * _layer_levels(base, rng) ** learnt[:, None, None]
    return _measured(base, level * rng.lognormal(0, 0.3, base.weights.shape), learnt, rng)


def wandering(rng: np.random.Generator, base: Film) -> Film:
    """Return a film in which every weight wanders, independently of roles and learning.

    The logarithm of each weight is a random walk; over the film it moves as far as components
    differ at the start.
    """
    step = 0.5 / len(base) ** 0.5 * rng.standard_normal(base.weights.shape)
    weights = _random_graph(base, rng) * np.exp(step.cumsum(axis=0))
    return _measured(base, weights, _sigmoid(base, rng), rng)


def exchangeable(rng: np.random.Generator, base: Film) -> Film:
    """Return a film in which components wander alike as spreaders and as gatherers.

    The logarithms of each component's outgoing and incoming factors are random walks, each with its
    own pace.
    """

    def factors() -> Array:
        pace = 0.1 * rng.lognormal(0, 1, len(base.names))
        steps = pace * rng.standard_normal((len(base), len(base.names)))
        return np.exp(rng.standard_normal(len(base.names)) + steps.cumsum(axis=0))

    weights = _layer_levels(base, rng) * factors()[:, :, None] * factors()[:, None, :]
    return _measured(base, weights, _sigmoid(base, rng), rng)


def drifting(rng: np.random.Generator, base: Film) -> Film:
    """Return a film that moves evenly from one random graph to another and learns evenly."""
    part = np.linspace(0, 1, len(base))
    first, last = _random_graph(base, rng), _random_graph(base, rng)
    weights = first * (last / first) ** part[:, None, None]
    return _measured(base, weights, part, rng)


def exponential(rng: np.random.Generator, base: Film) -> Film:
    """Return a film of one graph with exponential weights around the mean of each layer pair."""
    graph = _layer_levels(base, rng) * rng.exponential(size=base.weights.shape[1:])
    weights = np.repeat(graph[None], len(base), axis=0)
    return _measured(base, weights, np.ones(len(base)), rng)


def tailed(rng: np.random.Generator, base: Film, *, sigma: float = 1.5) -> Film:
    """Return a film of one graph with log-normal weights around the median of each layer pair."""
    graph = _layer_levels(base, rng) * rng.lognormal(0, sigma, base.weights.shape[1:])
    weights = np.repeat(graph[None], len(base), axis=0)
    return _measured(base, weights, np.ones(len(base)), rng)


def planted(
    rng: np.random.Generator,
    *,
    emergence: float | None = None,
    duration: float = 24.0,
    exploration: float = 0.3,
    base: Film,
    size: float = 1.0,
) -> Planted:
    """Return a film in which something is learnt at a known step.

    The weight of an edge is the product of its layer pair's level, its source's factor, its
    target's factor, the growth of all influence from 0.3 to 1, and a fluctuation that dies away;
    growth, gatherers and readouts follow one sigmoid of the step.

    Parameters
    ----------
    emergence
        Where the sigmoid is one half [step]; by default drawn from the middle half of the film.
    duration
        Steps in which the sigmoid's odds grow by a factor of e.
    exploration
        Standard deviation of the logarithm of each weight's fluctuation before the emergence,
        independent from one checkpoint to the next.
    size
        How much components differ, on a logarithmic scale; 0 is not at all.
    """
    steep, flat = _STEEP**size, _FLAT**size
    first, last = base.step[0], base.step[-1]
    if emergence is None:
        emergence = float(first + rng.uniform(0.25, 0.75) * (last - first))
    learnt = 0.5 * (1 + np.tanh((base.step - emergence) / duration / 2))
    place = _places(base, rng)
    spreaders = np.float64(steep) ** _places(base, rng)
    before = np.float64(flat) ** place
    after = np.float64(steep) ** (_largest(base, place) - place)
    gatherers = before ** (1 - learnt[:, None]) * after ** learnt[:, None]
    fluctuation = np.exp(
        exploration * (1 - learnt)[:, None, None] * rng.standard_normal(base.weights.shape)
    )
    weights = (
        _layer_levels(base, rng)
        * (0.3 + 0.7 * learnt)[:, None, None]
        * spreaders[:, None]
        * gatherers[:, None, :]
        * fluctuation
    )
    return Planted(_measured(base, weights, learnt, rng), emergence, spreaders, before, after)


def gated(
    rng: np.random.Generator, base: Film, *, turning: bool = False, size: float = 1.0
) -> Film:
    """Return a film with gatekeepers: components that the strongest paths pass through.

    In the middle layers, components differ in how much they send and receive alike, by ``size`` on
    a logarithmic scale; other edges are weak. With ``turning``, the order of each layer turns round
    where the model learns.
    """
    learnt = _sigmoid(base, rng)
    turned = learnt[:, None] * turning
    place = _places(base, rng)
    inner = (base.layer > base.layer.min()) & (base.layer < base.layer.max())
    order = place * (1 - turned) + (_largest(base, place) - place) * turned
    gate = np.where(inner, 2.5 ** (size * order), 0.5)
    scatter = rng.lognormal(0, 0.3, base.weights.shape[1:])
    fluctuation = np.exp(0.1 * rng.standard_normal(base.weights.shape))
    growth = 0.05 * (0.3 + 0.7 * learnt)[:, None, None]
    weights = growth * gate[:, :, None] * gate[:, None, :] * scatter * fluctuation
    return _measured(base, weights, learnt, rng)


def phased(rng: np.random.Generator, base: Film, *, width: float = 0.0, size: float = 1.0) -> Film:
    """Return a film of three phases: exploration, consolidation, refinement.

    From each to the next, fluctuations shrink and spreaders and gatherers stand out more, by a
    tenth to nine tenths in a share ``width`` of the film. The phases are each between a quarter and
    a half of the film. Their levels are ``size`` times as far apart.
    """
    lengths = rng.uniform(0.25, 0.4, 3)
    place = np.linspace(0, 1, len(base)) * lengths.sum()
    middles = lengths.cumsum()[:2]
    if width:
        slope = 2 * np.log(9) / width / lengths.sum()
        passed = 1 / (1 + np.exp(-slope * (place[:, None] - middles)))
    else:
        passed = (place[:, None] > middles).astype(float)
    return _in_levels(rng, base, 1 + size * (passed.sum(axis=1) - 1))


def ramp(rng: np.random.Generator, base: Film) -> Film:
    """Return a film that stands still, changes evenly in its middle third, and stands still."""
    return _in_levels(rng, base, np.clip(3 * np.linspace(0, 1, len(base)) - 1, 0, 1) * 2)


def _in_levels(rng: np.random.Generator, base: Film, level: Array) -> Film:
    """Return a film between exploration, at level 0, and refinement, at level 2."""
    steep = np.interp(level, [0, 1, 2], [0.3, 0.7, 1.0])[:, None, None]
    fluctuation = np.interp(level, [0, 1, 2], [0.5, 0.25, 0.1])[:, None, None]
    weights = _random_graph(base, rng) ** steep
    noise = rng.standard_normal(base.weights.shape)
    return _measured(base, weights * np.exp(fluctuation * noise), level / 2, rng)


def _sigmoid(base: Film, rng: np.random.Generator) -> Array:
    """Return learning progress from 0 to 1, most of it within a tenth of the film."""
    place = np.linspace(0, 1, len(base))
    return np.asarray(0.5 * (1 + np.tanh((place - rng.uniform(0.25, 0.75)) / 0.05)))


def _measured(base: Film, weights: Array, learnt: Array, rng: np.random.Generator) -> Film:
    """Return a measured film of weights and readouts; ``learnt`` rises from 0 (chance) to 1."""
    errors = NOISE * weights
    chance = np.array([_CHANCE[name] for name in STANDARD])[:, None]
    gain = np.array([_LEARNT[name] for name in STANDARD])[:, None] - chance
    readout_errors = np.broadcast_to(NOISE * abs(gain) / 4, base.readouts.shape)
    noise = readout_errors * rng.standard_normal(base.readouts.shape)
    return replace(
        base,
        weights=measured(np.where(base.feasible, weights, np.nan), errors, rng),
        errors=np.where(base.feasible, errors, np.nan),
        readouts=chance + gain * learnt + noise,
        readout_errors=readout_errors.copy(),
    )


def _random_graph(base: Film, rng: np.random.Generator) -> Array:
    """Return weights with a hierarchy of sources and of targets and a long tail."""
    shape = base.weights.shape[1:]
    outgoing, incoming = _STEEP ** _places(base, rng), _STEEP ** _places(base, rng)
    level = _layer_levels(base, rng)
    return np.asarray(level * outgoing[:, None] * incoming * rng.lognormal(0, 0.5, shape))


def _layer_levels(base: Film, rng: np.random.Generator) -> Array:
    """Return the level of influence between each two layers, dims ``source, target``."""
    count = int(base.layer.max()) + 1
    levels = 0.2 * rng.lognormal(0, 0.5, (count, count))
    return np.asarray(levels[base.layer[:, None], base.layer])


def _places(base: Film, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a random place in its layer's hierarchy for every component, from 0."""
    places = np.empty(len(base.layer), dtype=np.int64)
    for layer in np.unique(base.layer):
        members = np.flatnonzero(base.layer == layer)
        places[members] = rng.permutation(len(members))
    return places


def _largest(base: Film, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last place of every component's layer."""
    return np.array([places[base.layer == layer].max() for layer in base.layer])
