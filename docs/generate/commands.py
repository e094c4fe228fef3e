"""The command line, as typer tells it."""

from __future__ import annotations

import os
import subprocess
import sys


def commands() -> str:
    """Return a section for each command."""
    asked = [
        sys.executable,
        "-m",
        "typer",
        "cntbench.cli.main",
        "utils",
        "docs",
        "--name",
        "cntbench",
    ]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    _, _, sections = done.stdout.partition("\n## ")
    # A prompt before each command is not what is typed.
    return f"## {sections}".replace("```console\n$ ", "```text\n")


GENERATED = {"commands": commands}
