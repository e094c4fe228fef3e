"""The server that worker processes are forked from, which has imported their libraries."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from multiprocessing import util
from multiprocessing.context import BaseContext

from cntbench.parallel.interrupts import starting_processes


def start_server(*modules: str) -> None:
    """Start the server that workers are forked from, which imports while this process goes on.

    It imports modules between `_gc_pause` and `_gc_freeze`, unless it runs already, and ends with
    this process. Where the system cannot fork, there is none.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    from multiprocessing import forkserver

    first, last = "cntbench.parallel._gc_pause", "cntbench.parallel._gc_freeze"
    multiprocessing.set_forkserver_preload([first, *modules, last])
    with starting_processes():
        forkserver.ensure_running()


def _stop_server() -> None:
    """End the server, which would notice the end of this process only when all is imported."""
    module = sys.modules.get("multiprocessing.forkserver")
    server = getattr(getattr(module, "_forkserver", None), "_forkserver_pid", None)
    if server is not None:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


util.Finalize(None, _stop_server, exitpriority=-1)  # in this process, after its workers' end


def worker_context() -> BaseContext:
    """Return the multiprocessing context that starts workers fastest.

    Where the system can fork, workers are forked from a server: they start at once and share the
    memory of the libraries. If `start_server` has not started it, it imports the same modules of
    cntbench as this process, and torch and the models of transformers if this process has them.
    Elsewhere, each worker imports them itself.

    The function returns when the server is ready; Ctrl-C may interrupt it.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    loaded = sorted(name for name in sys.modules if name.startswith("cntbench."))
    libraries = {"torch": "torch", "transformers": "transformers.modeling_utils"}
    start_server(*loaded, *(first for name, first in libraries.items() if name in sys.modules))
    context = multiprocessing.get_context("forkserver")
    first = context.Process(target=os.getpid)
    first.start()  # runs when all is imported
    first.join()
    return context
