"""The dataset: the table of `cntbench.results.schema`, and the groups of a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr

import cntbench
from cntbench.results.schema import COORDINATES, VARIABLES, Variable
from generate.markdown import code, table

ROOT = Path(__file__).parents[2]

#: A study that takes a few seconds and has all groups; the numbers are of no interest.
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
        [code(name), ", ".join(one.dims), one.type, _values(one), _optional(one)]
        for name, one in variables.items()
    ]
    return table(["name", "dims", "type", "unit and range", "what it is"], rows)


def _optional(one: Variable) -> str:
    return f"{one.doc} (may be missing)" if one.optional else one.doc


def _values(one: Variable) -> str:
    if one.values:
        return code(*one.values)
    parts = [f"[{one.units}]"] if one.units not in (None, "1") else []
    if math.isfinite(one.lower) and math.isfinite(one.upper):
        parts.append(f"{one.lower:g} to {one.upper:g}")
    elif math.isfinite(one.lower):
        parts.append(f"at least {one.lower:g}")
    return " ".join(parts)


@cache
def result() -> xr.DataTree:
    """Return a result with all groups but the comparison, of the checkpoints in ``golden``."""
    with TemporaryDirectory() as folder:
        spec = Path(folder) / "specs" / "studies" / "tiny.toml"
        spec.parent.mkdir(parents=True)
        spec.write_text(STUDY.format(trajectory=ROOT / "golden" / "nano" / "trajectory"))
        return cntbench.run(
            "tiny", output=Path(folder) / "run", specs=spec.parents[1], progress=False
        )


def group(name: str) -> str:
    """Return a table of a group's variables."""
    found = result().children[name].to_dataset(inherit=False)
    rows = [
        [code(variable), ", ".join(map(str, values.dims)), str(values.attrs.get("long_name", ""))]
        for variable, values in found.data_vars.items()
    ]
    return table(["variable", "dims", "what it is"], rows)


def _group(name: str) -> Callable[[], str]:
    return lambda: group(name)


GENERATED: dict[str, Callable[[], str]] = {
    "coordinates": lambda: schema(COORDINATES),
    "variables": lambda: schema(VARIABLES),
    **{
        f"group {name}": _group(name)
        for name in ("metrics", "roles", "phases", "claims", "untrained")
    },
}
