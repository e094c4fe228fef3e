"""Splitting a request into pieces that fit a memory budget and the processor's cache."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cntbench.ablations.ablation import distinct_replacements, donors
from cntbench.engine.readouts import LOGITS_AT_ONCE
from cntbench.engine.request import Request
from cntbench.models.decoder import Decoder
from cntbench.models.products import wide
from cntbench.readouts import known_readouts
from cntbench.specs import Scope

#: Tokens × runs that a sweep carries together: enough to make the matrix products of the first
#: stages large, where there are few runs.
ROWS_AT_ONCE = 32768
#: Tokens × runs that pass through a stage at once. Larger pieces do not fit the cache; smaller
#: pieces spend their time on overhead.
STAGE_ROWS_AT_ONCE = 3072
#: Values of a token in the stream, and inside a stage, for which these numbers are right. Narrower
#: models take more rows, because the fixed cost of an operator weighs more in them.
_STREAM_VALUES, _STAGE_VALUES = 128, 2112
MOST_TIMES = 4
#: Tokens × runs of one ablation of direct scope, which pass through a stage together.
WHOLE_ROWS_AT_ONCE = 8192
#: Share of the memory of a GPU for the runs inside a stage.
_STAGE_SHARE = 0.5


@dataclass(frozen=True)
class Chunking:
    """How many prompts, sources, and runs inside a stage are measured at once.

    All sources are measured at once, unless one prompt alone exceeds the budget.
    """

    prompts: int
    sources: int
    runs: int


def chunking(request: Request, scope: Scope) -> Chunking:
    """Choose the sizes of the pieces in which ablations of a scope are measured.

    Total effects carry all runs together and pass them through a stage in tiles; direct effects
    pass all runs of one ablation at once.
    """
    base, ablations = _runs(request, scope)
    length, sources = request.prompts.tokens.shape[1], len(request.ablated)
    free = request.memory_budget - _fixed_bytes(request, scope)
    affordable = max(1, free // _row_bytes(request.model, scope))
    together, at_once = _rows_at_once(request, scope)
    runs = base + ablations * sources
    # Ablations of direct scope pass through a stage one by one.
    runs_at_once = runs if scope == "total" else base + sources
    prompts = min(affordable // (runs * length), together // (runs_at_once * length))
    if prompts < 1 and ablations:
        sources = min(max(1, (affordable // length - base) // ablations), sources)
    # The runs without ablation stay together.
    count = len(request.prompts)
    prompts = max(1, min(prompts, count, at_once // (base * length)))
    prompts = -(-count // -(-count // prompts))  # pieces of nearly equal size
    return Chunking(prompts, sources, max(1, at_once // (prompts * length)))


def pieces(request: Request, sizes: Chunking) -> Iterator[tuple[slice, Request]]:
    """Yield the rows of the prompts of each piece, and the request for it."""
    sources, count = request.ablated, len(request.prompts)
    parts: list[tuple[slice, Sequence[int]]] = [
        (slice(start, min(start + sizes.prompts, count)), sources[first : first + sizes.sources])
        for start in range(0, count, sizes.prompts)
        for first in range(0, len(sources), sizes.sources)
    ]
    for rows, chosen in request.each(parts, lambda part: _cost(request.model, *part)):
        yield rows, request.part(rows, chosen)


def _cost(model: Decoder, rows: slice, sources: Sequence[int]) -> object:
    """Return what determines the work of a piece: its number of sources in each block.

    The clean run is read once for each batch of prompts, so batches count separately.
    """
    sizes = [block.n_components for block in model.blocks]
    ends = [bisect_left(sources, end) for end in np.cumsum([0, *sizes])]
    return rows.start, tuple(np.diff(ends).tolist())


def predicted_bytes(request: Request) -> int:
    """Return an upper bound of the memory that a request takes beyond the model's own [bytes].

    `chunking` keeps it within the budget, unless one prompt and one source exceed it. The fit of
    constants is not counted: it takes a copy of the model in double precision, and part of the
    budget.
    """
    scopes: list[Scope] = ["total", "direct"] if request.of_scope("direct") else ["total"]
    return max(_working_bytes(request, scope) for scope in scopes)


def outcome_bytes(request: Request) -> int:
    """Return an upper bound of the memory of the effects by prompt, before reduction [bytes].

    It comes on top of `predicted_bytes` and grows with the square of the number of components.
    Changes of targets and of the readout are held; both are copied while direct and total effects
    are merged, and one of them while its standard error is computed.
    """
    components, methods = len(request.model.components), len(request.drawn)
    edges = methods * components * components
    others = (len(known_readouts()) * methods + 2) * components
    copies = 5 if request.of_scope("direct") else 3
    at_positions = request.prompts.tokens.shape[1] if "positions" in request.keep else 0
    return 8 * (len(request.prompts) * (edges + others) * copies + 2 * at_positions * edges)


def _working_bytes(request: Request, scope: Scope) -> int:
    """Return the memory that the pieces of a scope take."""
    (base, ablations), sizes = _runs(request, scope), chunking(request, scope)
    rows = sizes.prompts * (base + ablations * sizes.sources) * request.prompts.tokens.shape[1]
    return _fixed_bytes(request, scope) + rows * _row_bytes(request.model, scope)


def _runs(request: Request, scope: Scope) -> tuple[int, int]:
    """Return the number of runs without ablation (clean, donors), and of runs for each source."""
    ablations = request.of_scope(scope)
    distinct = ablations if scope == "total" else distinct_replacements(ablations)[0]
    return len(donors(ablations)), len(distinct)


def _row_bytes(model: Decoder, scope: Scope) -> int:
    """Return the memory that one token of one run takes [bytes].

    While other runs pass through a stage, this is its stream, before and after the restriction to
    the scored positions; later it is the normalised final stream.
    """
    if scope == "direct":
        return _stage_bytes(model)
    return 3 * model.hidden * model.dtype.itemsize


def _stage_bytes(model: Decoder) -> int:
    """Return the memory that one token of one run takes inside a stage [bytes]."""
    peak = max(block.workspace for block in model.blocks)
    return (4 * model.hidden + peak) * wide(model.dtype).itemsize


def _fixed_bytes(request: Request, scope: Scope) -> int:
    """Return the memory that does not depend on the sizes of the pieces [bytes].

    This is a tile of logits and its copy; for each population, the mean and the mean square of all
    states at every position in double precision, and another pair while they are computed; and the
    runs inside a stage, if runs pass in tiles.
    """
    model, length = request.model, request.prompts.tokens.shape[1]
    states = sum(block.n_components * block.width for block in model.blocks)
    logits = 2 * LOGITS_AT_ONCE * wide(model.dtype).itemsize
    statistics = (len(request.populations) + 1) * 2 * 8 * length * states
    if scope == "direct":
        return logits + statistics
    base, _ = _runs(request, scope)
    _, at_once = _rows_at_once(request, scope)
    in_stage = max(base * length, at_once) * _stage_bytes(model)
    return logits + statistics + in_stage


def _rows_at_once(request: Request, scope: Scope) -> tuple[int, int]:
    """Return how many tokens × runs are carried together, and pass through a stage at once.

    On a CPU the caches decide, whatever the memory, so that numbers do not depend on it. A GPU is
    faster with larger pieces, so there they are as large as the memory allows.
    """
    if not _is_on_gpu(request.model):
        if scope == "direct":
            return WHOLE_ROWS_AT_ONCE, WHOLE_ROWS_AT_ONCE
        workspace = max(block.workspace for block in request.model.blocks)
        together = ROWS_AT_ONCE * _times(_STREAM_VALUES, request.model.hidden)
        return together, STAGE_ROWS_AT_ONCE * _times(_STAGE_VALUES, workspace)
    unlimited = request.memory_budget
    in_stage = int(_STAGE_SHARE * request.memory_budget) // _stage_bytes(request.model)
    return unlimited, unlimited if scope == "direct" else max(STAGE_ROWS_AT_ONCE, in_stage)


def _times(values: int, width: int) -> int:
    """Return the factor by which a model with fewer values per token takes more rows."""
    return max(1, min(values // width, MOST_TIMES))


def _is_on_gpu(model: Decoder) -> bool:
    return model.unembed.weight.is_cuda
