"""A command line that gets Ctrl-C when it calls a function, as a terminal sends it: to its group.

``python -m support.interrupting MODULE:FUNCTION SECONDS COMMAND...``: so many seconds after the
function is called first, which may be 0.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from functools import reduce
from typing import Any


def interrupt_at(place: str, seconds: float) -> None:
    """Have the process group interrupted when a function is called first."""
    module, _, path = place.partition(":")
    *above, name = path.split(".")
    owner = reduce(getattr, above, importlib.import_module(module))
    function = getattr(owner, name)
    calls: list[str] = []

    def called(*arguments: Any, **options: Any) -> Any:
        if not calls:
            calls.append(place)
            if seconds:
                threading.Timer(seconds, os.killpg, (0, signal.SIGINT)).start()
            else:
                os.killpg(0, signal.SIGINT)
        return function(*arguments, **options)

    setattr(owner, name, called)


if __name__ == "__main__":
    interrupt_at(sys.argv[1], float(sys.argv[2]))
    sys.argv[:] = ["cntbench", *sys.argv[3:]]
    from cntbench.cli.main import main

    main()
