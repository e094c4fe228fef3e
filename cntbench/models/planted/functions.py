"""The functions that a circuit's components can compute, by the names used in its file.

A gate passes on a *message*, the signs of the first token coordinates, depending on the *level* in
the first coordinate of its parents: 0 is off, 1 or more is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from cntbench.components import Kind
from cntbench.models.planted.wiring import (
    TOKENS,
    Array,
    HeadWiring,
    Match,
    MLPWiring,
    Reading,
    Signals,
    Wiring,
    affine,
    length,
    linear_mlp,
)
from cntbench.prompts import random_state

#: Slope of a gate: it is exact where the level is at least half a unit from the threshold.
STEEPNESS = 2.5
#: Sharpness of a previous-token head: the next best key is e^15 times weaker.
LOOKING_BACK = 30.0
#: Score of a key that matches the query.
MATCHING = 8.0


@dataclass(frozen=True)
class Node:
    """A component of a circuit, with what its function may read.

    Parameters
    ----------
    name, index, kind
        Name, index in causal order, and kind of the component.
    parents
        Gain of the edge from each parent, in the order of the spec's edges.
    widths
        Number of coordinates of each signal, including `TOKENS`.
    signals
        Signals of earlier components on random prompts.
    seed
        Seed of the weights.
    turn
        Angle by which readings are rotated [radian].
    """

    name: str
    index: int
    kind: Kind
    parents: Mapping[str, float]
    widths: Mapping[str, int]
    signals: Signals
    seed: int
    turn: float

    @property
    def width(self) -> int:
        """Number of coordinates of the component's signal."""
        return self.widths[self.name]

    def reading(self, parent: str, use: str | None = None) -> Array:
        """Draw a map from a parent's signal to a signal of length 1, dims ``output, signal``.

        The length is the root mean square over random prompts of the component's output or, with
        ``use``, of the ``"query"``, ``"key"`` or ``"gate"``.
        """
        rng = random_state(self.seed, "reading", self.name, parent, *([use] if use else []))
        rows, columns = self.width, self.widths[parent]
        square = np.linalg.qr(rng.standard_normal((max(rows, columns),) * 2))[0]
        weight = self._rotation(rng) @ square[:rows, :columns]
        kind: Kind = "MLP" if use else self.kind  # a head's output is a mean over positions
        wiring = affine(kind, Reading({parent: weight}, np.zeros(rows)))
        norm = length(wiring.signal(self.signals))
        return weight / norm if norm else weight

    def _rotation(self, rng: np.random.RandomState) -> Array:
        """Draw planes and return the rotation by ``turn`` in each of them."""
        basis = np.linalg.qr(rng.standard_normal((self.width, self.width)))[0]
        planes = np.eye(self.width)
        for first in range(0, self.width - 1, 2):
            sine, cosine = np.sin(self.turn), np.cos(self.turn)
            planes[first : first + 2, first : first + 2] = [[cosine, -sine], [sine, cosine]]
        return basis @ planes @ basis.T

    def signs(self, *coordinates: int) -> Array:
        """Return the map from the token embedding to the signs of some of its coordinates."""
        n = self.widths[TOKENS]
        return np.eye(n)[list(coordinates)] * n**0.5

    @property
    def message(self) -> Array:
        """The map from tokens to the message, after a row for the level, dims ``signal, token``."""
        return np.concatenate([0 * self.signs(0), self.signs(*range(self.width - 1))])


@dataclass(frozen=True)
class Function:
    """A function that a component can compute.

    Parameters
    ----------
    make
        Wires a component.
    kinds
        Kinds of components that can compute it.
    parents
        Smallest and largest number of parents.
    of
        Functions that its parents may have; any if empty.
    calibrated
        Whether the signal is scaled to a root mean square length of 1 over random prompts.
    speaks
        Whether the output depends on the prompt. If not, edges from the component are not true.
    whole
        Whether the signal is as wide as the token embedding.
    adds
        Whether the output is a sum with one term for each parent.
    architectures
        Architectures that can compute it; all if empty.
    """

    make: Callable[[Node], Wiring]
    kinds: tuple[Kind, ...] = ("head", "MLP")
    parents: tuple[int, float] = (0, float("inf"))
    of: tuple[str, ...] = ()
    calibrated: bool = False
    speaks: bool = True
    whole: bool = False
    adds: bool = False
    architectures: tuple[str, ...] = ()


def _linear(node: Node) -> Wiring:
    """Write the sum of the parents' signals, each rotated at random and equally weighted.

    The token embedding replaces what a gain below 1 takes away, so the output keeps its length.
    """
    share = len(node.parents) ** -0.5 if node.parents else 0.0
    weights = {name: gain * share * node.reading(name) for name, gain in node.parents.items()}
    remainder = 1.0 - sum((gain * share) ** 2 for gain in node.parents.values())
    if remainder > 1e-12:
        weights[TOKENS] = remainder**0.5 * node.reading(TOKENS)
    return affine(node.kind, Reading(weights, np.zeros(node.width)))


def _constant(node: Node) -> Wiring:
    """Write the same vector of length 1 at every position."""
    vector = random_state(node.seed, "constant", node.name).standard_normal(node.width)
    vector /= np.linalg.norm(vector)
    if node.kind == "head":
        return HeadWiring(Reading({}, vector))
    return MLPWiring(Reading({}, np.zeros(1)), np.zeros((node.width, 1)), vector)


def _silent(node: Node) -> Wiring:
    """Write nothing."""
    return affine(node.kind, Reading({}, np.zeros(node.width)))


def _level(node: Node) -> Wiring:
    """Write a level between 1 and 1.25, and the message."""
    return affine(node.kind, _at_level(node, {TOKENS: node.message}))


def _at_level(node: Node, weights: Mapping[str, Array]) -> Reading:
    """Add a level between 1 and 1.25, which depends on the token, to a reading."""
    first = np.eye(node.width, 1)
    level = 0.125 * first @ node.signs(node.width)
    tokens = level + weights.get(TOKENS, np.zeros(level.shape))
    return Reading({**weights, TOKENS: tokens}, 1.125 * first[:, 0])


def _bit(node: Node) -> Wiring:
    """Write a level of 0 or 1, which depends on the current token."""
    spare = node.widths[TOKENS] - node.width
    sign = node.signs(node.width + node.index % spare)
    # relu(2x − 1) is exactly 0 for a sign of −1, even with rounding.
    return MLPWiring(
        Reading({TOKENS: 2 * sign}, np.full(1, -1.0)), np.eye(node.width, 1), np.zeros(node.width)
    )


def _gate(node: Node, slope: float, threshold: float) -> MLPWiring:
    """Write the message where ``slope · (level − threshold)`` is at least 1, nothing below −1.

    For a message u and s = slope · (level − threshold), relu(u + s) − relu(s) is u if s ≥ 1 and
    0 if s ≤ −1.
    """
    units = node.width
    weights = {
        name: slope * np.eye(1, node.widths[name]).repeat(units, axis=0) for name in node.parents
    }
    inner = Reading({TOKENS: node.message, **weights}, np.full(units, -slope * threshold))
    outer = np.eye(units)
    outer[:, 0] = -1.0
    outer[0, 0] = 0.0
    return MLPWiring(inner, outer, np.zeros(node.width))


def _and(node: Node) -> Wiring:
    """Pass on the message if all parents are on."""
    return _gate(node, STEEPNESS, len(node.parents) - 0.5)


def _guard(node: Node) -> Wiring:
    """Pass on the message if no parent is on."""
    return _gate(node, -STEEPNESS, 0.5)


def _or(node: Node) -> Wiring:
    """Pass on the message if any parent is on: the message minus that of a guard."""
    message = linear_mlp(Reading({TOKENS: node.message}, np.zeros(node.width)))
    return message.minus(_gate(node, -STEEPNESS, 0.5))


def _copy(node: Node) -> Wiring:
    """Write the sum of the parents' messages, and a level as `_level` does.

    The level keeps the output from being zero, where a relative change would be rounding only.
    """
    message = np.eye(node.width)
    message[0, 0] = 0.0
    return affine(node.kind, _at_level(node, dict.fromkeys(node.parents, message)))


def _difference(node: Node) -> Wiring:
    """Write the difference of the parents' equally rotated signals, plus a signal of the tokens."""
    first, second = node.parents
    rotated = node.reading(first)
    weights = {first: rotated, second: -rotated, TOKENS: node.reading(TOKENS)}
    return affine(node.kind, Reading(weights, np.zeros(node.width)))


def _previous_token(node: Node) -> Wiring:
    """Copy the embedding of the previous token."""
    embedding = Reading({TOKENS: np.eye(node.width)}, np.zeros(node.width))
    return HeadWiring(embedding, Match(offset=1, sharpness=LOOKING_BACK))


def _induction(node: Node) -> Wiring:
    """Copy the embedding of the token that followed the current token earlier.

    A key is the embedding of the previous token, written by the parent, minus that of the current
    one, because at the first position the parent can only attend to the token itself.
    """
    identity, none = np.eye(node.width), np.zeros(node.width)
    (parent,) = node.parents
    match = Match(
        query=Reading({TOKENS: MATCHING * identity}, none),
        key=Reading({parent: identity, TOKENS: -identity}, none),
    )
    return HeadWiring(Reading({TOKENS: identity}, none), match)


def _key_pattern(node: Node) -> Wiring:
    """Attend to positions where the parent wrote a direction, and copy the tokens there.

    The parent changes only the keys: where the head attends, not what it copies.
    """
    (parent,) = node.parents
    direction = np.full(node.width, MATCHING * node.width**-0.5)
    key = Reading({parent: node.reading(parent, "key")}, np.zeros(node.width))
    return _looking_at_tokens(node, Match(query=Reading({}, direction), key=key))


def _query_pattern(node: Node) -> Wiring:
    """Attend to tokens that resemble the parent's output at this position, and copy them.

    The parent changes only the queries.
    """
    (parent,) = node.parents
    none = np.zeros(node.width)
    query = Reading({parent: MATCHING * node.reading(parent, "query")}, none)
    key = Reading({TOKENS: node.reading(TOKENS, "key")}, none)
    return _looking_at_tokens(node, Match(query=query, key=key))


def _looking_at_tokens(node: Node, match: Match) -> HeadWiring:
    return HeadWiring(Reading({TOKENS: node.reading(TOKENS)}, np.zeros(node.width)), match)


def _saturated(node: Node) -> Wiring:
    """Write the parent's message, amplified and clipped to ±1: relu(3 m + 1) − relu(3 m − 1) − 1.

    Messages are signs, so the units are saturated and no gradient passes.
    """
    (parent,) = node.parents
    message = STEEPNESS * np.eye(node.width)[1:]
    ones = np.ones(len(message))
    inner = Reading({parent: message}, ones).beside(Reading({parent: message}, -ones))
    outer = np.zeros((node.width, 2 * len(message)))
    outer[1:] = np.concatenate([np.eye(len(message)), -np.eye(len(message))], axis=1)
    bias = np.concatenate([[0.0], -ones])
    return MLPWiring(inner, outer, bias)


def _gated(node: Node) -> Wiring:
    """Write the second parent's signal, each coordinate times a gate that reads the first one's.

    The gate is relu(1 + g), with g of standard deviation 1 in each coordinate.
    """
    first, second = node.parents
    gate = node.width**0.5 * node.reading(first, "gate")
    none = np.zeros(node.width)
    return MLPWiring(
        Reading({first: gate}, none + 1.0),
        np.eye(node.width),
        none,
        up=Reading({second: node.reading(second)}, none),
    )


#: Where heads can attend by content: Llama rotates all coordinates of queries and keys.
_BY_CONTENT = ("gpt_neox", "gpt2")

_attention_pattern = partial(
    Function, kinds=("head",), parents=(1, 1), calibrated=True, architectures=_BY_CONTENT
)

#: Functions by their names in a circuit's file.
FUNCTIONS: dict[str, Function] = {
    "linear": Function(_linear, calibrated=True, adds=True),
    "constant": Function(_constant, parents=(0, 0), speaks=False),
    "silent": Function(_silent, speaks=False),
    "level": Function(_level, parents=(0, 0)),
    "bit": Function(_bit, kinds=("MLP",), parents=(0, 0)),
    "or": Function(_or, kinds=("MLP",), parents=(1, float("inf")), of=("level", "bit")),
    "and": Function(_and, kinds=("MLP",), parents=(1, float("inf")), of=("level", "bit")),
    "guard": Function(_guard, kinds=("MLP",), parents=(1, 1), of=("level", "bit")),
    "copy": Function(_copy, parents=(1, float("inf")), adds=True),
    "difference": Function(_difference, parents=(2, 2), calibrated=True, adds=True),
    "saturated": Function(_saturated, kinds=("MLP",), parents=(1, 1), of=("level",)),
    "gated": Function(
        _gated, kinds=("MLP",), parents=(2, 2), calibrated=True, architectures=("llama",)
    ),
    "key_pattern": _attention_pattern(_key_pattern),
    "query_pattern": _attention_pattern(_query_pattern),
    "previous_token": Function(
        _previous_token, kinds=("head",), parents=(0, 0), whole=True, architectures=("gpt_neox",)
    ),
    "induction": Function(
        _induction,
        kinds=("head",),
        parents=(1, 1),
        of=("previous_token",),
        whole=True,
        architectures=_BY_CONTENT,
    ),
}
