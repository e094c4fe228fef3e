"""All components of a circuit, wired and brought to scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cntbench.models.planted.blueprint import Blueprint
from cntbench.models.planted.dynamics import Moment
from cntbench.models.planted.functions import Place
from cntbench.models.planted.wiring import TOKENS, Array, Wiring, length
from cntbench.prompts import random_state

#: Random prompts, and their length, over which signals are brought to scale.
PROMPTS, LENGTH = 64, 32


@dataclass(frozen=True)
class Assembly:
    """A circuit's parts.

    Parameters
    ----------
    codes
        The token embedding, dims ``token, signal``, rows of length 1.
    wirings
        What each component computes, by name.
    lengths
        Root mean square length of each signal on random prompts, by name.
    """

    codes: Array
    wirings: dict[str, Wiring]
    lengths: dict[str, float]


def assemble(blueprint: Blueprint, seed: int, moment: Moment) -> Assembly:
    """Wire all components as they stand at a moment; the seed draws what the spec leaves open."""
    codes = _codes(blueprint, seed)
    rng = random_state(seed, "scale")
    size = (PROMPTS, min(LENGTH, blueprint.spec.context))
    signals: dict[str, Array] = {TOKENS: codes[rng.randint(0, len(codes), size)]}
    wirings: dict[str, Wiring] = {}
    for component in blueprint.members:
        name = component.name
        function = blueprint.function(name)
        parents = blueprint.parents(name)
        place = Place(
            name=name,
            index=blueprint.index[name],
            kind=component.kind,
            parents={parent: moment.gains.get((parent, name), 1.0) for parent in parents},
            widths=blueprint.widths,
            signals=signals,
            seed=seed,
            turn=moment.turn,
        )
        wiring = function.make(place)
        signal = wiring.signal(signals)
        if function.calibrated:
            factor = moment.growth / length(signal)
            wiring, signal = wiring.scaled(factor), factor * signal
        wirings[name], signals[name] = wiring, signal
    return Assembly(codes, wirings, {name: length(signal) for name, signal in signals.items()})


def _codes(blueprint: Blueprint, seed: int) -> Array:
    """Return columns of a Hadamard matrix: signs that are balanced over the vocabulary.

    With as many columns as there are, any two rows have the inner product −1 / (vocabulary − 1).
    """
    vocabulary, width = blueprint.spec.vocabulary, blueprint.spec.tokens
    token = np.arange(vocabulary)
    hadamard = 1.0 - 2.0 * (np.bitwise_count(token[:, None] & token) % 2)
    rng = random_state(seed, "codes")
    chosen = 1 + rng.permutation(vocabulary - 1)[:width]
    codes: Array = hadamard[rng.permutation(vocabulary)][:, chosen] / width**0.5
    return codes
