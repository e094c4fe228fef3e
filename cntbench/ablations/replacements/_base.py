"""What a replacement rule is given, and what it has to say about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Corpus = Literal["clean", "reference", "other"]
"""Which prompts: the clean ones, their corrupted twins, or for each prompt another one."""


@dataclass(frozen=True)
class Moments:
    """Statistics of the components' states over all prompts of a corpus.

    Parameters
    ----------
    mean, square
        Mean of the states and of their squares, dims ``position, component, width``, float64.
    """

    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class States:
    """What is known of the components of one block when they are replaced.

    A component's *state* fixes its output: for a head it is its slice of z, before W_O; for an MLP
    the output itself. Dims are ``prompt, position, component, width``.

    Parameters
    ----------
    clean
        States on the clean prompts.
    donor
        States on the prompts of the rule's `Replacement.donor`, if it names any.
    spread
        Statistics over the prompts of the rule's `Replacement.population`, if it names any.
    noise
        Draws standard normal numbers in the shape of ``clean``; always the same ones for a prompt
        and a draw.
    constant
        The fitted constants, dims ``component, width``, if the rule's `Replacement.fitting_steps`
        ask for them.
    """

    clean: Tensor
    donor: Tensor | None
    spread: Moments | None
    noise: Callable[[], Tensor]
    constant: Tensor | None = None


class Replacement(ABC):
    """A rule that makes the states that stand in for the clean ones."""

    @property
    def random(self) -> bool:
        """Whether there are several independent replacements to draw from."""
        return False

    @property
    def donor_corpus(self) -> Corpus | None:
        """Prompts whose own states the rule draws on, one for each clean prompt."""
        return None

    @property
    def population_corpus(self) -> Corpus | None:
        """Prompts over which the rule takes statistics."""
        return None

    @property
    def fitting_steps(self) -> int:
        """Steps of fitting the constants that hurt the readout least; 0 if the rule has no use."""
        return 0

    @abstractmethod
    def replace(self, states: States) -> Tensor:
        """Return the replaced states, in a shape that broadcasts to that of ``states.clean``."""
