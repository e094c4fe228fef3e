"""Runs that are watched, and killed, in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from cntbench.parallel import worker_context
from cntbench.runs.run import run
from support.runs import plan_for, quiet


def watch(folder: Path, then: Callable[[], None]) -> None:
    """Call a function before every file operation in a folder that Python knows of."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(
            str(folder)
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
    plan = plan_for(checkpoints)
    left = [None] * at

    def die() -> None:
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left.pop()

    watch(folder, die)
    run(plan, folder, jobs=jobs, progress=quiet)


def in_process(target: Callable[..., None], *arguments: object) -> int | None:
    process = worker_context().Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert not process.is_alive()
    return process.exitcode
