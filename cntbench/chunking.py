"""How a sweep is cut into pieces that fit a memory budget and the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

from cntbench.models.decoder import Decoder
from cntbench.readouts import LOGITS_AT_ONCE

#: Tokens × runs that are carried together: enough of them to make the products of the first stages,
#: where there are few runs, large ones.
ROWS_AT_ONCE = 32768
#: Tokens × runs that go through a stage at once. Larger pieces leave the cache, smaller ones
#: spend their time on overhead.
STAGE_ROWS_AT_ONCE = 1536


@dataclass(frozen=True)
class Chunking:
    """Sizes of the pieces of a sweep.

    Parameters
    ----------
    prompts
        Prompts at once.
    sources
        Sources at once: all of them, unless one prompt alone exceeds the budget.
    runs
        Runs that go through a stage at once.
    """

    prompts: int
    sources: int
    runs: int


def bytes_per_token(model: Decoder) -> int:
    """Return the memory that one token of one run takes for the whole of a sweep [bytes].

    The stream, before and after it is narrowed to the scored positions; then the final one,
    normalised, and a product with it.
    """
    return 4 * model.hidden * model.dtype.itemsize


def fixed_bytes(model: Decoder, *, length: int, base: int, populations: int) -> int:
    """Return the memory that does not depend on the chunks [bytes].

    What a stage takes for the tokens that go through it at once; a tile of logits beside its copy;
    and for each population the mean and the mean square of all states at every position, in double
    precision, once more while they are computed.
    """
    blocks = [block for stage in model.stages for block in stage.blocks]
    peak = max(block.workspace for block in blocks) + 4 * model.hidden
    stage = base * max(length, STAGE_ROWS_AT_ONCE) * peak * model.dtype.itemsize
    states = sum(block.n_components * block.width for block in blocks)
    return (
        stage
        + 2 * LOGITS_AT_ONCE * model.dtype.itemsize
        + (populations + 1) * 2 * 8 * length * states
    )


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
    fixed = fixed_bytes(model, length=length, base=base, populations=populations)
    affordable = max(1, (memory_budget - fixed) // bytes_per_token(model))
    runs = base + ablations * len(model.components)
    prompts = min(affordable, ROWS_AT_ONCE) // (runs * length)
    sources = len(model.components)
    if prompts < 1 and ablations:
        sources = min(max(1, (affordable // length - base) // ablations), sources)
    prompts = max(1, min(prompts, n_prompts, STAGE_ROWS_AT_ONCE // length))
    return Chunking(prompts, sources, max(1, STAGE_ROWS_AT_ONCE // (prompts * length)))
