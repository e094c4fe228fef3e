"""What replacement rules are given, and what they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation, Donor
from cntbench.ablations.replacements._base import Corpus, Moments, States
from cntbench.prompts import PADDING, Prompts, Tokens, lengths, random_state


@dataclass(frozen=True)
class Statistics:
    """What replacement rules take from all prompts together.

    Parameters
    ----------
    spreads
        Statistics of every block's states over the corpora that rules ask for.
    constants
        Fitted constants of every block, dims ``component, width``, by the number of fitting steps.
    """

    spreads: Mapping[Corpus, Sequence[Moments]]
    constants: Mapping[int, Sequence[Tensor]]


@dataclass(frozen=True)
class Replacer:
    """Applies replacement rules to the components of a block.

    Parameters
    ----------
    prompts
        The clean prompts.
    beside
        Whose runs the states hold, in their order: the clean prompts, then donors.
    statistics
        What rules take from all prompts.
    seed
        Seed of random draws.
    """

    prompts: Prompts
    beside: Sequence[Donor]
    statistics: Statistics
    seed: int

    def changes(self, ablation: Ablation, states: Tensor, number: int) -> Tensor:
        """Return replaced minus clean states of a block.

        Dims ``prompt, position, component, width``.

        Parameters
        ----------
        ablation
            The method.
        states
            Dims ``run, prompt, position, component, width``, runs as in ``beside``.
        number
            The block's, counted over the model.
        """
        rule, donor = ablation.replacement, ablation.donor
        population = rule.population_corpus
        fitted = self.statistics.constants.get(rule.fitting_steps)
        given = States(
            clean=states[0],
            donor=None if donor is None else self._donated(states, donor),
            spread=None if population is None else self._spread(population, number, states),
            noise=partial(self._noise, ablation.name, number, states[0]),
            constant=None if fitted is None else fitted[number],
        )
        return rule.replace(given) - states[0]

    def _donated(self, states: Tensor, donor: Donor) -> Tensor:
        """Return the donors' states, at the positions of the prompts that receive them.

        Prompts of different lengths are aligned at their anchors. Where the donor has no position,
        the clean state stays.
        """
        given, prompts = states[self.beside.index(donor)], self.prompts
        if donor.corpus != "other" or prompts.anchors is None:
            return given
        later = prompts.anchors[:, 1 + donor.draw] - prompts.anchors[:, 0]
        position = np.arange(given.shape[1]) + later[:, None]
        length = lengths(corpus_tokens(prompts, *donor))
        there = (position >= 0) & (position < length[:, None])
        row = torch.arange(len(prompts), device=given.device)[:, None]
        index = torch.from_numpy(np.where(there, position, 0)).to(given.device)
        has = torch.from_numpy(there).to(given.device)[:, :, None, None]
        return given[row, index].where(has, states[0])

    def _spread(self, corpus: Corpus, number: int, states: Tensor) -> Moments:
        anchors, spread = self.prompts.anchors, self.statistics.spreads[corpus][number]
        return spread if anchors is None else spread.at(int(anchors[0, 0]), states.shape[2])

    def _noise(self, name: str, number: int, like: Tensor) -> Tensor:
        draws = [
            random_state(self.seed, name, number, int(i)).standard_normal(like.shape[1:])
            for i in self.prompts.index
        ]
        return torch.from_numpy(np.stack(draws)).to(like)


def corpus_tokens(prompts: Prompts, corpus: Corpus, draw: int = 0) -> Tokens:
    """Return the tokens of a corpus, dims ``prompt, position``, padded."""
    if corpus == "clean":
        return prompts.tokens
    if draw:
        assert prompts.further is not None
        return prompts.further[:, draw - 1]
    chosen = prompts.other if corpus == "other" else prompts.reference
    assert chosen is not None
    return chosen


def token_tensor(tokens: Tokens, device: torch.device) -> Tensor:
    """Return tokens on a device, with some token for padding: prompts are read from the left."""
    return torch.from_numpy(np.where(tokens == PADDING, 0, tokens)).to(device)
