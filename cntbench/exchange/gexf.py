"""GEXF 1.2 for Gephi: the film of one task by one ablation, as a graph that changes in time.

Time is the training step. A checkpoint's numbers hold from its step to that of the next checkpoint
of the trajectory, those of the last one as long as those before it. Where a checkpoint was not
measured, edges are not there and nothing has a value. Edges carry ``influence``, its
``standard_error`` and the ``effect`` on the readout, where they are defined; nodes their layer and
kind, their place in a layered drawing, and their strengths as spreader and gatherer.

Gephi takes the attribute whose id is ``weight`` for the weight of edges that changes in time, so
that is the id of ``influence``. networkx, which fixes that id for a weight that does not change,
reads the last one of its values.
"""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import networkx as nx
import numpy as np
import xarray as xr
from networkx.readwrite.gexf import GEXFWriter
from numpy.typing import NDArray

from cntbench.accessor.cnt import Cnt
from cntbench.dynamics.role_summary import SIDE
from cntbench.dynamics.roles import ROLES
from cntbench.errors import CntbenchError
from cntbench.exchange.writing import measured, write_xml
from cntbench.storage import file_name, make_folder

SUFFIXES: tuple[str, ...] = (".gexf",)
#: Distances between the layers of the drawing, and between the components of a layer.
_ROW, _COLUMN = 200.0, 100.0
#: Dynamic attributes of edges, and the variables that they come from.
_OF_EDGES = {
    "influence": "influence",
    "standard_error": "influence_se",
    "effect": "edge_effect",
}

#: Values with the steps from which and to which they hold.
Spans = list[tuple[float, float, float]]


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the one film that a result holds.

    Raises
    ------
    CntbenchError
        If it holds several, or nothing of it was measured.
    """
    root = tree.to_dataset(inherit=False)
    several = [dim for dim in ("task", "ablation") if root.sizes[dim] > 1]
    if several:
        raise CntbenchError(
            "a GEXF file holds one task by one ablation, and there are "
            f"{root.sizes['task']} by {root.sizes['ablation']}",
            where=str(path),
            hint=f"Choose one by {', '.join(f'--{dim}' for dim in several)}; or name a folder, "
            "with --format gexf.",
        )
    _write(root.isel(task=0, ablation=0), Cnt(tree).roles().isel(task=0, ablation=0), path)


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write every film of which something was measured: ``TASK/ABLATION.gexf``."""
    root, roles = tree.to_dataset(inherit=False), Cnt(tree).roles()
    written = []
    for task, ablation in product(root["task"].values, root["ablation"].values):
        at = {"task": task, "ablation": ablation}
        if not measured(root.sel(at)).any():
            continue
        name = file_name(str(ablation))
        path = folder / file_name(str(task)) / f"{name}.gexf"
        make_folder(path.parent)
        _write(root.sel(at), roles.sel(at), path)
        written.append(path)
    return written


def spans(steps: NDArray[np.integer]) -> list[tuple[float, float]]:
    """Return from which and to which step each checkpoint's numbers hold.

    Examples
    --------
    >>> spans(np.array([0, 8, 100]))
    [(0.0, 8.0), (8.0, 100.0), (100.0, 192.0)]
    """
    starts = [float(step) for step in steps]
    last = starts[-1] - starts[-2] if len(starts) > 1 else 1.0
    return list(pairwise([*starts, starts[-1] + last]))


def film_graph(cell: xr.Dataset, roles: xr.Dataset) -> nx.DiGraph:
    """Return the film of one task by one ablation, with attributes as networkx's writer takes them.

    Parameters
    ----------
    cell
        A result of which a task and an ablation have been taken.
    roles
        Of the same: ``spreader_strength`` and ``gatherer_strength``.

    Raises
    ------
    CntbenchError
        If no checkpoint was measured.
    """
    known = measured(cell)
    if not known.any():
        raise CntbenchError(
            f"no checkpoint of {cell['task'].item()} by {cell['ablation'].item()} was measured",
            hint="cntbench audit says why.",
        )
    times = [span for span, there in zip(spans(cell["step"].values), known, strict=True) if there]
    shown = cell.isel(checkpoint=known)
    title = f"{cell['task'].item()}, {cell['ablation'].item()}"
    graph: nx.DiGraph = nx.DiGraph(mode="dynamic", name=title)
    names = [str(name) for name in cell["source"].values]
    layers = [int(layer) for layer in cell["source_layer"].values]
    strengths = {
        f"{role}_strength": roles[f"{role}_strength"]
        .transpose("checkpoint", SIDE[role])
        .values[known]
        for role in ROLES
    }
    for i, name in enumerate(names):
        head = int(cell["source_head"].values[i])
        static: dict[str, Any] = {"layer": layers[i], "kind": str(cell["source_kind"].values[i])}
        if head >= 0:
            static["head"] = head
        column = i - layers.index(layers[i])
        position = {"x": column * _COLUMN, "y": layers[i] * _ROW, "z": 0.0}
        dynamic = {what: _spans(values[:, i], times) for what, values in strengths.items()}
        graph.add_node(name, **static, **_some(dynamic), viz={"position": position})
    arrays = {
        what: shown[variable].transpose("checkpoint", "source", "target").values
        for what, variable in _OF_EDGES.items()
    }
    for s, t in np.argwhere(~np.isnan(arrays["influence"]).all(axis=0)):
        numbers = {what: _spans(values[:, s, t], times) for what, values in arrays.items()}
        there = [(start, end) for _, start, end in numbers["influence"]]
        graph.add_edge(names[s], names[t], **_some(numbers), spells=_joined(there))
    return graph


def _write(cell: xr.Dataset, roles: xr.Dataset, path: Path) -> None:
    writer = GEXFWriter(version="1.2draft")
    writer.add_graph(film_graph(cell, roles))
    _name_weights(writer.xml)
    meta = writer.xml.find("meta")
    meta.attrib.pop("lastmodifieddate")  # the same result makes the same file
    write_xml(path, lambda unfinished: _to_file(writer, unfinished))


def _to_file(writer: GEXFWriter, path: Path) -> None:
    with path.open("wb") as file:
        writer.write(file)


def _name_weights(gexf: Element) -> None:
    """Give the attribute ``influence`` the id by which Gephi knows weights."""
    attribute = gexf.find("graph/attributes[@class='edge']/attribute[@title='influence']")
    if attribute is None:  # a graph without edges
        return
    number = attribute.attrib["id"]
    attribute.set("id", "weight")
    for value in gexf.iterfind(f"graph/edges/edge/attvalues/attvalue[@for='{number}']"):
        value.set("for", "weight")


def _spans(values: NDArray[np.floating], times: list[tuple[float, float]]) -> Spans:
    """Return the values that are defined, with the steps between which they hold."""
    return [
        (float(value), start, end)
        for value, (start, end) in zip(values, times, strict=True)
        if not np.isnan(value)
    ]


def _joined(times: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans of time, those that touch as one."""
    found: list[tuple[float, float]] = []
    for start, end in times:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _some(numbers: dict[str, Spans]) -> dict[str, Spans]:
    return {name: values for name, values in numbers.items() if values}
