"""How a sweep is cut into pieces that fit a memory budget and the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

from cntbench.engine.readouts import LOGITS_AT_ONCE
from cntbench.models.decoder import Decoder
from cntbench.models.products import wide

#: Tokens × runs that a sweep carries together: enough of them to make the products of the first
#: stages, where there are few runs, large ones.
ROWS_AT_ONCE = 32768
#: Tokens × runs that go through a stage at once. Larger pieces leave the cache, smaller ones
#: spend their time on overhead.
STAGE_ROWS_AT_ONCE = 3072
#: Tokens × runs at once where all that are carried together go through a stage at once.
WHOLE_ROWS_AT_ONCE = 8192


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


def stage_bytes(model: Decoder) -> int:
    """Return the memory that one token of one run takes while it goes through a stage [bytes]."""
    peak = max(block.workspace for stage in model.stages for block in stage.blocks)
    return (4 * model.hidden + peak) * wide(model.dtype).itemsize


def stream_bytes(model: Decoder) -> int:
    """Return the memory that one token of one run takes while others go through a stage [bytes].

    The stream, before and after it is narrowed to the scored positions; then the final one,
    normalised.
    """
    return 3 * model.hidden * model.dtype.itemsize


def fixed_bytes(model: Decoder, *, length: int, populations: int) -> int:
    """Return the memory that does not depend on the chunks [bytes].

    A tile of logits beside its copy, and for each population the mean and the mean square of all
    states at every position, in double precision, once more while they are computed.
    """
    states = sum(b.n_components * b.width for stage in model.stages for b in stage.blocks)
    return (
        2 * LOGITS_AT_ONCE * wide(model.dtype).itemsize
        + (populations + 1) * 2 * 8 * length * states
    )


def chunking(
    model: Decoder,
    *,
    sources: int,
    n_prompts: int,
    length: int,
    base: int,
    ablations: int,
    populations: int,
    memory_budget: int,
    tiled: bool,
) -> Chunking:
    """Choose the sizes.

    Parameters
    ----------
    model
        The decoder to sweep.
    sources
        Number of components that are ablated.
    n_prompts, length
        Number of prompts, and their length [tokens].
    base, ablations
        Runs without ablation (clean, donors), and ablations of every source.
    populations
        Corpora over which replacements take statistics.
    memory_budget
        Memory to use beyond the model's own [bytes].
    tiled
        Whether some of the runs go through a stage at once, or all.
    """
    free = memory_budget - fixed_bytes(model, length=length, populations=populations)
    if tiled:
        free -= max(base * length, STAGE_ROWS_AT_ONCE) * stage_bytes(model)
    affordable = max(1, free // (stream_bytes(model) if tiled else stage_bytes(model)))
    together = ROWS_AT_ONCE if tiled else WHOLE_ROWS_AT_ONCE
    runs = base + ablations * sources
    prompts = min(affordable, together) // (runs * length)
    if prompts < 1 and ablations:
        sources = min(max(1, (affordable // length - base) // ablations), sources)
    at_once = STAGE_ROWS_AT_ONCE if tiled else together
    # The runs without ablation stay together.
    prompts = max(1, min(prompts, n_prompts, at_once // (base * length)))
    return Chunking(prompts, sources, max(1, at_once // (prompts * length)))


def working_bytes(
    model: Decoder,
    sizes: Chunking,
    *,
    length: int,
    base: int,
    ablations: int,
    populations: int,
    tiled: bool,
) -> int:
    """Return the memory that pieces of some sizes take, beyond the model's own [bytes].

    An upper bound, and the one that `chunking` holds to the budget (unless one prompt and one
    source exceed it). Parameters as there.
    """
    found = fixed_bytes(model, length=length, populations=populations)
    if tiled:
        found += max(base * length, STAGE_ROWS_AT_ONCE) * stage_bytes(model)
    tokens = sizes.prompts * (base + ablations * sizes.sources) * length
    return found + tokens * (stream_bytes(model) if tiled else stage_bytes(model))
