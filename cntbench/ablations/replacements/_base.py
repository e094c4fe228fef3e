"""Replacement rules: their interface and their input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Corpus = Literal["clean", "reference", "other"]
"""The clean prompts, their corrupted twins, or another prompt for each prompt."""


@dataclass(frozen=True)
class Moments:
    """Statistics of the components' states over all prompts of a corpus.

    Parameters
    ----------
    mean, square
        Means of the states and of their squares, dims ``position, component, width``, float64.
    """

    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class States:
    """The input of a replacement rule for the components of one block.

    A component's *state* determines its output: for a head it is its slice of z, before W_O; for an
    MLP it is the output itself. Dims are ``prompt, position, component, width``.

    Parameters
    ----------
    clean
        States on the clean prompts.
    donor
        States on the rule's `Replacement.donor_corpus`, if it has one.
    spread
        Statistics over the rule's `Replacement.population_corpus`, if it has one.
    noise
        Draws standard normal numbers in the shape of ``clean``, the same ones for the same prompt
        and draw.
    constant
        The fitted constants, dims ``component, width``, if the rule has
        `Replacement.fitting_steps`.
    """

    clean: Tensor
    donor: Tensor | None
    spread: Moments | None
    noise: Callable[[], Tensor]
    constant: Tensor | None = None


class Replacement(ABC):
    """A rule that computes the states that replace the clean ones."""

    @property
    def random(self) -> bool:
        """Whether the replacement differs between draws."""
        return False

    @property
    def donor_corpus(self) -> Corpus | None:
        """Prompts whose states the rule uses, one for each clean prompt."""
        return None

    @property
    def population_corpus(self) -> Corpus | None:
        """Prompts over which the rule computes statistics."""
        return None

    @property
    def fitting_steps(self) -> int:
        """Steps of fitting the constants that increase the loss least; 0 for no fit."""
        return 0

    @abstractmethod
    def replace(self, states: States) -> Tensor:
        """Return the replaced states, broadcastable to ``states.clean``."""
