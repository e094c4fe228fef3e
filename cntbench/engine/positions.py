"""Blocks and runs computed only at the positions that are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cntbench.models.blocks import Attention, Block
from cntbench.models.decoder import Decoder
from cntbench.models.heads import Queries
from cntbench.prompts import Prompts
from cntbench.specs import HEAD_INPUTS, HeadInput


@dataclass(frozen=True)
class Positions:
    """A choice of positions of each prompt.

    Parameters
    ----------
    rows
        Dims ``prompt, chosen``; one row if all prompts have the same positions.
    first
        The first position, if all prompts have the same ones and these lie side by side.
    """

    rows: Tensor
    first: int | None = None

    @classmethod
    def scored(cls, prompts: Prompts, device: torch.device) -> Positions:
        """Return the scored positions."""
        scored = prompts.scored
        rows, first = torch.from_numpy(scored).to(device), int(scored[0, 0])
        if (scored != scored[0]).any():
            return cls(rows)
        adjacent = (scored[0] - first == np.arange(scored.shape[1])).all()
        return cls(rows[:1], first if adjacent else None)

    @classmethod
    def everywhere(cls, prompts: Prompts, device: torch.device) -> Positions | None:
        """Return the positions before the padding of prompts of one length; None if no padding."""
        length = prompts.length
        if length == prompts.tokens.shape[1]:
            return None
        return cls(torch.arange(length, device=device)[None])

    def seen(self, runs: Tensor) -> Tensor:
        """Choose the positions of ``run, prompt, position, …``, to read them only."""
        if self.first is None:
            return self.choose(runs)
        return runs[:, :, self.first : self.first + self.rows.shape[1]]

    def choose(self, runs: Tensor) -> Tensor:
        """Choose the positions of ``run, prompt, position, …``, as a copy."""
        if len(self.rows) == 1:
            return runs.index_select(2, self.rows[0])
        prompt = torch.arange(len(self.rows), device=self.rows.device)[:, None]
        return runs[:, prompt, self.rows].contiguous()


def states_at(
    block: Block, normed: Tensor, at: Positions | None, through: Sequence[HeadInput] = HEAD_INPUTS
) -> Tensor:
    """Compute a block's states at chosen positions, or at all (None).

    Takes the normalised stream, dims ``run, prompt, position, hidden``; run 0 is the clean run. The
    inputs of a head that ``through`` does not name read that one.
    """
    if not isinstance(block, Attention):
        return block.states(normed if at is None else at.choose(normed))
    all_inputs = set(through) == set(HEAD_INPUTS)
    if all_inputs and at is None:
        return block.states(normed)
    if at is None:
        at = Positions(torch.arange(normed.shape[2], device=normed.device)[None])
    clean = normed[:1].expand_as(normed)
    query, key, value = (normed if name in through else clean for name in HEAD_INPUTS)
    return block.states(at.choose(query), Queries(key, at.rows, None if all_inputs else value))


def last_attention(model: Decoder) -> int:
    """Return the index of the last stage whose output mixes positions; -1 if none does."""
    mixes = [any(isinstance(block, Attention) for block in stage.blocks) for stage in model.stages]
    return max((index for index, mixing in enumerate(mixes) if mixing), default=-1)


def finish(model: Decoder, streams: Tensor, first: int, at: Positions) -> Tensor:
    """Carry runs to the end, in place where possible, dims ``run, prompt, position, hidden``.

    Takes what stage ``first`` reads, only at the positions ``at`` if it comes after the last
    attention. Returns final streams at these positions.
    """
    last = last_attention(model)
    for index, stage in enumerate(model.stages[first:], first):
        normed = stage.norm(streams)
        if index == last:
            streams = at.choose(streams)
        for block in stage.blocks:
            block.write(states_at(block, normed, at if index == last else None), streams)
    return streams
