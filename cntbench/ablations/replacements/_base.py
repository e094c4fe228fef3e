"""Replacement rules: their interface and their input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Corpus = Literal["clean", "reference", "other"]
"""The clean prompts, their corrupted twins, or another prompt for each prompt."""


@dataclass(frozen=True)
class Moments:
    """Statistics of the components' states over all prompts of a corpus.

    A prompt that a batch repeats counts once.

    Parameters
    ----------
    mean, square
        Means of the states and of their squares, dims ``position, component, width``, float64.
        Prompts of different lengths are aligned at their anchors.
    prompts
        Number of prompts.
    count
        Number of prompts that have each position, dims ``position``; None if all prompts have all.
    anchor
        The position of the anchors.
    whole
        Statistics of all positions, if these cover only some.
    """

    mean: Tensor
    square: Tensor
    prompts: int
    count: Tensor | None = None
    anchor: int = 0
    whole: Moments | None = None

    @property
    def pooled(self) -> Moments:
        """The statistics over all positions of all prompts, dims ``component, width``."""
        if self.whole is not None:
            return self.whole.pooled
        if self.count is None:
            return Moments(self.mean.mean(dim=0), self.square.mean(dim=0), self.prompts)
        share = (self.count / self.count.sum())[:, None, None]
        mean, square = ((moment * share).sum(dim=0) for moment in (self.mean, self.square))
        return Moments(mean, square, self.prompts)

    @property
    def share(self) -> Tensor:
        """The share of one prompt in the mean at each position, dims ``position, 1, 1``."""
        if self.count is None:
            return self.mean.new_full((1, 1, 1), 1 / self.prompts)
        return 1 / self.count.clamp(min=1)[:, None, None]

    def pooled_share(self, length: int) -> Tensor:
        """Return the share of one prompt of a length [tokens] in the pooled mean, no dims."""
        if self.whole is not None:
            return self.whole.pooled_share(length)
        if self.count is None:
            return self.mean.new_tensor(1 / self.prompts)
        return length / self.count.sum()

    def at(self, anchor: int, length: int) -> Moments:
        """Return the statistics for the positions of prompts of one length and anchor."""
        if self.count is None:
            return self
        positions = np.arange(length) + self.anchor - anchor
        positions = positions.clip(0, len(self.count) - 1)  # padding follows the prompts
        return Moments(
            self.mean[positions],
            self.square[positions],
            self.prompts,
            self.count[positions],
            whole=self,
        )


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
        Statistics over the rule's `Replacement.population_corpus`, if it has one, for the positions
        of ``clean``; `Moments.pooled` is over all positions.
    noise
        Draws standard normal numbers in the shape of ``clean``, the same ones for the same prompt
        and draw.
    length
        Length of each prompt [tokens]; padding follows it.
    constant
        The fitted constants, dims ``prompt, 1, component, width``, if the rule has
        `Replacement.fitting_steps`.
    """

    clean: Tensor
    donor: Tensor | None
    spread: Moments | None
    noise: Callable[[], Tensor]
    length: int
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
    def fewest_prompts(self) -> int:
        """Number of prompts that the rule needs."""
        return 1

    @property
    def aligned(self) -> bool:
        """Whether a position of the rule's corpora has to correspond to one of the prompt."""
        return self.donor_corpus is not None or self.population_corpus is not None

    @property
    def fitting_steps(self) -> int:
        """Most steps to fit the constants that increase the loss least; 0 for no fit."""
        return 0

    @abstractmethod
    def replace(self, states: States) -> Tensor:
        """Return the replaced states, broadcastable to ``states.clean``."""
