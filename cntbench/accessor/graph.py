"""One moment of the film as a networkx graph, with the dataset's variables as attributes."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import xarray as xr

from cntbench.dynamics.roles import ROLES, error, rank, strength, top
from cntbench.errors import CheckpointError
from cntbench.results.schema import HEAD_SCORES, validate_edges
from cntbench.results.selection import component_attributes

#: Attributes of an edge, and their variables.
OF_EDGES = {
    "weight": "influence",
    "standard_error": "influence_se",
    "effect": "edge_effect",
    "effect_standard_error": "edge_effect_se",
}
#: Attributes of the dataset that are needed to read the numbers.
OF_GRAPHS = ("source", "sign_convention", "normalisation")


def cell_graph(cell: xr.Dataset) -> nx.DiGraph:
    """Return one task by one ablation at one checkpoint as `cntbench.accessor.cnt.Cnt.graph` does.

    Raises
    ------
    CheckpointError
        If the cell was not measured.
    StorageError
        If there is influence where there is no edge.
    """
    status = str(cell["status"].item())
    if status not in ("ok", "duplicate"):
        raise CheckpointError(
            f"checkpoint {cell['checkpoint'].item()!r} was not measured: {status}, "
            f"{cell['status_reason'].item()}",
            hint="Choose another one; status says which are ok.",
        )
    validate_edges(cell, "the dataset")
    graph: nx.DiGraph = nx.DiGraph(**_about(cell, status))
    nodes = dict([*_components(cell, "source"), *_components(cell, "target")])
    graph.add_nodes_from(sorted(nodes.items(), key=lambda node: _causal(node[1])))
    _describe(graph, cell)
    sources, targets = (cell[side].values.astype(str).tolist() for side in ("source", "target"))
    arrays = {
        name: cell[variable].variable.transpose("source", "target").values
        for name, variable in OF_EDGES.items()
        if variable in cell
    }
    for s, t in np.argwhere(~np.isnan(arrays["weight"])):
        numbers = {name: float(values[s, t]) for name, values in arrays.items()}
        graph.add_edge(sources[s], targets[t], **_defined(numbers))
    return graph


def _about(cell: xr.Dataset, status: str) -> dict[str, Any]:
    labels = {dim: str(cell[dim].item()) for dim in ("task", "ablation", "checkpoint")}
    numbers = {n: int(cell[n].item()) for n in ("step", "tokens_seen") if n in cell.coords}
    provenance = {name: str(cell.attrs[name]) for name in OF_GRAPHS if name in cell.attrs}
    return {
        **labels,
        **numbers,
        "revision": str(cell["revision"].item()),
        "status": status,
        **provenance,
    }


def _components(cell: xr.Dataset, side: str) -> list[tuple[str, dict[str, Any]]]:
    return list(
        zip(cell[side].values.astype(str).tolist(), component_attributes(cell, side), strict=True)
    )


def _causal(node: dict[str, Any]) -> tuple[int, bool, int]:
    """Return the sort key of a node: its layer, then heads before the MLP or the experts."""
    return node["layer"], "head" not in node, node.get("head", node.get("expert", -1))


def _describe(graph: nx.DiGraph, cell: xr.Dataset) -> None:
    """Add the variables and roles of sources to nodes."""
    names = [str(name) for name in cell["source"].values]
    columns = {name: cell[name].values for name in HEAD_SCORES if name in cell}
    for variable, suffix in (("readout_effect", ""), ("readout_effect_se", "_standard_error")):
        if variable in cell:
            values = cell[variable].variable.transpose("readout", "source").values
            for readout, effects in zip(cell["readout"].values, values, strict=True):
                columns[f"{readout}_effect{suffix}"] = effects
    if names == [str(name) for name in cell["target"].values]:
        columns |= _roles(cell)
    for i, name in enumerate(names):
        graph.nodes[name].update(_defined({n: v[i].item() for n, v in columns.items()}))


def _roles(cell: xr.Dataset) -> dict[str, Any]:
    weights, errors = (
        cell[name].variable.transpose("source", "target").values.astype(np.float64)
        for name in ("influence", "influence_se")
    )
    layer = cell["source_layer"].values
    columns = {}
    for role in ROLES:
        strengths = strength(weights, layer, role)
        ranks = rank(strengths)
        columns[f"{role}_strength"] = strengths
        columns[f"{role}_strength_standard_error"] = error(weights, errors, layer, role)
        columns[f"{role}_rank"] = ranks
        columns[f"{role}_top"] = top(ranks)
    return columns


def _defined(numbers: dict[str, float]) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if np.isfinite(number)}
