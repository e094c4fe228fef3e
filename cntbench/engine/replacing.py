"""The inputs of replacement rules, and the changes that the rules make."""

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
class CrossFitted:
    """Constants of two halves of the prompts, each fitted on the other half.

    Parameters
    ----------
    blocks
        For each block, in causal order, dims ``half, component, width``, float64; 0 for components
        that are not requested.
    index
        `Prompts.index` of all prompts, ascending: the even places are the first half.
    """

    blocks: Sequence[Tensor]
    index: Tokens

    def of(self, number: int, prompts: Prompts) -> Tensor:
        """Return a block's constants for some prompts, dims ``prompt, 1, component, width``."""
        half = np.searchsorted(self.index, prompts.index) % 2
        return self.blocks[number][torch.from_numpy(half).to(self.blocks[number].device), None]


@dataclass(frozen=True)
class Statistics:
    """Statistics over all prompts that replacement rules need.

    Parameters
    ----------
    spreads
        Moments of every block's states, by corpus. A corpus whose prompts all run beside the
        ablated ones is left out: their states give its moments.
    constants
        Fitted constants of every block, by the largest number of fitting steps.
    """

    spreads: Mapping[Corpus, Sequence[Moments]]
    constants: Mapping[int, CrossFitted]


@dataclass(frozen=True)
class Replacer:
    """Applies replacement rules to the components of a block.

    ``beside`` are the corpora whose runs the states hold, in order: the clean prompts, then donors.
    """

    prompts: Prompts
    beside: Sequence[Donor]
    statistics: Statistics
    seed: int

    def changes(self, ablation: Ablation, states: Tensor, number: int) -> Tensor:
        """Return the replaced states of a block minus the clean states.

        Dims ``prompt, position, component, width``; the states have ``run`` first, as in
        ``beside``. ``number`` is the block's index in the model.
        """
        rule, donor = ablation.replacement, ablation.donor
        population = rule.population_corpus
        fitted = self.statistics.constants.get(rule.fitting_steps)
        inputs = States(
            clean=states[0],
            donor=None if donor is None else self._donated(states, donor),
            spread=None if population is None else self._spread(population, number, states),
            noise=partial(self._noise, ablation.name, number, states[0]),
            length=self.prompts.length,
            constant=None if fitted is None else fitted.of(number, self.prompts),
        )
        return rule.replace(inputs) - states[0]

    def _donated(self, states: Tensor, donor: Donor) -> Tensor:
        """Return the donors' states, at the positions of the prompts that receive them.

        Prompts of different lengths are aligned at their anchors. The clean state stays where the
        donor has no position.
        """
        donated, prompts = states[self.beside.index(donor)], self.prompts
        if donor.corpus != "other" or prompts.anchors is None:
            return donated
        shift = prompts.anchors[:, 1 + donor.draw] - prompts.anchors[:, 0]
        position = np.arange(donated.shape[1]) + shift[:, None]
        length = lengths(corpus_tokens(prompts, *donor))
        valid = (position >= 0) & (position < length[:, None])
        row = torch.arange(len(prompts), device=donated.device)[:, None]
        index = torch.from_numpy(np.where(valid, position, 0)).to(donated.device)
        mask = torch.from_numpy(valid).to(donated.device)[:, :, None, None]
        return donated[row, index].where(mask, states[0])

    def _spread(self, corpus: Corpus, number: int, states: Tensor) -> Moments:
        if corpus not in self.statistics.spreads:  # the states are those of all its prompts
            exact = states[self.beside.index(Donor(corpus))].double()
            return Moments(exact.mean(dim=0), exact.square().mean(dim=0), len(exact))
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
    tokens = prompts.other if corpus == "other" else prompts.reference
    assert tokens is not None
    return tokens


def token_tensor(tokens: Tokens, device: torch.device) -> Tensor:
    """Return tokens on a device, with token 0 as padding: nothing reads what follows a prompt."""
    return torch.from_numpy(np.where(tokens == PADDING, 0, tokens)).to(device)
