"""GEXF 1.2 for Gephi: the film of one task by one ablation, as a graph that changes over time.

Time is the training step. A checkpoint's numbers hold from its step to the step of the next
checkpoint; those of the last checkpoint hold as long as those before it. At a checkpoint that was
not measured, edges are absent and attributes have no value. Edges have ``influence``, its
``standard_error`` and the ``effect`` on the readout, where they are defined. Nodes have their layer
and kind, a position in a layered drawing, and their strengths as spreader and gatherer.

In Gephi, the attribute with the id ``weight`` is the dynamic weight of edges, so ``influence`` has
this id. In networkx, this id belongs to a static weight, so networkx reads its last value.

A large film has millions of values, so the file is written edge by edge and never held in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import compress, count, pairwise, product
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.role_summary import SIDE
from cntbench.dynamics.roles import ROLES, strength
from cntbench.errors import CntbenchError, StorageError
from cntbench.exchange.export import measured, write_cells
from cntbench.files.attributes import __version__
from cntbench.files.output import FileKind, contains
from cntbench.results.selection import component_attributes
from cntbench.results.storage import file_name, write_atomically

SUFFIXES: tuple[str, ...] = (".gexf",)
KIND = FileKind("a GEXF file", contains(b"<gexf"))
#: Distances between the layers of the drawing, and between the components of a layer.
_ROW, _COLUMN = 200.0, 100.0
#: Dynamic attributes of edges, and their variables.
_OF_EDGES = {"influence": "influence", "standard_error": "influence_se", "effect": "edge_effect"}
_NAMESPACE = "http://www.gexf.net/1.2draft"
_HEAD = f"""<?xml version='1.0' encoding='utf-8'?>
<gexf xmlns:viz="{_NAMESPACE}/viz" xmlns="{_NAMESPACE}" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{_NAMESPACE} {_NAMESPACE}/gexf.xsd" version="1.2">
  <meta>
    <creator>cntbench {__version__}</creator>
  </meta>
"""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_ATTRIBUTES = {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#09;"}

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class FilmGraph:
    """The film of one task by one ablation, at the measured checkpoints.

    Parameters
    ----------
    title
        Title of the graph.
    times
        First and last step for which each checkpoint's numbers hold.
    nodes
        Static attributes of the components by name, in causal order.
    strengths
        Dynamic attributes of nodes by name, dims ``checkpoint, component``.
    edges
        Dynamic attributes of edges by name, dims ``checkpoint, source, target``.
    """

    title: str
    times: tuple[tuple[float, float], ...]
    nodes: Mapping[str, Mapping[str, Any]]
    strengths: Mapping[str, Floats]
    edges: Mapping[str, Floats]


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the only film of a result.

    Raises
    ------
    CntbenchError
        If the result has several films, or the film was not measured at any checkpoint.
    """
    root = tree.to_dataset(inherit=False)
    several = [dim for dim in ("task", "ablation") if root.sizes[dim] > 1]
    if several:
        raise CntbenchError(
            "a GEXF file holds one task by one ablation, but the selection has "
            f"{root.sizes['task']} by {root.sizes['ablation']}",
            where=str(path),
            hint=f"Choose one by {', '.join(f'--{dim}' for dim in several)}; or name a folder, "
            "with --format gexf.",
        )
    _write(film_graph(tree, 0, 0), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` writes."""
    return (path for path, _ in _films(tree, folder))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write every film with a measured checkpoint: ``TASK/ABLATION.gexf``."""
    return write_cells(
        _films(tree, folder), lambda indices, path: _write(film_graph(tree, *indices), path)
    )


def _films(tree: xr.DataTree, folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield the file of every film with a measured checkpoint, and the indices of the film."""
    root = tree.to_dataset(inherit=False)
    for i, j in product(range(root.sizes["task"]), range(root.sizes["ablation"])):
        cell = root[["status"]].isel(task=i, ablation=j)
        if measured(cell).any():
            task, ablation = (file_name(str(cell[dim].item())) for dim in ("task", "ablation"))
            yield folder / task / f"{ablation}.gexf", (i, j)


def spans(steps: NDArray[np.integer]) -> list[tuple[float, float]]:
    """Return the first and last step for which each checkpoint's numbers hold.

    Examples
    --------
    >>> spans(np.array([0, 8, 100]))
    [(0.0, 8.0), (8.0, 100.0), (100.0, 192.0)]
    """
    starts = [float(step) for step in steps]
    last = starts[-1] - starts[-2] if len(starts) > 1 else 1.0
    return list(pairwise([*starts, starts[-1] + last]))


def film_graph(tree: xr.DataTree, task: int, ablation: int) -> FilmGraph:
    """Return the film of one task by one ablation.

    Parameters
    ----------
    task, ablation
        Their indices.

    Raises
    ------
    CntbenchError
        If no checkpoint was measured.
    """
    indices = {"task": task, "ablation": ablation}
    cell = tree.to_dataset(inherit=False).isel(indices)
    known = measured(cell)
    title = f"{cell['task'].item()}, {cell['ablation'].item()}"
    if not known.any():
        raise CntbenchError(
            f"no checkpoint of {title.replace(', ', ' by ')} was measured",
            hint="cntbench audit says why.",
        )
    times = list(compress(spans(cell["step"].values), known))
    edges = {
        name: cell[variable].transpose("checkpoint", "source", "target").values
        for name, variable in _OF_EDGES.items()
    }
    if not known.all():
        edges = {name: values[known] for name, values in edges.items()}
    strengths = {name: values[known] for name, values in _strengths(tree, indices).items()}
    nodes = dict(zip(map(str, cell["source"].values), component_attributes(cell), strict=True))
    return FilmGraph(title, tuple(times), nodes, strengths, edges)


def _strengths(tree: xr.DataTree, indices: Mapping[str, int]) -> dict[str, Floats]:
    """Return the components' strengths by role, dims ``checkpoint, component``."""
    if "roles" in tree.children:
        roles = tree.children["roles"].to_dataset(inherit=False).isel(indices)
        return {
            f"{role}_strength": roles[f"{role}_strength"].transpose("checkpoint", side).values
            for role, side in (*SIDE.items(), ("gatekeeper", "component"))
            if f"{role}_strength" in roles
        }
    cell = tree.to_dataset(inherit=False).isel(indices)
    weights = cell["influence"].transpose("checkpoint", "source", "target").values
    strengths = {}
    for role in ROLES:
        values = np.full(weights.shape[:2], np.nan, dtype=np.float32)
        for i in np.flatnonzero(cell["status"].values == "ok"):
            values[i] = strength(weights[i].astype(np.float64), cell["source_layer"].values, role)
        strengths[f"{role}_strength"] = values
    return strengths


def _write(graph: FilmGraph, path: Path) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_parts(graph, str(path)))

    write_atomically(path, write)


def _parts(graph: FilmGraph, where: str) -> Iterator[str]:
    """Yield the file's text, edge by edge."""
    exists = ~np.isnan(graph.edges["influence"]).all(axis=0)
    numbers = map(str, count())
    static = dict.fromkeys(name for attributes in graph.nodes.values() for name in attributes)
    of_nodes = {name: next(numbers) for name in static}
    strengths = {n: next(numbers) for n, v in graph.strengths.items() if not np.isnan(v).all()}
    of_edges = {
        name: next(numbers)
        for name, values in graph.edges.items()
        if (exists & ~np.isnan(values).all(axis=0)).any()
    }
    if exists.any():
        of_edges["influence"] = "weight"  # Gephi's id for the weight
    ends = [f'" start="{start}" end="{end}" />\n' for start, end in graph.times]
    timed = ' timeformat="double"' if strengths or of_edges else ""
    title = _text(graph.title, where)
    yield _HEAD
    yield f'  <graph defaultedgetype="directed" mode="dynamic" name="{title}"{timed}>\n'
    yield from _declared('mode="dynamic" class="edge"', of_edges, "double")
    yield from _declared('mode="dynamic" class="node"', strengths, "double")
    yield from _declared('mode="static" class="node"', of_nodes, "long")
    yield "    <nodes>\n"
    layers = [attributes["layer"] for attributes in graph.nodes.values()]
    for i, (component, attributes) in enumerate(graph.nodes.items()):
        name = _text(component, where)
        x, y = (i - layers.index(layers[i])) * _COLUMN, layers[i] * _ROW  # a row for each layer
        yield f'      <node id="{name}" label="{name}">\n'
        yield f'        <viz:position x="{x}" y="{y}" z="0.0" />\n        <attvalues>\n'
        for key, value in attributes.items():
            text = _text(str(value), where)
            yield f'          <attvalue for="{of_nodes[key]}" value="{text}" />\n'
        for key, number in strengths.items():
            yield _values(number, graph.strengths[key][:, i].tolist(), ends)
        yield "        </attvalues>\n      </node>\n"
    yield "    </nodes>\n"
    yield from _edges(graph, of_edges, ends, where) if exists.any() else ["    <edges />\n"]
    yield "  </graph>\n</gexf>\n"


def _declared(of: str, numbers: Mapping[str, str], kind: str) -> Iterator[str]:
    """Yield the declaration of attributes, if there are any."""
    if numbers:
        yield f"    <attributes {of}>\n"
        for name, number in numbers.items():
            type_ = "string" if name == "kind" else kind
            yield f'      <attribute id="{number}" title="{name}" type="{type_}" />\n'
        yield "    </attributes>\n"


def _edges(
    graph: FilmGraph, numbers: Mapping[str, str], ends: Sequence[str], where: str
) -> Iterator[str]:
    """Yield the edges that have an influence at some checkpoint."""
    names = [_text(name, where) for name in graph.nodes]
    ids = count()
    spells = cache(partial(_spells, graph.times))
    yield "    <edges>\n"
    for s, source in enumerate(names):
        # Reading all values of a source at once is much faster than value by value.
        rows = {name: graph.edges[name][:, s].T.tolist() for name in numbers}
        exists = ~np.isnan(graph.edges["influence"][:, s].T)
        for t, target in enumerate(names):
            if exists[t].any():
                yield f'      <edge source="{source}" target="{target}" id="{next(ids)}">\n'
                yield f"        <spells>\n{spells(exists[t].tobytes())}        </spells>\n"
                yield "        <attvalues>\n"
                for name, number in numbers.items():
                    yield _values(number, rows[name][t], ends)
                yield "        </attvalues>\n      </edge>\n"
    yield "    </edges>\n"


def _values(number: str, values: Sequence[float], ends: Sequence[str]) -> str:
    """Return the defined values of an attribute, with the steps for which they hold."""
    head = f'          <attvalue for="{number}" value="'
    text = "".join(
        [f"{head}{value!r}{end}" for value, end in zip(values, ends, strict=True) if value == value]
    )
    return text.replace('"inf"', '"INF"').replace('"-inf"', '"-INF"')


def _spells(times: Sequence[tuple[float, float]], exists: bytes) -> str:
    """Return the spans in which an edge exists; adjacent spans are merged."""
    merged: list[tuple[float, float]] = []
    for start, end in compress(times, exists):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return "".join(f'          <spell start="{start}" end="{end}" />\n' for start, end in merged)


def _text(text: str, where: str) -> str:
    """Return text escaped for an XML attribute; some characters are not allowed in XML."""
    if _NOT_XML.search(text):
        raise StorageError(f"a label of the result is not allowed in XML: {text!r}", where=where)
    return escape(text, _IN_ATTRIBUTES)
