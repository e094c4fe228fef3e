"""The loop of every executor: measure models block by block as their files arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from cntbench.models.trajectory import Checkpoint, ModelRef
from cntbench.parallel.processes import WorkerKilledError
from cntbench.results.failure import Failure
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.prefetch import Prefetch

#: A block, and the folder of its model's files.
Item = tuple[SourceBlock, Path]


class BlockWorkers(Protocol):
    """What measures blocks, somewhere."""

    @property
    def busy(self) -> Sequence[Future[Any]]:
        """The blocks that are being measured."""
        ...

    def add(self, item: Item) -> None:
        """Measure a block as soon as possible."""
        ...

    def collect(
        self, ready: set[Future[Any]]
    ) -> Iterator[tuple[Item, Failure | WorkerKilledError | None]]:
        """Yield the blocks that are finished, with the reason if one failed."""
        ...


def measure_models(
    measurer: CheckpointMeasurer,
    ahead: Prefetch,
    workers: BlockWorkers,
    *,
    in_order: bool = False,
    joined: Callable[[], int] = lambda: 0,
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure models as their files arrive, and write their checkpoint files.

    Parameters
    ----------
    in_order
        Whether models are measured in their order, not in that in which they arrive.
    joined
        Returns how many workers have joined since the last call.

    Yields
    ------
    tuple
        A model, and why it could not be measured, or None.
    """
    fetching: dict[Future[Path], ModelRef] = {}
    blocks_left: dict[ModelRef, int] = {}
    failures: dict[ModelRef, Failure] = {}
    while True:
        ahead.widen(joined())
        fetching |= {fetched: subject for subject, fetched in ahead.start()}
        if not fetching and not workers.busy:
            return
        awaited = [*islice(fetching, 1 if in_order else None)]
        ready, _ = wait([*awaited, *workers.busy], return_when=FIRST_COMPLETED)
        for fetched in filter(ready.__contains__, awaited):
            subject = fetching.pop(fetched)
            if ahead.postpone(subject, fetched.exception()):
                continue
            failure = _fetch_failure(subject, fetched)
            if failure is not None:
                yield subject, failure
                continue
            blocks = measurer.blocks(subject)
            blocks_left[subject] = len(blocks)
            for block in blocks:
                workers.add((block, fetched.result()))
            if not blocks:
                yield subject, measurer.join(subject)
        for (block, _), result in workers.collect(ready):
            subject = block.subject
            if isinstance(result, WorkerKilledError):
                result = Failure.of(result, block)
            if result is not None:
                failures.setdefault(subject, result)
            blocks_left[subject] -= 1
            if not blocks_left[subject]:
                yield subject, failures.pop(subject, None) or measurer.join(subject)


def _fetch_failure(subject: ModelRef, fetched: Future[Path]) -> Failure | None:
    """Return why a model's files could not be fetched, or None."""
    error = fetched.exception()
    place = subject.origin if isinstance(subject, Checkpoint) else subject.label
    return None if error is None else Failure.of(error, place)
