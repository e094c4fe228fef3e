"""Checked options of the command line and of Python."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Sized
from contextlib import suppress
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from cntbench.errors import CntbenchError, shown, unknown
from cntbench.runs.arguments import plain

#: One name, or several; files of prompts are named by their paths.
Names = str | PathLike[str] | Sequence[str] | Sequence[PathLike[str]]

#: Checkpoints: a text as on the command line, a step, a slice of them, or several of these.
Checkpoints = str | int | slice | Sequence[str | int]

Choice = TypeVar("Choice", bound=StrEnum)


def one_of(choices: type[Choice], kind: str, name: str, where: str) -> Choice:
    """Return the choice of a name; an error names the nearest match of an unknown name."""
    allowed = [str(choice) for choice in choices]
    name = name if isinstance(name, str) else shown(name)
    if name not in allowed:
        raise unknown(kind, name, allowed, where=where)
    return choices(name)


def check_script(jobs: int, where: str, device: str = "cpu") -> None:
    """Raise an error if new processes would run the caller's script, and this call in it, again.

    A GPU has a process of its own, also if there is one.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if (jobs < 2 and device == "cpu") or script is None:
        return
    started = f"jobs = {jobs}" if jobs > 1 else f"device = {device!r}"
    with suppress(OSError, UnicodeDecodeError):
        if "__name__" not in Path(script).read_text(encoding="utf-8"):
            raise CntbenchError(
                f"{started} starts processes, each of which would run this script again",
                where=where,
                hint='Put the content of the script under: if __name__ == "__main__":',
            )


class ComparedKeys(TypedDict, total=False):
    """Keys of a study that `cntbench.compare` changes; None leaves one as it is."""

    trajectory: str | None
    tasks: Names | None
    ablations: Names | None
    prompts: int | None
    seed: int | None
    experts: bool | None


class StudyKeys(ComparedKeys, total=False):
    """Keys of a study that its users change; None leaves one as it is.

    `cntbench.specs.StudySpec` says what each means.
    """

    dtype: str | None
    blocks: int | None
    untrained: int | None
    checkpoints: Checkpoints | None
    layers: Checkpoints | None
    components: Names | None
    targets: Names | None
    keep: Names | None
    until_se: float | None
    seeds: str | int | Sequence[int] | None


#: Keys of a study whose value is one name or several.
NAMES = ("tasks", "ablations", "components", "targets", "keep")


def study_changes(**keys: Unpack[StudyKeys]) -> dict[str, Any]:
    """Return the keys of a study that are not None, and their values as a spec has them.

    Unknown keys stay: they are refused, with the nearest match, where the spec is made. No seeds,
    such as ``range(0)``, are refused; the text ``""`` is that of a study without seeds.
    """
    seeds = plain(keys.get("seeds"))
    if isinstance(seeds, Sized) and not isinstance(seeds, str) and not len(seeds):
        raise CntbenchError(
            "there is no seed",
            where="seeds",
            hint="Name one or more, or leave seeds out to measure one run.",
        )
    return {
        key: name_tuple(value, key) if key in NAMES else plain(value)  # type: ignore[arg-type]
        for key, value in keys.items()
        if value is not None
    }


def name_tuple(names: Names, where: str) -> tuple[str, ...]:
    """Return one or several names, the values of an argument, as a tuple.

    Files of prompts are named by their paths.
    """
    if isinstance(names, str | PathLike):
        return (str(names),)
    listed = tuple(names) if isinstance(names, Iterable) and not hasattr(names, "shape") else names
    if not isinstance(listed, tuple) or not all(isinstance(n, str | PathLike) for n in listed):
        raise CntbenchError(
            f"{shown(names)} is not a name", where=where, hint="Give one name, or a list of names."
        )
    return tuple(map(str, listed))
