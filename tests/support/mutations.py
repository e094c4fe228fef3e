"""Input as damage, other programs and people who mean harm make it: mutations of valid files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st

from cntbench.results.netcdf import write_groups
from cntbench.results.storage import CHECKSUM
from cntbench.results.tree import content_checksum

#: As deep as no honest file is nested.
DEPTH = 50_000
#: Text that a terminal, a page or a spreadsheet may take for more than text.
HARMFUL_TEXT = "\x1b[31mred\x1b[0m=1+1<script>"

#: Values that stand where another kind of value belongs.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    math.nan,
    math.inf,
    2**63,
    10**30,
    "",
    "64",
    "x" * 5000,
    "../../x",
    HARMFUL_TEXT,
    [],
    [[]],
    {},
    {"a": {}},
)
ODD_TOML = (
    '""',
    "0",
    "-1",
    "nan",
    "inf",
    "9223372036854775808",
    "true",
    "[]",
    "[[]]",
    "{}",
    '["", ""]',
    '["induction", "induction"]',
    '"' + "x" * 5000 + '"',
    '"\\u001b[31mred"',
    '"../../x"',
    "1979-05-27",
    "[" * DEPTH + "]" * DEPTH,
    "=",
)


def mutated_json(draw: st.DrawFn, content: Any) -> str:
    """Return the text of a JSON file in which one thing is odd."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from(("", "{", "null", "[]", "3", "[" * DEPTH, "\ufeff{}", "{}x")))
    content = json.loads(json.dumps(content))
    holder = {"root": content}
    spot, key = _spot(draw, holder)
    if draw(st.integers(0, 3)) == 0 and spot is not holder:
        del spot[key]
    else:
        spot[key] = draw(st.sampled_from(ODD_VALUES))
    return json.dumps(holder["root"])


def _spot(draw: st.DrawFn, root: dict[str, Any]) -> tuple[Any, Any]:
    """Choose a place in nested data, every depth alike; returns the container and the key."""
    levels: list[list[tuple[Any, Any]]] = [[(root, "root")]]
    while levels[-1]:
        values = [container[key] for container, key in levels[-1]]
        levels.append(
            [(value, key) for value in values if isinstance(value, dict) for key in value]
            + [(v, index) for v in values if isinstance(v, list) for index in range(len(v))]
        )
    return draw(st.sampled_from(draw(st.sampled_from(levels[:-1]))))


def mutated_toml(draw: st.DrawFn, text: str) -> str:
    """Return the text of a TOML file in which a line is odd, missing or doubled."""
    lines = text.splitlines()
    numbers = [number for number, line in enumerate(lines) if "=" in line]
    number = draw(st.sampled_from(numbers))
    key = lines[number].partition("=")[0]
    match draw(st.sampled_from(("value", "value", "value", "gone", "twice", "key", "cut"))):
        case "value":
            lines[number] = f"{key}= {draw(st.sampled_from(ODD_TOML))}"
        case "gone":
            del lines[number]
        case "twice":
            lines.insert(number, lines[number])
        case "key":
            lines[number] = f"{key.strip()}x = 1"
        case "cut":
            lines = [*lines[:number], lines[number][: len(lines[number]) // 2]]
    return "\n".join(lines) + "\n"


def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a file's bytes cut short, with some of them flipped, or with others behind them."""
    match draw(st.sampled_from(("cut", "flip", "zero", "longer"))):
        case "cut":
            return content[: draw(st.integers(0, len(content) - 1))]
        case "flip":
            flipped = bytearray(content)
            for _ in range(draw(st.integers(1, 8))):
                flipped[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
            return bytes(flipped)
        case "zero":
            start = draw(st.integers(0, len(content) - 1))
            return content[:start] + bytes(len(content) - start)
        case _:
            return content + content[:100]


Change = Callable[[st.DrawFn, xr.Dataset, str], xr.Dataset]


def _without(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    return dataset.drop_vars(name)


def _scalar(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    value = draw(st.sampled_from((0.5, -1, "text", math.nan)))
    return dataset.drop_vars(name).assign({name: xr.DataArray(value)})


def _retyped(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    kind = draw(st.sampled_from((str, np.int64, np.float64, np.bool_)))
    variable = dataset[name].variable
    values = variable.values
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    try:
        changed = values.astype(kind)
    except (TypeError, ValueError):
        changed = np.zeros(values.shape, np.float64)
    if kind is str:
        changed = changed.astype(object)
    return dataset.assign({name: (variable.dims, changed, variable.attrs)})


def _filled(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    variable = dataset[name].variable
    if variable.dtype.kind == "f":
        value: object = draw(st.sampled_from((math.nan, math.inf, -1e30, 0.0)))
    elif variable.dtype.kind in "iu":
        value = draw(st.sampled_from((-1, 0, 2**62)))
    else:
        value = draw(st.sampled_from(("", "same", "x" * 5000, HARMFUL_TEXT, "failed", "missing")))
    filled = np.full(variable.shape, value, dtype=object if isinstance(value, str) else None)
    return dataset.assign({name: (variable.dims, filled, variable.attrs)})


def _turned(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    variable = dataset[name].variable
    return dataset.drop_vars(name).assign(
        {name: (variable.dims[::-1], variable.values.T, variable.attrs)}
    )


def _renamed(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    return dataset.rename({name: draw(st.sampled_from((f"{name}x", "=1", "x" * 300)))})


def _other_size(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    dim = draw(st.sampled_from(sorted(map(str, dataset.sizes)) or ["none"]))
    if dim not in dataset.sizes:
        return dataset
    size = dataset.sizes[dim]
    places = draw(st.sampled_from(([], [0], [0] * size, [0, 0], list(range(size))[::-1])))
    return dataset.isel({dim: places})


def _other_attribute(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    values = ("", "{", "[]", "null", "nan", 3, [1, 2], "x" * 5000, "[" * DEPTH, HARMFUL_TEXT)
    changed = dataset.copy()
    holder = draw(st.sampled_from((changed.attrs, changed.attrs, changed[name].attrs)))
    keys = [key for key in sorted(map(str, holder)) if key != CHECKSUM] + ["schema_version"]
    key = draw(st.sampled_from(keys))
    if key in holder and draw(st.integers(0, 3)) == 0:
        del holder[key]
    else:
        holder[key] = draw(st.sampled_from(values))
    return changed


def _one_value(draw: st.DrawFn, dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Only one value is odd: the first."""
    full = _filled(draw, dataset, name)
    values, odd = dataset[name].values.copy(), full[name].values
    if not values.ndim or not values.size:
        return full
    values = values.astype(object) if values.dtype.kind in "US" else values
    values[(0,) * values.ndim] = odd[(0,) * values.ndim]
    return dataset.assign({name: (dataset[name].dims, values, dataset[name].attrs)})


CHANGES: Sequence[Change] = (
    _without,
    _scalar,
    _retyped,
    _filled,
    _one_value,
    _turned,
    _renamed,
    _other_size,
    _other_attribute,
)


def mutated_result(draw: st.DrawFn, tree: xr.DataTree) -> xr.DataTree:
    """Return a result with one to three odd things in its root or in a derived group."""
    groups = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(groups)))
        if path != "/" and draw(st.integers(0, 4)) == 0:
            groups[path] = draw(st.sampled_from((xr.Dataset(), xr.Dataset({"a": 1.0}))))
        names = sorted(map(str, groups[path].variables))
        if names:
            change = draw(st.sampled_from(CHANGES))
            try:
                groups[path] = change(draw, groups[path], draw(st.sampled_from(names)))
            except ValueError:  # xarray cannot hold it, so no file of xarray's does
                continue
    try:
        return xr.DataTree.from_dict(groups)
    except ValueError:
        return tree


def write_sealed(tree: xr.DataTree, path: Path) -> bool:
    """Write whatever it is with a valid checksum; returns whether netCDF can hold it."""
    try:
        sealed = tree.copy()
        sealed.attrs = {**tree.attrs, CHECKSUM: content_checksum(tree)}
        groups = {node.path: node.to_dataset(inherit=False) for node in sealed.subtree}
        write_groups(groups, path, mark="written_by_a_test")
    except Exception:
        path.unlink(missing_ok=True)
        return False
    return True
