"""Runs that are watched, and killed, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from cntbench.cli.main import main
from cntbench.parallel import processes
from cntbench.runs.run import run
from support.runs import plan_for, quiet


def watch(folder: Path, then: Callable[[], None]) -> None:
    """Call a function before every file operation of this process in a folder."""
    process = os.getpid()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if (
            event in ("open", "os.rename", "os.remove", "os.mkdir")
            and str(arguments[0]).startswith(str(folder))
            and os.getpid() == process
        ):
            then()

    sys.addaudithook(hook)


def count_operations(checkpoints: Path, folder: Path, jobs: int, counted: Path) -> None:
    """Run, and write down how many file operations there were."""
    torch.set_num_threads(1)
    plan = plan_for(checkpoints)
    seen: list[None] = []
    watch(folder, lambda: seen.append(None))
    run(plan, folder, jobs=jobs, progress=quiet)
    counted.write_text(str(len(seen)))


def run_and_die(checkpoints: Path, folder: Path, jobs: int, at: int) -> None:
    """Run, and die by ``kill -9`` before the given file operation."""
    torch.set_num_threads(1)
    fork_workers()
    plan = plan_for(checkpoints)
    left = [None] * at

    def die() -> None:
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left.pop()

    watch(folder, die)
    run(plan, folder, jobs=jobs, progress=quiet)


def run_command(arguments: Sequence[str], *, forked: bool) -> None:
    """Run a command as in a terminal, without what it prints, on workers of a server or its own."""
    if forked:
        fork_workers()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.argv = ["cntbench", *arguments]
    main()


def fork_workers() -> None:
    """Fork workers from this process; the server that does it would import all libraries again."""
    processes.worker_context = partial(multiprocessing.get_context, "fork")


def start(target: Callable[..., None], *arguments: object, **options: object) -> BaseProcess:
    """Start a process at once, with the libraries that this one has imported."""
    context: Any = processes.worker_context()
    process: BaseProcess = context.Process(target=target, args=arguments, kwargs=options)
    process.start()
    return process


def in_process(target: Callable[..., None], *arguments: object) -> int | None:
    """Return the exit code of a function in another process."""
    process = start(target, *arguments)
    process.join(120)
    assert not process.is_alive()
    return process.exitcode
