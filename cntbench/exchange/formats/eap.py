"""JSON of EAP-IG and MIB: one graph of one task by one ablation at one checkpoint.

`cntbench.comparison.circuits.faithfulness.scores_of` defines the score of an edge: positive where
patching it hurts the readout, as changes of a loss are in MIB; never negative for methods
whose scores have no sign.
An edge into a head stands for those into its queries, keys and values, a third of the score each.
No method scores the edges from the input: they get the largest score, so that they are in every
circuit. A graph that was imported is written with its own scores.

Source: ``Graph.to_json`` of EAP-IG (Hanna et al. 2024, arXiv 2403.17806), which MIB reads
(Mueller et al. 2025, arXiv 2504.13151).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.components import Component, components, feasible
from cntbench.errors import CntbenchError
from cntbench.exchange.eap_graph import GROUP, INPUT, LOGITS, eap_name
from cntbench.exchange.export import check_single, measured_cells, write_cells
from cntbench.files.output import FileKind, contains
from cntbench.results.storage import write_text

SUFFIXES: tuple[str, ...] = (".json",)
KIND = FileKind("a graph of EAP-IG", contains(b'"parallel_attn_mlp"'))

_WHOLE = "Export the whole result, of all components, or graphml, gexf, csv or parquet."
#: An edge's score, and whether the circuit has it.
Edges = Mapping[str, tuple[float, bool]]


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the only graph of a result.

    Raises
    ------
    CntbenchError
        If the result has several graphs, experts as components, or was not measured, or not all of
        its edges were.
    """
    check_single(tree, path, "graph of EAP-IG", "eap")
    _write(tree, dict.fromkeys(("task", "ablation", "checkpoint"), 0), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` writes."""
    return (path for path, _ in measured_cells(tree, folder, *SUFFIXES))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write every measured graph: ``TASK/ABLATION/CHECKPOINT.json``."""
    return write_cells(
        measured_cells(tree, folder, *SUFFIXES), lambda cell, path: _write(tree, cell, path)
    )


def _write(tree: xr.DataTree, cell: Mapping[str, int], path: Path) -> None:
    root = tree.to_dataset(inherit=False)
    if "expert" in root["source_kind"].values:
        raise CntbenchError(
            "graphs of EAP-IG have no experts as nodes: a layer has heads and one MLP",
            where=str(path),
            hint="Measure without the key experts, or export graphml, gexf, csv or parquet.",
        )
    nodes = _nodes(root, str(path))
    names = edge_names(nodes)
    edges = (
        _imported(tree.children[GROUP].to_dataset().isel(checkpoint=cell["checkpoint"]))
        if GROUP in tree.children
        else _scored(root, cell, names, str(path))
    )
    write_text(path, json.dumps(graph_content(nodes, edges)))


def graph_content(nodes: tuple[Component, ...], edges: Edges) -> dict[str, Any]:
    """Return what the file of a graph of some components and edges holds."""
    ends = {part for name, (_, in_graph) in edges.items() if in_graph for part in _ends(name)}
    names = [INPUT, *map(eap_name, nodes), LOGITS]
    return {
        "cfg": {
            "n_layers": 1 + max(node.layer for node in nodes),
            "n_heads": sum(node.layer == 0 and node.head is not None for node in nodes),
            "parallel_attn_mlp": nodes[-1].stage == nodes[-1].layer,
        },
        "nodes": {name: {"in_graph": name in ends or name == LOGITS} for name in names},
        "edges": {
            n: {"score": score, "in_graph": in_graph} for n, (score, in_graph) in edges.items()
        },
    }


def edge_names(nodes: tuple[Component, ...]) -> dict[str, tuple[int, int]]:
    """Return every edge of a model by its name, with its indices among the scores of circuits."""
    reaches = np.ones((len(nodes) + 1, len(nodes) + 1), dtype=bool)
    reaches[1:, :-1] = feasible(nodes)
    sources = [INPUT, *map(eap_name, nodes)]
    targets = [
        *(
            [eap_name(node)] if node.head is None else [f"{eap_name(node)}<{x}>" for x in "qkv"]
            for node in nodes
        ),
        [LOGITS],
    ]
    return {
        f"{sources[s]}->{name}": (int(s), int(t))
        for s, t in np.argwhere(reaches)
        for name in targets[t]
    }


def _ends(edge: str) -> tuple[str, str]:
    source, _, target = edge.partition("->")
    return source, target.partition("<")[0]


def _nodes(root: xr.Dataset, where: str) -> tuple[Component, ...]:
    """Return the components of a film; its parallel blocks have fewer edges than sequential ones.

    The number of edges is that of the model, or if it is not recorded, that of what was measured.
    """
    size = int(root["source_layer"].max()) + 1, int(root["source_head"].max()) + 1
    parallel, sequential = (components(*size, parallel=parallel) for parallel in (True, False))
    if [node.name for node in parallel] != list(map(str, root["source"].values)):
        what = "graphs of EAP-IG have all components of a model, and the selection lacks some"
        raise CntbenchError(what, where=where, hint=_WHOLE)
    measured = np.isfinite(root["influence"].values).any(axis=(0, 1, 2))
    edges = root.attrs.get("feasible_edges", 0)
    within = (measured & ~feasible(parallel)).any()
    return sequential if within or edges > feasible(parallel).sum() else parallel


def _scored(
    root: xr.Dataset, cell: Mapping[str, int], names: Mapping[str, tuple[int, int]], where: str
) -> dict[str, tuple[float, bool]]:
    """Return the scores of all edges; raise a `CntbenchError` if some were not measured."""
    from cntbench.comparison.circuits.faithfulness import (  # imports torch
        observed_readout,
        scores_of,
    )

    graph = root.isel(cell)
    readout = observed_readout(root, str(graph["task"].item()))
    values = scores_of(graph, readout).values
    measured = np.isfinite(values)
    measured[0] = True  # from the input
    # A change relative to a readout of 0 has no score, but was measured.
    measured[1:, -1] |= np.isfinite(graph["readout_effect"].sel(readout=readout).values)
    lacking = sum(not measured[index] for index in {*names.values()})
    if lacking:
        what = f"graphs of EAP-IG have a score for every edge, and {lacking} were not measured"
        raise CntbenchError(what, where=where, hint=_WHOLE)
    shares: NDArray[np.float64] = np.array([1 + 2 * name.endswith(">") for name in names])
    scores = np.array([values[index] for index in names.values()]) / shares
    scores = np.where(np.isfinite(scores), scores, np.nanmax(abs(scores)))
    return {name: (float(score), True) for name, score in zip(names, scores, strict=True)}


def _imported(group: xr.Dataset) -> dict[str, tuple[float, bool]]:
    rows = zip(group["edge"].values, group["score"].values, group["in_graph"].values, strict=True)
    return {str(name): (float(s), bool(in_graph)) for name, s, in_graph in rows if np.isfinite(s)}
