"""Tidy tables: one row for each measurement, with labels and numbers in columns.

``docs/exchange.md`` explains every column. Labels are categories, which store each text once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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
_CLAIM_TESTS = ("statistic", "null_model", "rules_out", "minimum")


def edges(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each feasible edge of each task by ablation by checkpoint."""
    root = tree.to_dataset(inherit=False)
    source, target = np.nonzero(Cnt(root).feasible.values)
    shape = (*root["status"].shape, len(source))
    columns = _cells(root, shape)
    for side, index in (("source", source), ("target", target)):
        columns[side] = _labels(root[side].values, np.broadcast_to(index, shape))
    for name in ("influence", "influence_se", "edge_effect", "edge_effect_se"):
        matrices = root[name].transpose(*CELL, "source", "target").values
        columns[name] = matrices[..., source, target].ravel()
    return pd.DataFrame(columns | _status(root, shape))


def components(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each component of each task by ablation by checkpoint."""
    root = tree.to_dataset(inherit=False)
    shape = (*root["status"].shape, root.sizes["source"])
    index = np.broadcast_to(np.arange(shape[-1]), shape)
    columns = _cells(root, shape)
    columns["component"] = _labels(root["source"].values, index)
    known = ("layer", "kind", "head", "expert")
    for name in (name for name in known if f"source_{name}" in root):
        columns[name] = root[f"source_{name}"].values[index.ravel()]
    for name in (name for name in HEAD_SCORES if name in root):
        columns[name] = _full(root[name], root.sizes, (*CELL, "source"))
    for readout in map(str, root["readout"].values):
        for name in ("readout_effect", "readout_effect_se"):
            column = f"{readout}_{name.removeprefix('readout_')}"
            values = root[name].sel(readout=readout)
            columns[column] = _full(values, root.sizes, (*CELL, "source"))
    if "roles" in tree.children:
        roles = tree.children["roles"].to_dataset(inherit=False)
        for role in ROLES:
            for name in OF_COMPONENTS:
                column = f"{role}_{name}"
                columns[column] = _full(roles[column], root.sizes, (*CELL, SIDE[role]))
        for name in OF_GATEKEEPERS:
            column = f"gatekeeper_{name}"
            if name != "change" and column in roles:
                columns[column] = _full(roles[column], root.sizes, (*CELL, "component"))
    return pd.DataFrame(columns | _status(root, shape))


def readouts(tree: xr.DataTree) -> pd.DataFrame:
    """Return a row for each readout of the clean model on each task at each checkpoint."""
    root = tree.to_dataset(inherit=False)
    dims = ("task", "checkpoint", "readout")
    shape = tuple(root.sizes[dim] for dim in dims)
    index = dict(zip(dims, np.indices(shape), strict=True))
    return pd.DataFrame(
        {
            "task": _labels(root["task"].values, index["task"]),
            "checkpoint": _labels(root["checkpoint"].values, index["checkpoint"]),
            "step": root["step"].values[index["checkpoint"].ravel()],
            "readout": _labels(root["readout"].values, index["readout"]),
            "unit": _labels(root["readout_unit"].values, index["readout"]),
            "value": root["readout_value"].transpose(*dims).values.ravel(),
            "se": root["readout_se"].transpose(*dims).values.ravel(),
        }
    )


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
        table, label_columns = _METRICS[dims]
        values = values.transpose(*CELL, *dims)
        indices = np.indices(values.shape)[len(CELL) :]
        columns: dict[str, Any] = {
            "metric": np.full(values.size, str(name)),
            **_cells(root, values.shape),
        }
        for dim, column, index in zip(dims, label_columns, indices, strict=True):
            labels = root[dim] if dim in root else group[dim]
            columns[column] = labels.values[index.ravel()]
        columns["value"] = values.values.ravel()
        for statistic in STATISTICS if name in nulls else ():
            null_values = nulls[name].sel(statistic=statistic).transpose(*CELL, *dims)
            columns[_STATISTICS.get(statistic, statistic)] = null_values.values.ravel()
        parts.setdefault(table, []).append(pd.DataFrame(columns))
    for table, frames in parts.items():
        yield table, pd.concat(frames, ignore_index=True)


def claims(tree: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the table of verdicts and the table of the tests behind them."""
    group = tree.children["claims"].to_dataset(inherit=True)
    for table, dims, prefix, names in (
        (
            "claims",
            ("task", "ablation", "claim"),
            "",
            ("verdict", "reason", "p_value", "corrected_p_value"),
        ),
        (
            "claim_tests",
            ("task", "ablation", "claim", "test"),
            "test_",
            (*_CLAIM_TESTS, "value", "null", "lower", "upper", "p_value", "reason"),
        ),
    ):
        shape = tuple(group.sizes[dim] for dim in dims)
        index = dict(zip(dims, np.indices(shape), strict=True))
        columns = {
            dim: _labels(group[dim].values, index[dim]) for dim in ("task", "ablation", "claim")
        }
        if "test" in dims:
            columns["test"] = index["test"].ravel()
        for name in names:
            columns[name] = _full(group[f"{prefix}{name}"], group.sizes, dims)
        frame = pd.DataFrame(columns)
        yield table, frame[frame["statistic"] != ""] if "test" in dims else frame


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


def _cells(root: xr.Dataset, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the label columns of cells, whose dims are the first ones of a shape."""
    columns: dict[str, Any] = {}
    for dim, indices in zip(CELL, np.indices(shape, sparse=True), strict=False):
        index = np.broadcast_to(indices, shape)
        columns[dim] = _labels(root[dim].values, index)
        if dim == "checkpoint":
            columns["step"] = root["step"].values[index.ravel()]
    return columns


def _status(root: xr.Dataset, shape: tuple[int, ...]) -> dict[str, Any]:
    columns = {}
    for name in ("status", "status_reason"):
        labels, index = np.unique(root[name].values.astype(str), return_inverse=True)
        index = index.reshape(*root[name].shape, *[1] * (len(shape) - len(CELL)))
        columns[name] = _labels(labels, np.broadcast_to(index, shape))
    return columns


def _full(values: xr.DataArray, sizes: Mapping[Any, int], dims: tuple[str, ...]) -> Any:
    """Return values flattened over dims, repeated along missing ones."""
    missing = {dim: sizes[dim] for dim in dims if dim not in values.dims}
    return values.drop_vars(values.coords).expand_dims(missing).transpose(*dims).values.ravel()


def _labels(values: Any, index: Any) -> pd.Categorical:
    """Return the labels at an index; each text is stored once."""
    codes, names = pd.factorize(np.asarray(values).astype(str).astype(object))
    return pd.Categorical.from_codes(codes[index.ravel()], categories=list(names))
