"""How a sweep is cut into pieces that fit a memory budget and the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

from cntbench.models.decoder import Decoder
from cntbench.readouts import LOGITS_AT_ONCE

#: Tokens × runs that go through a stage at once. Larger pieces leave the cache, smaller ones
#: spend their time on overhead.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Chunking:
    """Sizes of the pieces of a sweep.

    Parameters
    ----------
    prompts
        Prompts at once.
    sources
        Sources at once: all of them, unless one prompt alone exceeds the budget.
    """

    prompts: int
    sources: int


def bytes_per_token(model: Decoder) -> int:
    """Return the memory that one token of one run takes at the peak of a stage [bytes]."""
    peak = max(block.workspace for stage in model.stages for block in stage.blocks)
    return (4 * model.hidden + peak) * model.dtype.itemsize


def fixed_bytes(model: Decoder, *, length: int, populations: int) -> int:
    """Return the memory that does not depend on the chunks [bytes].

    A tile of logits beside its copy, and for each population the mean and the mean square of all
    states at every position, in double precision, once more while they are computed.
    """
    states = sum(b.n_components * b.width for stage in model.stages for b in stage.blocks)
    return 2 * LOGITS_AT_ONCE * model.dtype.itemsize + (populations + 1) * 2 * 8 * length * states


def chunking(
    model: Decoder,
    *,
    n_prompts: int,
    length: int,
    base: int,
    ablations: int,
    populations: int,
    memory_budget: int,
) -> Chunking:
    """Choose the sizes.

    Parameters
    ----------
    model
        The decoder to sweep.
    n_prompts, length
        Number of prompts, and their length [tokens].
    base, ablations
        Runs without ablation (clean, donors), and ablations of every source.
    populations
        Corpora over which replacements take statistics.
    memory_budget
        Memory to use beyond the model's own [bytes].
    """
    free = memory_budget - fixed_bytes(model, length=length, populations=populations)
    affordable = max(1, free // bytes_per_token(model))
    runs = base + ablations * len(model.components)
    prompts = min(affordable, ROWS_AT_ONCE) // (runs * length)
    if prompts >= 1:
        return Chunking(min(prompts, n_prompts), len(model.components))
    sources = (affordable // length - base) // ablations if ablations else 1
    return Chunking(1, min(max(1, sources), len(model.components)))
