"""Tidy tables: one row for each measurement, with labels and numbers in columns.

``docs/exchange.md`` explains every column. Labels are categories, which store each text once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cntbench.accessor.cnt import Cnt
from cntbench.dynamics.null_summary import STATISTICS
from cntbench.dynamics.role_summary import OF_COMPONENTS, OF_GATEKEEPERS, SIDE
from cntbench.dynamics.roles import ROLES
from cntbench.results.schema import HEAD_SCORES
from cntbench.results.selection import CELL
from cntbench.results.storage import make_folder

#: Table and label columns of a metric, by its dims besides task, ablation and checkpoint.
_METRICS: Mapping[tuple[str, ...], tuple[str, tuple[str, ...]]] = {
    (): ("metrics", ()),
    ("source",): ("component_metrics", ("component",)),
    ("target",): ("component_metrics", ("component",)),
    ("component",): ("component_metrics", ("component",)),
    ("source", "layer"): ("layer_metrics", ("component", "layer")),
    ("target", "layer"): ("layer_metrics", ("component", "layer")),
    ("lag",): ("lag_metrics", ("lag",)),
    ("other_checkpoint",): ("pair_metrics", ("other_checkpoint",)),
}
#: Columns of statistics that have other names in the group ``nulls``.
_STATISTICS = {"mean": "null_mean", "standard_deviation": "null_standard_deviation"}
#: First column names of each table.
_HEADER = re.compile(
    "(metric,)?task,ablation,checkpoint,step,|task,checkpoint,step,readout,|checkpoint,step,"
    "|task,ablation,claim,"
)
_OF_CELLS = (*CELL, "step")
_STATUS = ("status", "status_reason")
_OF_TESTS = (
    *("statistic", "null_model", "rules_out", "minimum"),
    *("value", "null", "lower", "upper", "p_value", "reason"),
)


def edges(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each feasible edge of each task by ablation by checkpoint."""
    root = tree.to_dataset(inherit=False)
    numbers = ["influence", "influence_se", "edge_effect", "edge_effect_se"]
    ends = np.nonzero(Cnt(root).feasible.values)
    source, target = (xr.Variable("edge", index) for index in ends)
    film = root[[*numbers, *_STATUS]].isel(source=source, target=target)
    columns = {name: film[name] for name in (*_OF_CELLS, "source", "target", *numbers, *_STATUS)}
    frame = _frame(columns, film.sizes, (*CELL, "edge"))
    for side in ("source", "target"):  # also the components without edges
        frame[side] = frame[side].cat.set_categories([str(name) for name in root[side].values])
    return frame


def components(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each component of each task by ablation by checkpoint."""
    root = tree.to_dataset(inherit=False)
    columns = {name: root[name] for name in _OF_CELLS} | {"component": root["source"]}
    for name in ("layer", "kind", "head", "expert"):
        if f"source_{name}" in root:
            columns[name] = root[f"source_{name}"]
    columns |= {name: root[name] for name in HEAD_SCORES if name in root}
    for readout in map(str, root["readout"].values):
        for name in ("effect", "effect_se"):
            columns[f"{readout}_{name}"] = root[f"readout_{name}"].sel(readout=readout)
    if "roles" in tree.children:
        roles = tree.children["roles"].to_dataset(inherit=False)
        for role in ROLES:
            for name in OF_COMPONENTS:
                columns[f"{role}_{name}"] = roles[f"{role}_{name}"].rename({SIDE[role]: "source"})
        for name in OF_GATEKEEPERS:
            if name != "change" and f"gatekeeper_{name}" in roles:
                values = roles[f"gatekeeper_{name}"].rename(component="source")
                columns[f"gatekeeper_{name}"] = values
    columns |= {name: root[name] for name in _STATUS}
    return _frame(columns, root.sizes, (*CELL, "source"), plain=("kind",))


def readouts(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each readout of the clean model on each task at each checkpoint."""
    root = tree.to_dataset(inherit=False)
    columns = {name: root[name] for name in ("task", "checkpoint", "step", "readout")}
    columns |= {name: root[f"readout_{name}"] for name in ("unit", "value", "se")}
    return _frame(columns, root.sizes, ("task", "checkpoint", "readout"))


def checkpoints(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each checkpoint."""
    root = tree.to_dataset(inherit=False)
    names = [n for n in ("checkpoint", "step", "tokens_seen", "revision") if n in root.coords]
    return pd.DataFrame({name: root[name].values for name in names})


def metrics(tree: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a table for each kind of metric: of graphs, of components, …"""
    root = tree.to_dataset(inherit=False)
    group = tree.children["metrics"].to_dataset(inherit=False)
    nulls = tree.children["nulls"].to_dataset(inherit=False) if "nulls" in tree.children else {}
    parts: dict[str, list[pd.DataFrame]] = {}
    for name, values in group.data_vars.items():
        dims = tuple(str(dim) for dim in values.dims if dim not in CELL)
        table, labels = _METRICS[dims]
        columns = {"metric": xr.DataArray(str(name))} | {name: root[name] for name in _OF_CELLS}
        for dim, column in zip(dims, labels, strict=True):
            columns[column] = root[dim] if dim in root else group[dim]
        columns["value"] = values
        for statistic in STATISTICS if name in nulls else ():
            column = _STATISTICS.get(statistic, statistic)
            columns[column] = nulls[name].sel(statistic=statistic)
        frame = _frame(columns, values.sizes, (*CELL, *dims), plain=("metric", *labels))
        parts.setdefault(table, []).append(frame)
    for table, frames in parts.items():
        yield table, pd.concat(frames, ignore_index=True)


def claims(tree: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the table of verdicts and the table of the tests behind them."""
    group = tree.children["claims"].to_dataset(inherit=True)
    dims = ("task", "ablation", "claim")
    labels = {dim: group[dim] for dim in dims}
    verdicts = {name: group[name] for name in ("verdict", "reason", "p_value", "corrected_p_value")}
    yield "claims", _frame(labels | verdicts, group.sizes, dims, plain=verdicts)
    tests = {name: group[f"test_{name}"] for name in _OF_TESTS}
    numbers = {"test": xr.DataArray(np.arange(group.sizes["test"]), dims="test")}
    frame = _frame(labels | numbers | tests, group.sizes, (*dims, "test"), plain=tests)
    yield "claim_tests", frame[frame["statistic"] != ""]


def write_tables(
    tree: xr.DataTree, folder: Path, suffix: str, write: Callable[[pd.DataFrame, Path], None]
) -> list[Path]:
    """Write all tables of a result into a folder, as ``TABLE`` + suffix, and return the files."""
    make_folder(folder)
    paths = []
    for name, table in tables(tree):
        paths.append(folder / f"{name}{suffix}")
        write(table, paths[-1])
    return paths


def is_header(line: str) -> bool:
    """Return whether comma-separated column names are those of a table."""
    return _HEADER.match(line) is not None


def table_names(tree: xr.DataTree) -> Iterator[str]:
    """Yield the names of all tables that a result may have."""
    yield from ("checkpoints", "edges", "components", "readouts")
    if "metrics" in tree.children:
        yield from dict.fromkeys(table for table, _ in _METRICS.values())
    if "claims" in tree.children:
        yield from ("claims", "claim_tests")


def tables(tree: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and rows of every table of a result."""
    yield "checkpoints", checkpoints(tree)
    yield "edges", edges(tree)
    yield "components", components(tree)
    yield "readouts", readouts(tree)
    if "metrics" in tree.children:
        yield from metrics(tree)
    if "claims" in tree.children:
        yield from claims(tree)


def _frame(
    columns: Mapping[str, xr.DataArray],
    sizes: Mapping[Any, int],
    dims: tuple[str, ...],
    *,
    plain: Collection[str] = (),
) -> pd.DataFrame:
    """Return columns flattened over dims, repeated along missing ones; texts as categories.

    Labels are categories in their own order, other texts sorted; ``plain`` ones are no categories.
    """
    flat = {}
    for name, values in columns.items():
        if name in plain or values.dtype.kind not in "OU":
            flat[name] = _flat(values, sizes, dims)
            continue
        texts = values.values.ravel().astype(str).astype(object)
        codes, known = pd.factorize(texts, sort=values.name not in values.coords)
        indices = _flat(values.copy(data=codes.reshape(values.shape)), sizes, dims)
        flat[name] = pd.Categorical.from_codes(indices, categories=list(known))
    return pd.DataFrame(flat)


def _flat(values: xr.DataArray, sizes: Mapping[Any, int], dims: tuple[str, ...]) -> Any:
    missing = {dim: sizes[dim] for dim in dims if dim not in values.dims}
    return values.drop_vars(values.coords).expand_dims(missing).transpose(*dims).values.ravel()
