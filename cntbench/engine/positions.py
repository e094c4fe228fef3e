"""Computing only where somebody looks: blocks and runs at some positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cntbench.models.blocks import Attention, Block, Queries
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts
from cntbench.specs import HEAD_INPUTS, HeadInput


@dataclass(frozen=True)
class Positions:
    """Some positions of each prompt.

    Parameters
    ----------
    rows
        Dims ``prompt, asked``; one row if all prompts have the same.
    """

    rows: Tensor

    @classmethod
    def scored(cls, prompts: Prompts, device: torch.device) -> Positions:
        """Return the scored positions."""
        rows = torch.from_numpy(prompts.scored)
        return cls((rows[:1] if (rows == rows[0]).all() else rows).to(device))

    @classmethod
    def everywhere(cls, prompts: Prompts, device: torch.device) -> Positions | None:
        """Return all positions of prompts of one length; None if no padding follows them."""
        length = prompts.length
        if length == prompts.tokens.shape[1]:
            return None
        return cls(torch.arange(length, device=device)[None])

    def choose(self, runs: Tensor) -> Tensor:
        """Choose the positions of ``run, prompt, position, …``."""
        if len(self.rows) == 1:
            return runs.index_select(2, self.rows[0])
        prompt = torch.arange(len(self.rows), device=self.rows.device)[:, None]
        return runs[:, prompt, self.rows].contiguous()


def states_at(
    block: Block, normed: Tensor, at: Positions | None, through: Sequence[HeadInput] = HEAD_INPUTS
) -> Tensor:
    """Compute a block's states at some positions.

    Parameters
    ----------
    block
        What to compute.
    normed
        The normalised stream, dims ``run, prompt, position, hidden``; run 0 is the clean one.
    at
        Where; None for everywhere.
    through
        What of a head sees its run; the rest sees the clean one.
    """
    if not isinstance(block, Attention):
        return block.states(normed if at is None else at.choose(normed))
    whole = set(through) == set(HEAD_INPUTS)
    if whole and at is None:
        return block.states(normed)
    if at is None:
        at = Positions(torch.arange(normed.shape[2], device=normed.device)[None])
    clean = normed[:1].expand_as(normed)
    query, key, value = (normed if reader in through else clean for reader in HEAD_INPUTS)
    return block.states(at.choose(query), Queries(key, at.rows, None if whole else value))


def last_attention(model: Decoder) -> int:
    """Return the index of the last stage whose output mixes positions, -1 if none does."""
    return max(
        (
            index
            for index, stage in enumerate(model.stages)
            if any(isinstance(block, Attention) for block in stage.blocks)
        ),
        default=-1,
    )


def finish(model: Decoder, streams: Tensor, first: int, at: Positions) -> Tensor:
    """Carry runs to the end, in place as far as possible.

    Parameters
    ----------
    model
        The decoder.
    streams
        What stage ``first`` reads, dims ``run, prompt, position, hidden``. From the last attention
        on, at the positions ``at`` only: if ``first`` lies behind it, that is what is given.
    first, at
        Where to start, and the positions that are read at the end.

    Returns
    -------
    Tensor
        Final streams at the positions, dims ``run, prompt, asked, hidden``.
    """
    last = last_attention(model)
    for index in range(first, len(model.stages)):
        stage = model.stages[index]
        normed = stage.norm(streams)
        if index == last:
            streams = at.choose(streams)
        for block in stage.blocks:
            block.write(states_at(block, normed, at if index == last else None), streams)
    return streams
