"""What a component computes from its parents' signals, independent of the residual stream.

A *signal* is the output of a component in coordinates of its own subspace; the token embedding is
the signal `TOKENS`. Arrays of signals have dims ``prompt, position, signal``, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cntbench.components import Kind

Array = NDArray[np.float64]
Signals = Mapping[str, Array]

#: Name of the token embedding among the signals.
TOKENS = "tokens"

#: Base of the rotary embedding, and its frequencies [radian per token].
ROTARY_BASE = 100.0
FREQUENCIES: Array = ROTARY_BASE ** (-np.arange(4) / 4)


@dataclass(frozen=True)
class Reading:
    """An affine map from parents' signals.

    Weights have dims ``output, signal``, by the name of the parent.
    """

    weights: Mapping[str, Array]
    bias: Array

    def __call__(self, signals: Signals) -> Array:
        """Apply the map, dims ``prompt, position, output``."""
        total = np.asarray(self.bias)
        for name, weight in self.weights.items():
            total = total + signals[name] @ weight.T
        return total

    def beside(self, other: Reading) -> Reading:
        """Return the map to the outputs of both maps."""
        parts = (self, other)
        widths = {name: w.shape[1] for part in parts for name, w in part.weights.items()}
        weights = {
            name: np.concatenate(
                [part.weights.get(name, np.zeros((len(part.bias), width))) for part in parts]
            )
            for name, width in widths.items()
        }
        return Reading(weights, np.concatenate([self.bias, other.bias]))

    def scaled(self, factor: float) -> Reading:
        """Return the map with its outputs multiplied by a factor."""
        weights = {name: factor * weight for name, weight in self.weights.items()}
        return Reading(weights, factor * self.bias)


@dataclass(frozen=True)
class Match:
    """What a head attends to: positions at an offset, or with some content.

    The score of a key at distance δ is ``query · key + sharpness · Σ_f cos(f (δ − offset))`` over
    the frequencies f of the rotary embedding.
    """

    query: Reading | None = None
    key: Reading | None = None
    offset: int = 0
    sharpness: float = 0.0

    def scores(self, signals: Signals) -> Array:
        """Return attention scores, dims ``prompt, query position, key position``."""
        length = signals[TOKENS].shape[1]
        distance = np.subtract.outer(np.arange(length), np.arange(length))
        turned = np.cos((distance - self.offset)[..., None] * FREQUENCIES)
        scores: Array = self.sharpness * turned.sum(axis=-1)[None]
        if self.query is not None and self.key is not None:
            query, key = (np.atleast_2d(part(signals)) for part in (self.query, self.key))
            scores = scores + query @ key.swapaxes(-1, -2)
        return scores


@dataclass(frozen=True)
class HeadWiring:
    """A head, whose signal is the mean of a reading over the positions that it attends to.

    Without a match, it attends to all earlier positions equally.
    """

    value: Reading
    match: Match | None = None

    def signal(self, signals: Signals) -> Array:
        """Return the head's signal."""
        value = self.value(signals)
        value = np.broadcast_to(value, (*signals[TOKENS].shape[:2], value.shape[-1]))
        length = value.shape[1]
        scores = np.zeros((1, length, length)) if self.match is None else self.match.scores(signals)
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        averaged: Array = weights / weights.sum(axis=-1, keepdims=True) @ value
        return averaged

    def scaled(self, factor: float) -> HeadWiring:
        """Return the head with its signal multiplied by a factor."""
        return replace(self, value=self.value.scaled(factor))


@dataclass(frozen=True)
class MLPWiring:
    """An MLP: ``outer @ relu(inner) + bias``, or ``outer @ (relu(inner) * up) + bias`` if gated.

    ``outer`` has dims ``signal, unit``.
    """

    inner: Reading
    outer: Array
    bias: Array
    up: Reading | None = None

    def signal(self, signals: Signals) -> Array:
        """Return the MLP's signal."""
        units = np.maximum(self.inner(signals), 0.0)
        if self.up is not None:
            units = units * self.up(signals)
        signal: Array = units @ self.outer.T + self.bias
        return np.broadcast_to(signal, (*signals[TOKENS].shape[:2], len(self.outer)))

    def minus(self, other: MLPWiring) -> MLPWiring:
        """Return the MLP with another MLP's signal subtracted."""
        outer = np.concatenate([self.outer, -other.outer], axis=1)
        return MLPWiring(self.inner.beside(other.inner), outer, self.bias - other.bias)

    def scaled(self, factor: float) -> MLPWiring:
        """Return the MLP with its signal multiplied by a factor."""
        return replace(self, outer=factor * self.outer, bias=factor * self.bias)


Wiring = HeadWiring | MLPWiring


def affine(kind: Kind, reading: Reading) -> Wiring:
    """Return a component whose output equals a reading, for a head its mean over positions."""
    return HeadWiring(reading) if kind == "head" else linear_mlp(reading)


def linear_mlp(reading: Reading) -> MLPWiring:
    """Return an MLP whose output equals a reading: relu(x) − relu(−x) = x."""
    n = len(reading.bias)
    outer = np.concatenate([np.eye(n), -np.eye(n)], axis=1)
    return MLPWiring(reading.beside(reading.scaled(-1.0)), outer, np.zeros(n))


def length(signal: Array) -> float:
    """Return the root mean square of a signal's length over prompts and positions."""
    return float(np.sqrt(np.square(signal).sum(axis=-1).mean()))
