"""Where models are measured: this machine, or a cluster of Dask.

Each file has ``execute(measurer, ahead, jobs)``. It yields every model with the reason why it could
not be measured, or None, in any order; the model's checkpoint file is written by then. A model that
fails does not stop the others. What would fail for every model, such as a full disk, is raised.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from cntbench.errors import CntbenchError

if TYPE_CHECKING:
    from cntbench.runs.run import Execute


class Executor(StrEnum):
    """Executors of a run."""

    PROCESSES = "processes"
    SERIAL = "serial"
    DASK = "dask"


def select_executor(
    executor: Executor | None, scheduler: str | None, jobs: int, *, where: str
) -> tuple[Execute, int]:
    """Return the executor's function, and the number of processes.

    Raises a `CntbenchError` if a scheduler is named with another executor, Dask is not installed,
    or no scheduler answers.

    Parameters
    ----------
    executor
        None means processes of this machine, or Dask if there is a scheduler.
    scheduler
        Address of a running Dask scheduler.
    """
    from cntbench.runs.executors import dask, processes

    if scheduler is not None and executor not in (None, Executor.DASK):
        raise CntbenchError(
            f"a scheduler is Dask's, and the executor is {str(executor)!r}",
            where=where,
            hint="Leave one of the two out.",
        )
    if scheduler is None and executor is not Executor.DASK:
        serial = executor is Executor.SERIAL
        return (processes.execute_here, 1) if serial else (processes.execute, jobs)
    dask.check_installed()
    if scheduler is not None:
        dask.check_answers(scheduler)
    return partial(dask.execute, scheduler=scheduler), jobs
