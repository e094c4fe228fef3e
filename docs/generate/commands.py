"""The reference of the command line, written by typer."""

from __future__ import annotations

import os
import subprocess
import sys


def commands() -> str:
    """Return a section for each command."""
    command = [
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
    reference = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    _, _, sections = reference.stdout.partition("\n## ")
    # Users do not type the prompt.
    return f"## {sections}".replace("```console\n$ ", "```text\n")


GENERATED = {"commands": commands}
