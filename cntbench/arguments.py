"""What Python users give to functions, as what the program works with; and what is not allowed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from cntbench.errors import CntbenchError, unknown

#: One name, or several.
Names = str | Sequence[str]
#: One folder or file, or several.
Folders = str | Path | Sequence[str | Path]
#: Memory that may be asked for [GiB].
LEAST_MEMORY, MOST_MEMORY = 0.001, 2**20

Choice = TypeVar("Choice", bound=StrEnum)


def one_of(choices: type[Choice], kind: str, name: str, where: str) -> Choice:
    """Return what a name stands for, or raise an error that names the nearest match."""
    allowed = [str(one) for one in choices]
    if name not in allowed:
        raise unknown(kind, name, allowed, where=where)
    return choices(name)


def memory_budget(memory: float, where: str) -> int:
    """Return memory [GiB] in bytes, or raise an error if it is nothing that a machine can have."""
    if not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise CntbenchError(
            f"memory = {memory} is not allowed",
            where=where,
            hint=f"Allowed: {LEAST_MEMORY} to {MOST_MEMORY} GiB.",
        )
    return int(memory * 2**30)


def check_script(jobs: int, where: str) -> None:
    """Raise an error if processes would run the caller's script, and so this very call, again."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if jobs < 2 or script is None:
        return
    with suppress(OSError, UnicodeDecodeError):
        if "__name__" not in Path(script).read_text(encoding="utf-8"):
            raise CntbenchError(
                f"jobs = {jobs} starts processes, each of which would run this script again",
                where=where,
                hint='Put what the script does under: if __name__ == "__main__":',
            )


def changes(
    trajectory: str | None,
    tasks: Names | None,
    ablations: Names | None,
    prompts: int | None,
    seed: int | None,
    dtype: str | None = None,
    blocks: int | None = None,
) -> dict[str, Any]:
    """Return the keys of a study that are asked to be otherwise."""
    asked = {
        "trajectory": trajectory,
        "tasks": None if tasks is None else names(tasks),
        "ablations": None if ablations is None else names(ablations),
        "prompts": prompts,
        "seed": seed,
        "dtype": dtype,
        "blocks": blocks,
    }
    return {key: value for key, value in asked.items() if value is not None}


def names(given: Names) -> tuple[str, ...]:
    """Return one name, or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def folders(given: Folders) -> tuple[Path, ...]:
    """Return one path, or several, as several."""
    return (Path(given),) if isinstance(given, str | Path) else tuple(map(Path, given))
