"""A command line that gets Ctrl-C when it calls a function, as a terminal sends it: to its group.

SIGTERM is sent to its process alone.

It runs in a process that has imported the libraries of this one, which takes seconds otherwise.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import reduce
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cntbench.cli.main import main
from cntbench.parallel.server import worker_context

#: What reaches the command: its folder, its environment, the file of its errors.
Surroundings = tuple[Path, dict[str, str], Path]


def interrupt_at(place: str, after: Callable[[], None]) -> None:
    """Call a function when another one, as ``MODULE:FUNCTION``, is called first."""
    module, _, path = place.partition(":")
    *above, name = path.split(".")
    owner = reduce(getattr, above, importlib.import_module(module))
    function = getattr(owner, name)
    calls: list[str] = []

    def called(*arguments: Any, **options: Any) -> Any:
        if not calls:
            calls.append(place)
            after()
        return function(*arguments, **options)

    setattr(owner, name, called)


def start(
    place: str, seconds: float, words: list[str], errors: Path, number: int = signal.SIGINT
) -> BaseProcess:
    """Start a command in this folder, in a group of its own, and interrupt it at a place.

    Parameters
    ----------
    place
        A function, as ``MODULE:FUNCTION``.
    seconds
        How long after its first call; may be 0.
    words
        The command line, without the program.
    errors
        The file that it writes its errors to.
    number
        The signal: Ctrl-C, or SIGTERM.
    """
    around: Surroundings = (Path.cwd(), dict(os.environ), errors)
    context: Any = worker_context()
    arguments = (place, seconds, words, around, number)
    process: BaseProcess = context.Process(target=_command, args=arguments)
    process.start()
    return process


def _command(
    place: str, seconds: float, words: list[str], around: Surroundings, number: int
) -> None:
    folder, environment, errors = around
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def interrupt() -> None:
        send = os.killpg if number == signal.SIGINT else os.kill
        send(os.getpid(), number)

    interrupt_at(place, threading.Timer(seconds, interrupt).start if seconds else interrupt)
    sys.argv[:] = ["cntbench", *words]
    main()
