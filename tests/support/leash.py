"""Commands of a shell that end with the test that started them, whatever they leave running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: The leash is a pipe that only the test holds: when it is gone, however it went, all end.
_WATCH = "exec 3<&0 </dev/null; { cat <&3 >/dev/null; kill -KILL 0; } & exec 3<&-\n"


@contextmanager
def leashed_shell(commands: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run commands; when the context or this process ends, they and all they started end too."""
    with subprocess.Popen(
        ["sh", "-e", "-c", _WATCH + commands],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    ) as shell:
        try:
            yield shell
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


if __name__ == "__main__":
    import sys

    # What a shell has started in the background ignores Ctrl-C, and so do its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with leashed_shell(sys.argv[1]) as child:
        child.wait()
