"""What every adapter knows of a model before its weights are read."""

from __future__ import annotations

from dataclasses import dataclass

from cntbench.components import Component


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Parameters
    ----------
    components
        In causal order.
    vocabulary
        Number of token ids.
    context
        Longest sequence [tokens].
    beginning
        The token that stands before every text in training, if the config names one.
    """

    components: tuple[Component, ...]
    vocabulary: int
    context: int
    beginning: int | None = None
