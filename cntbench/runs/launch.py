"""Options of the command line and of Python: checked, and resolved to a plan and an executor."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cntbench.errors import CntbenchError, unknown

if TYPE_CHECKING:
    from cntbench.models.device import Device
    from cntbench.models.trajectory import Progress
    from cntbench.runs.plan import Plan
    from cntbench.runs.run import Execute


#: One name, or several.
Names = str | Sequence[str]
#: One folder or file, or several.
Folders = str | Path | Sequence[str | Path]
#: Allowed memory [GiB].
LEAST_MEMORY, MOST_MEMORY = 0.001, 2**20

Choice = TypeVar("Choice", bound=StrEnum)


class Executor(StrEnum):
    """Executors of a run."""

    PROCESSES = "processes"
    SERIAL = "serial"
    DASK = "dask"


class DeviceChoice(StrEnum):
    """Devices to compute on."""

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
    """Return the plan of a study with changed keys, and the folder of its run.

    Parameters
    ----------
    study
        Its name.
    changes
        Keys of its spec, and their values.
    output
        The folder; None means ``runs/STUDY``.
    specs
        Folders of the user's specs.
    progress
        Receives progress.
    where
        Origin of the options, for messages.
    outline
        Whether the plan is only inspected, so that no weights are downloaded.

    Raises
    ------
    CntbenchError
        If the study cannot be run.
    """
    from cntbench.runs.catalogue import load_catalogue
    from cntbench.runs.plan import make_plan

    catalogue = load_catalogue(specs)
    entry = catalogue.amend(catalogue.study(study), changes, where=where)
    return make_plan(catalogue, entry, progress, outline=outline), output or Path("runs") / study


def select_executor(
    executor: Executor | None, scheduler: str | None, jobs: int, *, where: str
) -> tuple[Execute, int]:
    """Return the executor's function, and the number of processes.

    Parameters
    ----------
    executor
        None means processes of this machine, or Dask if there is a scheduler.
    scheduler
        Address of a running Dask scheduler.
    jobs
        Number of processes.
    where
        Origin of the scheduler, for messages.

    Raises
    ------
    CntbenchError
        If a scheduler is named with another executor, Dask is not installed, or no scheduler
        answers.
    """
    from cntbench.runs.executors import dask, processes

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


def resolve_device(device: DeviceChoice, scheduler: str | None) -> Device:
    """Return the device; workers of a running scheduler check by themselves if they have a GPU.

    Raises
    ------
    CntbenchError
        If the device is a GPU and this machine has none.
    """
    from cntbench.models.device import resolve

    if scheduler and device is DeviceChoice.CUDA:
        return "cuda"
    return resolve(device)


def processes_for(device: Device) -> int:
    """Return the default number of processes: one on a GPU, which they would share."""
    return 1 if device == "cuda" else cores()


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_of(choices: type[Choice], kind: str, name: str, where: str) -> Choice:
    """Return the choice of a name; an error names the nearest match of an unknown name."""
    allowed = [str(choice) for choice in choices]
    if name not in allowed:
        raise unknown(kind, name, allowed, where=where)
    return choices(name)


def memory_budget(memory: float, where: str) -> int:
    """Return memory [GiB] in bytes, or raise an error if it is out of range."""
    if not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise CntbenchError(
            f"memory = {memory} is not allowed",
            where=where,
            hint=f"Allowed: {LEAST_MEMORY} to {MOST_MEMORY} GiB.",
        )
    return int(memory * 2**30)


def check_script(jobs: int, where: str) -> None:
    """Raise an error if new processes would run the caller's script, and this call in it, again."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if jobs < 2 or script is None:
        return
    with suppress(OSError, UnicodeDecodeError):
        if "__name__" not in Path(script).read_text(encoding="utf-8"):
            raise CntbenchError(
                f"jobs = {jobs} starts processes, each of which would run this script again",
                where=where,
                hint='Put the content of the script under: if __name__ == "__main__":',
            )


def study_changes(
    trajectory: str | None,
    tasks: Names | None,
    ablations: Names | None,
    prompts: int | None,
    seed: int | None,
    dtype: str | None = None,
    blocks: int | None = None,
) -> dict[str, Any]:
    """Return the keys of a study that are not None, and their values."""
    keys = {
        "trajectory": trajectory,
        "tasks": None if tasks is None else name_tuple(tasks),
        "ablations": None if ablations is None else name_tuple(ablations),
        "prompts": prompts,
        "seed": seed,
        "dtype": dtype,
        "blocks": blocks,
    }
    return {key: value for key, value in keys.items() if value is not None}


def name_tuple(names: Names) -> tuple[str, ...]:
    """Return one or several names as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def path_tuple(paths: Folders) -> tuple[Path, ...]:
    """Return one or several paths as a tuple."""
    return (Path(paths),) if isinstance(paths, str | Path) else tuple(map(Path, paths))
