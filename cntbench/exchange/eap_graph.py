"""A graph written by EAP or EAP-IG: ``Graph.to_json`` of hannamw/EAP-IG.

The file is one object with ``cfg`` (``n_layers``, ``n_heads``, ``parallel_attn_mlp``), ``nodes``
(``input``, ``aL.hH``, ``mL``, ``logits``; each with whether it is in the circuit, or an object with
``in_graph``) and ``edges``: ``SOURCE->TARGET``, with ``<q>``, ``<k>`` or ``<v>`` appended if
the target is a head, each with its ``score`` and ``in_graph``. MIB has the same format (Mueller et
al. 2025, arXiv:2504.13151), in which circuits of a certain size may have no scores at all: then an
edge of the circuit counts as 1 and any other as 0. A score is the change of a metric of
the model when the edge's source is corrupted: corrupted minus clean, or its estimate by gradients.

Source: Hanna, Pezzelle and Belinkov, "Have Faith in Faithfulness", arXiv:2403.17806.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from cntbench.components import Component, components, feasible
from cntbench.errors import CntbenchError, listed, nearest
from cntbench.files.output import file_status, is_folder
from cntbench.files.parsing import parse_json

#: Nodes that are not components: the ends of all paths.
INPUT: Final = "input"
LOGITS: Final = "logits"
#: The group of a result that holds every edge as it was in the files.
GROUP: Final = "eap"

_EDGE = re.compile(r"(?P<source>[^<>]+)->(?P<target>[^<>]+?)(?:<(?P<reader>[qkv])>)?")
_NODE = re.compile(r"a(\d+)\.h(\d+)|m(\d+)")
_KEYS = ("cfg", "nodes", "edges")
#: The required form of the file's numbers and truth values.
_EXPECTED = {
    "n_layers": "a whole number, at least 1",
    "n_heads": "a whole number, at least 1",
    "parallel_attn_mlp": "true or false",
    "in_graph": "true or false",
    "score": "a finite number, as attribute writes it",
}
#: Scores are kept in single precision, and q, k and v are summed.
_LARGEST = 1e38
#: A model with more components is a mistake in the file.
_MOST_COMPONENTS = 20_000


class _Strict(BaseModel):
    """A part of the file; further keys are ignored."""

    model_config = ConfigDict(strict=True)


class _Cfg(_Strict):
    n_layers: PositiveInt
    n_heads: PositiveInt
    parallel_attn_mlp: bool


class _ScoredEdge(_Strict):
    score: float = Field(gt=-_LARGEST, lt=_LARGEST)
    in_graph: bool


class _File(_Strict):
    cfg: _Cfg
    nodes: dict[str, object]
    edges: dict[str, _ScoredEdge]
    n_pos: object = None


class ImportFileError(CntbenchError):
    """A file that the import cannot read."""


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
    """The graph of one file.

    Parameters
    ----------
    path, sha256
        The file and the SHA-256 of its bytes.
    components
        Those of the model, in causal order.
    edges
        Edges by their names in the file.
    scored
        Whether edges have scores, not only membership in the circuit.
    neurons
        Whether the circuit has some neurons of a component and not others.
    """

    path: Path
    sha256: str
    components: tuple[Component, ...]
    edges: Mapping[str, Edge]
    scored: bool = True
    neurons: bool = False

    @property
    def shape(self) -> str:
        """The model's shape in words."""
        return shape_words(self.components)

    def only_circuit(self) -> EapGraph:
        """Return the graph with scores of 0 outside of the circuit."""
        edges = {n: e if e.in_graph else replace(e, score=0.0) for n, e in self.edges.items()}
        return replace(self, edges=edges)

    def edge_effect(self) -> NDArray[np.float64]:
        """Return the sum of the scores of q, k and v, dims ``source, target``.

        NaN where the architecture has no edge; 0 where the file does not name an edge of the
        architecture, as in EAP-IG's reader.
        """
        effect = np.where(feasible(self.components), 0.0, np.nan)
        for edge in self.edges.values():
            if edge.source is not None and edge.target is not None:
                effect[edge.source, edge.target] += edge.score
        return effect

    def logit_effect(self) -> NDArray[np.float64]:
        """Return the scores of edges into the logits, dims ``source``."""
        effect = np.zeros(len(self.components))
        for edge in self.edges.values():
            if edge.source is not None and edge.target is None:
                effect[edge.source] += edge.score
        return effect

    @property
    def flat(self) -> float | None:
        """The score of all edges between components if it is the same, else None.

        Feasible edges that the file does not name have the score 0.
        """
        scores = {
            edge.score
            for edge in self.edges.values()
            if edge.source is not None and edge.target is not None
        }
        scores |= {0.0} if self.unnamed else set()
        return scores.pop() if len(scores) == 1 else None

    @property
    def unnamed(self) -> int:
        """Number of feasible edges between components that the file does not name."""
        ends = {(e.source, e.target) for e in self.edges.values()}
        return sum((int(s), int(t)) not in ends for s, t in np.argwhere(feasible(self.components)))


def read_eap_graph(path: Path) -> EapGraph:
    """Read a file and check it against the architecture that it states.

    Raises
    ------
    ImportFileError
        If it is not JSON, not a graph of EAP, or names nodes or edges that the model lacks; it
        says where, and what was expected.
    """
    where = str(path)
    content = _content(path)
    scored = not _is_unscored(content)
    file = _validated(content if scored else _with_membership(content), where)
    n_layers, n_heads = file.cfg.n_layers, file.cfg.n_heads
    if n_layers * (n_heads + 1) > _MOST_COMPONENTS:
        raise ImportFileError(
            f"a model of {n_layers} layers of {n_heads} heads has more than "
            f"{_MOST_COMPONENTS} components",
            where=f"{where}: cfg",
        )
    nodes = components(n_layers, n_heads, parallel=file.cfg.parallel_attn_mlp)
    index = {eap_name(node): i for i, node in enumerate(nodes)}
    for name in file.nodes:
        if name not in (*index, INPUT, LOGITS):
            raise _unknown_node(name, index, f"{where}: nodes")
    reaches = feasible(nodes)
    edges = {
        name: Edge(*_ends(name, index, reaches, f"{where}: edges[{name!r}]"), e.score, e.in_graph)
        for name, e in file.edges.items()
    }
    if not edges:
        raise ImportFileError("has no edges", where=f"{where}: edges")
    _check_scored_at_edges(file.nodes, edges, where)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return EapGraph(path, digest, nodes, edges, scored, _has_neurons(file.nodes))


def _is_unscored(content: Any) -> bool:
    """Return whether a file has the edges of a circuit, and no scores at all."""
    edges = content.get("edges") if isinstance(content, dict) else None
    if not isinstance(edges, dict):
        return False
    return bool(edges) and all(isinstance(e, dict) and "score" not in e for e in edges.values())


def _with_membership(content: dict[str, Any]) -> dict[str, Any]:
    """Return a file without scores with the scores of its circuit: 1 inside, 0 outside."""
    edges = {
        name: {**edge, "score": 1.0 if edge.get("in_graph") is True else 0.0}
        for name, edge in content["edges"].items()
    }
    return {**content, "edges": edges}


def _has_neurons(nodes: Mapping[str, object]) -> bool:
    """Return whether nodes are in a circuit with some of their neurons."""
    neurons = [node.get("neurons") for node in nodes.values() if isinstance(node, dict)]
    return any(isinstance(some, list) and any(some) and not all(some) for some in neurons)


def _content(path: Path) -> Any:
    """Return the JSON of a file."""
    where = str(path)
    if is_folder(path):
        raise ImportFileError(
            "is a folder", where=where, hint="Name the graphs in it, .json files."
        )
    if file_status(path) is None:
        raise ImportFileError("no such file", where=where)
    try:
        return parse_json(path.read_bytes(), unique=True)
    except OSError as error:
        raise ImportFileError(f"cannot be read: {error.strerror}", where=where) from None
    except ValueError as error:
        raise ImportFileError(
            f"is not JSON: {error}",
            where=where,
            hint="Expected a graph written by Graph.to_json of EAP-IG. Convert a graph written by "
            "to_pt: read it with Graph.from_pt and write it with to_json.",
        ) from None


def _validated(content: Any, where: str) -> _File:
    """Return the file's object, with values of the right types."""
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problem, *_ = error.errors(include_url=False)
        keys = problem["loc"]
        if problem["type"] == "missing" and len(keys) == 1:
            lacking = ", ".join(key for key in _KEYS if key not in content)
            known = listed([*map(str, content)], 8) or "none"
            raise ImportFileError(
                f"is not a graph of EAP: it lacks {lacking}",
                where=where,
                hint=f"Expected the keys {', '.join(_KEYS)}; found {known}.",
            ) from None
        shown = "missing" if problem["type"] == "missing" else _json(problem["input"])
        raise ImportFileError(
            f"is {shown}", where=_location(where, keys), hint=f"Expected: {_expected(keys)}."
        ) from None
    if file.n_pos is not None:
        raise ImportFileError(
            "is a graph of positions, whose nodes are not components",
            where=f"{where}: n_pos",
            hint="Expected a graph that is not positional.",
        )
    return file


def _location(where: str, keys: Sequence[int | str]) -> str:
    """Return the file and the key in it, as messages name them."""
    if not keys:
        return where
    if keys[0] == "edges" and len(keys) > 1:
        return f"{where}: edges[{keys[1]!r}]{''.join(f'.{key}' for key in keys[2:])}"
    return f"{where}: {'.'.join(map(str, keys))}"


def _expected(keys: Sequence[int | str]) -> str:
    """Return what a key of the file has to hold."""
    if not keys:
        return f"an object with the keys {', '.join(_KEYS)}"
    if keys[0] == "edges" and len(keys) == 2:
        return "an object with score and in_graph"
    return _EXPECTED.get(str(keys[-1]), "an object")


def _check_scored_at_edges(
    nodes: Mapping[str, object], edges: Mapping[str, Edge], where: str
) -> None:
    """Raise an error if only nodes have scores: a film is made of the scores of edges."""
    scored = [
        name
        for name, node in nodes.items()
        if isinstance(node, dict) and node.get("score") not in (None, 0)
    ]
    if scored and not any(edge.score for edge in edges.values()):
        raise ImportFileError(
            "has scores at its nodes, and none at its edges",
            where=f"{where}: nodes[{scored[0]!r}].score",
            hint="It was written by attribute_node. Use attribute, which scores edges.",
        )


def _ends(
    name: str, index: Mapping[str, int], reaches: NDArray[np.bool_], where: str
) -> tuple[int | None, int | None]:
    """Return source and target of an edge, checked; None for the input and the logits."""
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
    for end in (form["source"], form["target"]):
        if end not in (*index, INPUT, LOGITS):
            raise _unknown_node(end, index, where)
    source, target = index.get(form["source"]), index.get(form["target"])
    to_head = form["target"].startswith("a")
    if to_head != (form["reader"] is not None):
        raise ImportFileError(
            "does not say which input of the head it is" if to_head else "is not into a head",
            where=where,
            hint="Only the names of edges into heads end in <q>, <k> or <v>.",
        )
    if source is not None and target is not None and not reaches[source, target]:
        raise ImportFileError(
            "is not an edge of the architecture: the source does not come before the target",
            where=where,
            hint="cfg.parallel_attn_mlp says whether heads reach the MLP of their own layer.",
        )
    return source, target


def shape_words(nodes: Sequence[Component]) -> str:
    """Return the shape of the model that components are of, in words."""
    heads = sum(node.layer == 0 and node.head is not None for node in nodes)
    blocks = "parallel" if nodes[-1].stage == nodes[-1].layer else "sequential"
    return f"{nodes[-1].layer + 1} layers of {heads} heads in {blocks} blocks"


def eap_name(node: Component) -> str:
    """Return what EAP-IG calls a component: ``a2.h3``, ``m2``."""
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


def _json(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
