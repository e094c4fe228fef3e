"""How a sweep is cut into pieces that fit a memory budget and the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

from cntbench.models.decoder import Decoder

#: Tokens × runs that go through a stage at once. Larger pieces leave the cache, smaller ones
#: spend their time on overhead.
ROWS_AT_ONCE = 6144


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


def chunking(
    model: Decoder, *, n_prompts: int, length: int, base: int, ablations: int, memory_budget: int
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
    memory_budget
        Memory to use beyond the model's own [bytes].
    """
    affordable = max(1, memory_budget // bytes_per_token(model))
    runs = base + ablations * len(model.components)
    prompts = min(affordable, ROWS_AT_ONCE) // (runs * length)
    if prompts >= 1:
        return Chunking(min(prompts, n_prompts), len(model.components))
    sources = (affordable // length - base) // ablations if ablations else 1
    return Chunking(1, min(max(1, sources), len(model.components)))
