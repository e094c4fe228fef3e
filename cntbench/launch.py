"""What a user asks to be run, on the command line or from Python: its plan, folder, and way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cntbench.errors import CntbenchError

if TYPE_CHECKING:
    from cntbench.models.device import Device
    from cntbench.models.trajectory import Progress
    from cntbench.plan import Plan
    from cntbench.runner import Execute


class Executor(StrEnum):
    """Where models can be measured."""

    PROCESSES = "processes"
    SERIAL = "serial"
    DASK = "dask"


class DeviceChoice(StrEnum):
    """What can be computed on."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


def resolved(
    study: str,
    changes: Mapping[str, Any],
    output: Path | None,
    specs: Sequence[Path],
    progress: Progress,
    *,
    where: str,
    outline: bool = False,
) -> tuple[Plan, Path]:
    """Return the plan of a study with some of its keys changed, and the folder of its run.

    Parameters
    ----------
    study
        Its name.
    changes
        Keys of its spec, and what they should be.
    output
        The folder; ``runs/STUDY`` if it is None.
    specs
        Folders of the user's specs.
    progress
        Told about what takes long.
    where
        Who asks, for messages.
    outline
        Whether the plan is only to be looked at: nothing that has weights is downloaded then.

    Raises
    ------
    CntbenchError
        If the study cannot be run.
    """
    from cntbench.catalogue import load_catalogue
    from cntbench.plan import make_plan

    catalogue = load_catalogue(specs)
    entry = catalogue.amend(catalogue.study(study), changes, where=where)
    return make_plan(catalogue, entry, progress, outline=outline), output or Path("runs") / study


def way(
    executor: Executor | None, scheduler: str | None, jobs: int, *, where: str
) -> tuple[Execute, int]:
    """Return where to measure, and on how many processes.

    Parameters
    ----------
    executor
        Processes of this machine, unless there is a scheduler.
    scheduler
        Address of a running Dask scheduler.
    jobs
        Number of processes.
    where
        Who names the scheduler, for messages.

    Raises
    ------
    CntbenchError
        If the two do not go together, Dask is not installed, or no scheduler answers.
    """
    from cntbench.executors import dask, processes

    if scheduler is not None and executor not in (None, Executor.DASK):
        raise CntbenchError(
            f"a scheduler is Dask's, and the executor is {str(executor)!r}",
            where=where,
            hint="Leave one of the two out.",
        )
    if scheduler is None and executor is not Executor.DASK:
        return processes.execute, 1 if executor is Executor.SERIAL else jobs
    dask.check_installed()
    if scheduler is not None:
        dask.check_answers(scheduler)
    return partial(dask.execute, scheduler=scheduler), jobs


def place(device: DeviceChoice, scheduler: str | None) -> Device:
    """Return where models are computed; what workers of a running scheduler have, they know.

    Raises
    ------
    CntbenchError
        If a GPU is asked for, and there is none.
    """
    from cntbench.models.device import resolve

    if scheduler and device is DeviceChoice.CUDA:
        return "cuda"
    return resolve(device)


def processes_for(device: Device) -> int:
    """Return on how many processes to measure if nobody says: they would share a GPU."""
    return 1 if device == "cuda" else cores()


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
