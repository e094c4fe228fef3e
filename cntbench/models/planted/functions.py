"""What components of a circuit can compute; a circuit's file names one of these for a component.

Gates pass a *message*, the signs of the first token coordinates, depending on the *level* that
their parents write in their first coordinate: 0 is off, 1 and more is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cntbench.components import Kind
from cntbench.models.planted.wiring import (
    TOKENS,
    Array,
    HeadWiring,
    Match,
    MLPWiring,
    Reading,
    Wiring,
    affine,
    linear_mlp,
)
from cntbench.prompts import random_state

#: Slope of a gate: its two ends are exact where the level is half a unit from the threshold.
STEEPNESS = 2.5
#: Scores of a head that looks back by one: the next best key is e^15 times weaker.
LOOKING_BACK = 30.0
#: Score of a key whose content is what the query looks for.
MATCHING = 10.0


@dataclass(frozen=True)
class Place:
    """Where a component stands in its circuit.

    Parameters
    ----------
    name, index, kind
        Of the component, and its place in the causal order.
    parents
        Gain of the edge from each parent, in the order of the spec's edges.
    widths
        Length of each signal, `TOKENS` included.
    seed
        Of the weights.
    turn
        Angle by which readings are turned [radian].
    """

    name: str
    index: int
    kind: Kind
    parents: Mapping[str, float]
    widths: Mapping[str, int]
    seed: int
    turn: float

    @property
    def width(self) -> int:
        """Length of the component's own signal."""
        return self.widths[self.name]

    def reading(self, parent: str, *, of: str | None = None) -> Array:
        """Draw a matrix that keeps the length of signals as far as it can, dims ``own, signal``.

        It belongs to the name of the parent, or to that of another one given as ``of``.
        """
        rng = random_state(self.seed, "reading", self.name, of or parent)
        own, read = self.width, self.widths[parent]
        square = np.linalg.qr(rng.standard_normal((max(own, read),) * 2))[0]
        return self._turned(rng) @ square[:own, :read] * max(1.0, read / own) ** 0.5

    def _turned(self, rng: np.random.RandomState) -> Array:
        """Return a rotation in random planes."""
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
        """The map from the token embedding to the message, dims ``signal - 1, token coordinate``."""
        return self.signs(*range(self.width - 1))


@dataclass(frozen=True)
class Function:
    """A way of computing a signal.

    Parameters
    ----------
    make
        Wires a component.
    kinds
        Components that can compute it.
    parents
        Fewest and most parents.
    of
        Functions that the parents have to have; any if empty.
    calibrated
        Whether the signal is scaled to length 1, root mean square over random prompts.
    speaks
        Whether what is written tells anything about the prompt: edges from a component that does
        not speak are in no truth.
    whole
        Whether the signal is as long as the token embedding.
    """

    make: Callable[[Place], Wiring]
    kinds: tuple[Kind, ...] = ("head", "MLP")
    parents: tuple[int, float] = (0, float("inf"))
    of: tuple[str, ...] = ()
    calibrated: bool = False
    speaks: bool = True
    whole: bool = False


def _linear(place: Place) -> Wiring:
    """Write the sum of the parents' signals, each turned at random; and of tokens, what remains."""
    each = len(place.parents) ** -0.5 if place.parents else 0.0
    weights = {name: gain * each * place.reading(name) for name, gain in place.parents.items()}
    remainder = 1.0 - sum((gain * each) ** 2 for gain in place.parents.values())
    if remainder > 1e-12:
        weights[TOKENS] = remainder**0.5 * place.reading(TOKENS)
    return affine(place.kind, Reading(weights, np.zeros(place.width)))


def _constant(place: Place) -> Wiring:
    """Write the same vector of length 1 everywhere."""
    vector = random_state(place.seed, "constant", place.name).standard_normal(place.width)
    vector /= np.linalg.norm(vector)
    if place.kind == "head":
        return HeadWiring(Reading({}, vector))
    return MLPWiring(Reading({}, np.zeros(1)), np.zeros((place.width, 1)), vector)


def _silent(place: Place) -> Wiring:
    """Write nothing."""
    return affine(place.kind, Reading({}, np.zeros(place.width)))


def _level(place: Place) -> Wiring:
    """Write a level that varies between 1 and 1.25, and the message."""
    tokens = np.concatenate([0.125 * place.signs(place.width), place.message])
    return affine(place.kind, Reading({TOKENS: tokens}, 1.125 * np.eye(place.width)[0]))


def _bit(place: Place) -> Wiring:
    """Write a level of 0 or 1, as the present token has it."""
    spare = place.widths[TOKENS] - place.width
    sign = place.signs(place.width + place.index % spare)
    # relu(2x − 1) is exactly 0 for a sign of −1, whatever the rounding.
    return MLPWiring(
        Reading({TOKENS: 2 * sign}, np.full(1, -1.0)), np.eye(place.width, 1), np.zeros(place.width)
    )


def _gate(place: Place, slope: float, threshold: float) -> MLPWiring:
    """Write the message where ``slope · (level − threshold)`` is large, nothing where it is small.

    For a message u and s = slope · (level − threshold), relu(u + s) − relu(s) is u if s ≥ 1 and
    0 if s ≤ −1.
    """
    units = place.width
    tokens = np.concatenate([place.message, np.zeros((1, place.widths[TOKENS]))])
    weights = {
        name: slope * np.eye(1, place.widths[name]).repeat(units, axis=0) for name in place.parents
    }
    inner = Reading({TOKENS: tokens, **weights}, np.full(units, -slope * threshold))
    outer = np.zeros((place.width, units))
    outer[1:, :-1] = np.eye(units - 1)
    outer[1:, -1] = -1.0
    return MLPWiring(inner, outer, np.zeros(place.width))


def _and(place: Place) -> Wiring:
    """Pass the message if all parents are on."""
    return _gate(place, STEEPNESS, len(place.parents) - 0.5)


def _guard(place: Place) -> Wiring:
    """Pass the message only if no parent is on."""
    return _gate(place, -STEEPNESS, 0.5)


def _or(place: Place) -> Wiring:
    """Pass the message if any parent is on: the message less what a guard passes."""
    message = np.concatenate([np.zeros((1, place.widths[TOKENS])), place.message])
    whole = linear_mlp(Reading({TOKENS: message}, np.zeros(place.width)))
    return whole.plus(_gate(place, -STEEPNESS, 0.5), -1.0)


def _copy(place: Place) -> Wiring:
    """Write the sum of the parents' messages, and in the place of their level a sign of the token.

    So it is never quite silent: of a change of nothing, single precision knows the rounding only.
    """
    message = np.eye(place.width)
    message[0, 0] = 0.0
    weights = dict.fromkeys(place.parents, message)
    weights[TOKENS] = np.eye(place.width, 1) @ place.signs(place.width)
    return affine(place.kind, Reading(weights, np.zeros(place.width)))


def _difference(place: Place) -> Wiring:
    """Write the first parent's signal less the second's, both turned alike; and of tokens, too."""
    first, second = place.parents
    turned = place.reading(first)
    weights = {first: turned, second: -turned, TOKENS: place.reading(TOKENS)}
    return affine(place.kind, Reading(weights, np.zeros(place.width)))


def _previous_token(place: Place) -> Wiring:
    """Copy the embedding of the previous token."""
    whole = np.eye(place.width)
    return HeadWiring(
        Reading({TOKENS: whole}, np.zeros(place.width)), Match(offset=1, sharpness=LOOKING_BACK)
    )


def _induction(place: Place) -> Wiring:
    """Copy the embedding of what followed the present token before.

    A key is the embedding of the previous token, which the parent has written, less that of the
    present one: at the first position, the parent can only look at the token itself.
    """
    whole, none = np.eye(place.width), np.zeros(place.width)
    (parent,) = place.parents
    match = Match(
        query=Reading({TOKENS: MATCHING * whole}, none),
        key=Reading({parent: whole, TOKENS: -whole}, none),
    )
    return HeadWiring(Reading({TOKENS: whole}, none), match)


#: By the name that a circuit's file uses.
FUNCTIONS: dict[str, Function] = {
    "linear": Function(_linear, calibrated=True),
    "constant": Function(_constant, parents=(0, 0), speaks=False),
    "silent": Function(_silent, speaks=False),
    "level": Function(_level, parents=(0, 0)),
    "bit": Function(_bit, kinds=("MLP",), parents=(0, 0)),
    "or": Function(_or, kinds=("MLP",), parents=(1, float("inf")), of=("level", "bit")),
    "and": Function(_and, kinds=("MLP",), parents=(1, float("inf")), of=("level", "bit")),
    "guard": Function(_guard, kinds=("MLP",), parents=(1, 1), of=("level", "bit")),
    "copy": Function(_copy, parents=(1, float("inf"))),
    "difference": Function(_difference, parents=(2, 2), calibrated=True),
    "previous_token": Function(_previous_token, kinds=("head",), parents=(0, 0), whole=True),
    "induction": Function(
        _induction, kinds=("head",), parents=(1, 1), of=("previous_token",), whole=True
    ),
}
