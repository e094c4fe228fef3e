"""How worker processes are started."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def worker_context() -> BaseContext:
    """Return the way to start workers: with the libraries loaded once for all of them.

    Where the system can fork, workers are forked from a server that has imported the engine, and
    that runs nothing else: they start at once and share the libraries' memory. Elsewhere each one
    imports for itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cntbench.preload"])
    return context
