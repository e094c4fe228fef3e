"""The dataset: the table of `cntbench.results.schema`, and the groups of a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr

import cntbench
from cntbench.results.schema import COORDINATES, KEPT, VARIABLES, Variable
from generate.markdown import code, table

ROOT = Path(__file__).parents[2]

#: A study that takes a few seconds and has all groups; its numbers do not matter.
STUDY = """version = 1
summary = "All groups, fast."
trajectory = "dir:{trajectory}"
tasks = ["induction"]
ablations = ["zero"]
prompts = 2
untrained = 1
null_draws = 1
planted = false
"""


def schema(variables: Mapping[str, Variable]) -> str:
    """Return a table of variables or coordinates."""
    rows = [
        [
            code(name),
            ", ".join(variable.dims),
            variable.type,
            _values(variable),
            _optional(variable),
        ]
        for name, variable in variables.items()
    ]
    return table(["name", "dims", "type", "unit and range", "meaning"], rows)


def _optional(variable: Variable) -> str:
    return f"{variable.doc} (may be missing)" if variable.optional else variable.doc


def _values(variable: Variable) -> str:
    if variable.values:
        return code(*variable.values)
    parts = [f"[{variable.units}]"] if variable.units not in (None, "1") else []
    if math.isfinite(variable.lower) and math.isfinite(variable.upper):
        parts.append(f"{variable.lower:g} to {variable.upper:g}")
    elif math.isfinite(variable.lower):
        parts.append(f"at least {variable.lower:g}")
    return " ".join(parts)


@cache
def result() -> xr.DataTree:
    """Return a result with all groups but the comparison, of two checkpoints in ``golden``."""
    with TemporaryDirectory() as folder:
        spec = Path(folder) / "specs" / "studies" / "tiny.toml"
        spec.parent.mkdir(parents=True)
        spec.write_text(STUDY.format(trajectory=ROOT / "golden" / "nano" / "trajectory"))
        return cntbench.run(
            "tiny",
            output=Path(folder) / "run",
            specs=spec.parents[1],
            jobs=1,
            progress=False,
            checkpoints="count=2",
        )


def group(name: str) -> str:
    """Return a table of a group's variables."""
    dataset = result().children[name].to_dataset(inherit=False)
    rows = [
        [
            code(variable),
            ", ".join(map(str, values.dims)),
            str(values.attrs.get("comment", values.attrs.get("long_name", ""))),
        ]
        for variable, values in dataset.data_vars.items()
    ]
    return table(["variable", "dims", "meaning"], rows)


def _group(name: str) -> Callable[[], str]:
    return lambda: group(name)


GENERATED: dict[str, Callable[[], str]] = {
    "coordinates": lambda: schema(COORDINATES),
    "variables": lambda: schema(VARIABLES),
    "kept": lambda: schema(KEPT),
    **{
        f"group {name}": _group(name)
        for name in ("metrics", "roles", "phases", "claims", "untrained")
    },
}
