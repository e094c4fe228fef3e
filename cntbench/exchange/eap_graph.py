"""One graph as EAP and EAP-IG write it: ``Graph.to_json`` of hannamw/EAP-IG.

The file is one object with ``cfg`` (``n_layers``, ``n_heads``, ``parallel_attn_mlp``), ``nodes``
(``input``, ``aL.hH``, ``mL``, ``logits``; each whether it is in the circuit, or an object that says
it as ``in_graph``) and ``edges``: ``SOURCE->TARGET``, with ``<q>``, ``<k>`` or ``<v>`` behind it if
the target is a head, each with its ``score`` and ``in_graph``. A score is the change of a metric of
the model when the edge's source is corrupted: corrupted minus clean, or its estimate by gradients.

Source: Hanna, Pezzelle and Belinkov, "Have Faith in Faithfulness", arXiv:2403.17806.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cntbench.components import Component, components, feasible
from cntbench.errors import CntbenchError, nearest
from cntbench.output import file_status, is_folder
from cntbench.parsing import parse_json

#: Nodes that are no components: where paths begin, and where they end.
INPUT: Final = "input"
LOGITS: Final = "logits"

_EDGE = re.compile(r"(?P<source>[^<>]+)->(?P<target>[^<>]+?)(?:<(?P<reader>[qkv])>)?")
_NODE = re.compile(r"a(\d+)\.h(\d+)|m(\d+)")
_KEYS = ("cfg", "nodes", "edges")
#: Scores are kept in single precision, and q, k and v are summed.
_LARGEST = 1e38
#: A model with more components is a mistake in the file.
_MOST_COMPONENTS = 20_000


class ImportFileError(CntbenchError):
    """A file that is not what the import expects."""


@dataclass(frozen=True)
class Edge:
    """An edge of the file.

    Parameters
    ----------
    source
        Index of the source in causal order; None for the model's input.
    target
        Index of the target; None for the logits.
    score
        As in the file.
    in_graph
        Whether the circuit has it.
    """

    source: int | None
    target: int | None
    score: float
    in_graph: bool


@dataclass(frozen=True)
class EapGraph:
    """What one file says.

    Parameters
    ----------
    path, sha256
        The file and the SHA-256 of its bytes.
    n_layers, n_heads, parallel
        The model's shape, and whether attention and MLP of a block read the same.
    edges
        By their names in the file.
    """

    path: Path
    sha256: str
    n_layers: int
    n_heads: int
    parallel: bool
    edges: Mapping[str, Edge]

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """The components, in causal order."""
        return components(self.n_layers, self.n_heads, parallel=self.parallel)

    @property
    def shape(self) -> str:
        """The model's shape in words."""
        blocks = "parallel" if self.parallel else "sequential"
        return f"{self.n_layers} layers of {self.n_heads} heads in {blocks} blocks"

    def edge_effect(self, *, circuit: bool) -> NDArray[np.float64]:
        """Return the sum of the scores of q, k and v, dims ``source, target``.

        NaN where the architecture has no such edge, 0 where the file does not name one that the
        architecture has, as the file's own reader does. With ``circuit``, scores of edges that are
        not in the circuit count as 0.
        """
        effect = np.where(feasible(self.components), 0.0, np.nan)
        for edge in self.edges.values():
            if (
                edge.source is not None
                and edge.target is not None
                and (edge.in_graph or not circuit)
            ):
                effect[edge.source, edge.target] += edge.score
        return effect

    def logit_effect(self, *, circuit: bool) -> NDArray[np.float64]:
        """Return the scores of edges into the logits, dims ``source``; as `edge_effect`."""
        effect = np.zeros(len(self.components))
        for edge in self._counted(circuit):
            if edge.source is not None and edge.target is None:
                effect[edge.source] += edge.score
        return effect

    def _counted(self, circuit: bool) -> Iterator[Edge]:
        return (edge for edge in self.edges.values() if edge.in_graph or not circuit)

    def flat(self, *, circuit: bool) -> float | None:
        """Return the score of all edges between components if it is the same, else None."""
        between = [
            edge.score if edge.in_graph or not circuit else 0.0
            for edge in self.edges.values()
            if edge.source is not None and edge.target is not None
        ]
        return between[0] if len({*between}) == 1 else None

    @property
    def unnamed(self) -> int:
        """Number of feasible edges between components that the file does not name."""
        ends = {(e.source, e.target) for e in self.edges.values()}
        return sum((int(s), int(t)) not in ends for s, t in np.argwhere(feasible(self.components)))

    @property
    def from_input(self) -> int:
        """Number of edges that the model's input is the source of."""
        return sum(edge.source is None for edge in self.edges.values())

    @property
    def in_circuit(self) -> int:
        """Number of edges that are in the circuit."""
        return sum(edge.in_graph for edge in self.edges.values())


def read_eap_graph(path: Path) -> EapGraph:
    """Read a file and check it against the architecture that it states.

    Raises
    ------
    ImportFileError
        If it is not JSON, not such a graph, or names nodes or edges that the model does not have;
        it says where, what was found and what was expected.
    """
    where = str(path)
    content = _content(path)
    cfg = content["cfg"]
    n_layers, n_heads = (_count(cfg, key, where) for key in ("n_layers", "n_heads"))
    parallel = cfg.get("parallel_attn_mlp")
    if not isinstance(parallel, bool):
        raise _unexpected(f"{where}: cfg.parallel_attn_mlp", parallel, "true or false")
    if n_layers * (n_heads + 1) > _MOST_COMPONENTS:
        raise ImportFileError(
            f"a model of {n_layers} layers of {n_heads} heads has more than "
            f"{_MOST_COMPONENTS} components",
            where=f"{where}: cfg",
        )
    nodes = components(n_layers, n_heads, parallel=parallel)
    index = {_their_name(node): i for i, node in enumerate(nodes)}
    for name in content["nodes"]:
        if name not in (*index, INPUT, LOGITS):
            raise _unknown_node(name, index, f"{where}: nodes")
    reaches = feasible(nodes)
    edges = {
        name: _edge(name, said, index, reaches, f"{where}: edges[{name!r}]")
        for name, said in content["edges"].items()
    }
    if not edges:
        raise ImportFileError("has no edges", where=f"{where}: edges")
    _check_scored_at_edges(content["nodes"], edges, where)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return EapGraph(path, digest, n_layers, n_heads, parallel, edges)


def _content(path: Path) -> dict[str, Any]:
    """Return the file's object, with its three keys that are objects themselves."""
    where = str(path)
    if is_folder(path) or file_status(path) is None:
        raise ImportFileError("is a folder" if is_folder(path) else "no such file", where=where)
    try:
        content = parse_json(path.read_bytes(), unique=True)
    except OSError as error:
        raise ImportFileError(f"cannot be read: {error.strerror}", where=where) from None
    except ValueError as error:
        raise ImportFileError(
            f"is not JSON: {error}",
            where=where,
            hint="Expected a graph as Graph.to_json of EAP-IG writes it; graphs that to_pt has "
            "written can be read by Graph.from_pt and written by to_json.",
        ) from None
    if not isinstance(content, dict):
        raise _unexpected(where, content, f"an object with the keys {', '.join(_KEYS)}")
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ImportFileError(
            f"is not a graph of EAP: it lacks {', '.join(missing)}",
            where=where,
            hint=f"Expected the keys {', '.join(_KEYS)}; found {_some(content)}.",
        )
    for key in _KEYS:
        if not isinstance(content[key], dict):
            raise _unexpected(f"{where}: {key}", content[key], "an object")
    if content.get("n_pos") is not None:
        raise ImportFileError(
            "is a graph of positions, whose nodes are no components",
            where=f"{where}: n_pos",
            hint="Expected a graph that is not positional.",
        )
    return content


def _check_scored_at_edges(
    nodes: Mapping[str, object], edges: Mapping[str, Edge], where: str
) -> None:
    """Raise an error if scores are at nodes alone: of edges, which a film has, they say nothing."""
    scored = [
        name
        for name, node in nodes.items()
        if isinstance(node, dict) and node.get("score") not in (None, 0)
    ]
    if scored and not any(edge.score for edge in edges.values()):
        raise ImportFileError(
            "has scores at its nodes, and none at its edges",
            where=f"{where}: nodes[{scored[0]!r}].score",
            hint="It was made by attribute_node; a film is made of edges, whose scores attribute "
            "gives.",
        )


def _count(cfg: Mapping[str, Any], key: str, where: str) -> int:
    value = cfg.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _unexpected(f"{where}: cfg.{key}", value, "a whole number, at least 1")
    return value


def _edge(
    name: str, said: object, index: Mapping[str, int], reaches: NDArray[np.bool_], where: str
) -> Edge:
    """Return an edge of the file, checked."""
    form = _EDGE.fullmatch(name)
    if form is None:
        raise ImportFileError(
            "is not the name of an edge",
            where=where,
            hint="Expected SOURCE->TARGET, or SOURCE->TARGET<q>, <k> or <v> into a head.",
        )
    if form["source"] == LOGITS or form["target"] == INPUT:
        raise ImportFileError(
            "logits have no outgoing edges and the input no incoming ones", where=where
        )
    source, target = (
        None if form[end] in (INPUT, LOGITS) else _place(form[end], index, where)
        for end in ("source", "target")
    )
    to_head = form["target"].startswith("a")
    if to_head != (form["reader"] is not None):
        raise ImportFileError(
            "does not say what of the head reads it" if to_head else "is not into a head",
            where=where,
            hint="Edges into heads end in <q>, <k> or <v>, and no other ones do.",
        )
    if source is not None and target is not None and not reaches[source, target]:
        raise ImportFileError(
            "is no edge that the architecture has: the source does not come before the target",
            where=where,
            hint="cfg.parallel_attn_mlp says whether heads reach the MLP of their own layer.",
        )
    if not isinstance(said, dict) or not isinstance(said.get("in_graph"), bool):
        raise _unexpected(where, said, "an object with score and in_graph")
    score = said.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < _LARGEST:
        raise _unexpected(f"{where}.score", score, "a finite number, as attribute gives it")
    return Edge(source, target, float(score), said["in_graph"])


def _place(name: str, index: Mapping[str, int], where: str) -> int:
    if name not in index:
        raise _unknown_node(name, index, where)
    return index[name]


def _their_name(node: Component) -> str:
    return f"m{node.layer}" if node.head is None else f"a{node.layer}.h{node.head}"


def _unknown_node(name: str, index: Mapping[str, int], where: str) -> ImportFileError:
    outside = " in a model of the size that cfg states" if _NODE.fullmatch(name) else ""
    few = [*index] if len(index) <= 20 else [*list(index)[:3], "…", *list(index)[-3:]]
    allowed = nearest(name, index) if len(index) <= 20 else f"Allowed: {', '.join(few)}."
    return ImportFileError(
        f"there is no node {name!r}{outside}",
        where=where,
        hint=f"{allowed} Beside these: {INPUT}, {LOGITS}.",
    )


def _unexpected(where: str, found: object, expected: str) -> ImportFileError:
    text = json.dumps(found, default=str)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return ImportFileError(f"is {shown}", where=where, hint=f"Expected: {expected}.")


def _some(content: Mapping[str, Any]) -> str:
    names = [str(key) for key in content]
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "none"
