"""Score graphs of other programs on a planted circuit, whose edges are known.

An edge's score is the absolute value of its score in the graph; for edges into a head, those of q,
k and v are summed first. As in ``cntbench compare``, only feasible edges between components count:
edges from the input and into the logits are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from cntbench.analysis.recovery import auroc, average_precision, random_average_precision, tied
from cntbench.components import feasible
from cntbench.errors import CntbenchError, shown, warn
from cntbench.exchange.eap_graph import EapGraph, ImportFileError, read_eap_graph, shape_words
from cntbench.exchange.known_circuits import PURPOSES
from cntbench.files.attributes import described
from cntbench.files.output import FileKind, has_attribute
from cntbench.models.planted.circuit import Circuit
from cntbench.results.storage import distinct_files

#: Title attribute of a dataset of scores.
TITLE: Final = "Graphs scored on a known circuit"
SCORES = FileKind("a dataset of scores", has_attribute("title", TITLE))
#: A score below this share of a graph's largest one is a rounding error and counts as 0.
RESOLUTION = 1e-6

_DOCUMENTS: Final = {
    "auroc": "probability that a true edge scores above another feasible one; 0.5 by chance",
    "ap": "average precision, the area under the precision-recall curve",
    "baseline_ap": "expected average precision of random scores",
    "precision_at_k": "share of true edges among the k highest scores, where k is the number of "
    "true edges; ties share the remaining places",
    "circuit_precision": "share of true edges among the edges of the graph's circuit; NaN if it "
    "holds no edge or every edge",
    "circuit_recall": "share of the true edges that the graph's circuit holds; NaN if it holds no "
    "edge or every edge",
}


@dataclass(frozen=True)
class Candidate:
    """A graph to score.

    Parameters
    ----------
    scores
        Not negative, dims ``source, target``; NaN where not feasible.
    members
        Which edges are in its circuit, dims ``source, target``; None if it has no circuit.
    """

    scores: NDArray[np.float64]
    members: NDArray[np.bool_] | None = None


def score_files(paths: Sequence[Path], circuit: Circuit, *, in_graph: bool = False) -> xr.Dataset:
    """Score files of EAP-IG; parameters and errors are those of `candidate` and `scored`."""
    distinct_files(paths)
    distinct = len({path.name for path in paths}) == len(paths)
    graphs = {path.name if distinct else str(path): read_eap_graph(path) for path in paths}
    return scored(
        {name: candidate(graph, circuit, in_graph=in_graph) for name, graph in graphs.items()},
        circuit,
    )


def candidate(graph: EapGraph, circuit: Circuit, *, in_graph: bool = False) -> Candidate:
    """Return the scores of a graph's edges.

    Parameters
    ----------
    graph
        Of a model of the circuit's shape.
    in_graph
        Whether edges outside the graph's own circuit count as 0.

    Raises
    ------
    CntbenchError
        If the components of the graph's model differ from the circuit's.
    """
    nodes = circuit.components
    if graph.components != nodes:
        raise ImportFileError(
            f"is of {graph.shape}, and the model of {circuit.name!r} has {shape_words(nodes)}",
            where=f"{graph.path}: cfg",
            hint=f"`cntbench planted save {circuit.name} FOLDER` writes the model to analyse. "
            "parallel_attn_mlp is true for GPT-NeoX, false for GPT-2 and Llama.",
        )
    graph = graph.only_circuit() if in_graph else graph
    if graph.flat is not None:
        warn(f"{graph.path}: every edge between components has the score {graph.flat:g}")
    members = np.zeros((len(nodes),) * 2, dtype=bool)
    for edge in graph.edges.values():
        if edge.source is not None and edge.target is not None:
            members[edge.source, edge.target] |= edge.in_graph
    return Candidate(np.abs(graph.edge_effect()), members)


def candidate_array(scores: ArrayLike, circuit: Circuit, label: str) -> Candidate:
    """Check an array of scores, dims ``source, target`` in the circuit's causal order.

    Raises
    ------
    CntbenchError
        If it has another shape, or a feasible edge has no score.
    """
    nodes = circuit.components
    try:
        array = np.abs(np.asarray(scores, dtype=np.float64))
    except (TypeError, ValueError):
        raise CntbenchError(f"{shown(scores)} is not an array of scores", where=label) from None
    if array.shape != (len(nodes),) * 2:
        raise CntbenchError(
            f"has shape {array.shape}, and {circuit.name!r} has {len(nodes)} components",
            where=label,
            hint="Dims are source and target, in the order of truth.json: "
            f"{nodes[0].name}, {nodes[1].name}, …, {nodes[-1].name}.",
        )
    allowed = feasible(nodes)
    missing = np.argwhere(allowed & ~np.isfinite(array))
    if len(missing):
        source, target = (nodes[i].name for i in missing[0])
        raise CntbenchError(
            f"has no finite score for {source} → {target}, nor for {len(missing) - 1} other edges"
            if len(missing) > 1
            else f"has no finite score for {source} → {target}",
            where=label,
            hint="Every edge that the architecture allows needs a score.",
        )
    return Candidate(np.where(allowed, array, np.nan))


def scored(candidates: Mapping[str, Candidate], circuit: Circuit) -> xr.Dataset:
    """Score graphs on a circuit.

    Returns
    -------
    xarray.Dataset
        Dims ``graph, purpose``: ``auroc``, ``ap``, ``baseline_ap``, ``precision_at_k``,
        ``circuit_precision`` and ``circuit_recall``; dims ``purpose``: ``true_edges``. NaN where
        no edge, or every edge, is true for a purpose.
    """
    if not candidates:
        raise CntbenchError("no graphs are given", hint="Name at least one graph.")
    truth = circuit.truth()
    truths = {purpose: getattr(truth, purpose) & truth.feasible for purpose in PURPOSES}
    dataset = xr.Dataset(
        coords={
            "graph": ("graph", list(candidates), {"long_name": "graph"}),
            "purpose": ("purpose", list(PURPOSES), {"long_name": "edges that are true"}),
        },
        attrs={
            "title": TITLE,
            "circuit": circuit.name,
            "circuit_version": circuit.spec.version,
            "feasible_edges": int(truth.feasible.sum()),
        },
    )
    numbers = np.array(
        [[_numbers(graph, edges) for edges in truths.values()] for graph in candidates.values()]
    )
    for column, (name, meaning) in enumerate(_DOCUMENTS.items()):
        attributes = described(name, meaning, "1")
        dataset[name] = (("graph", "purpose"), numbers[..., column], attributes)
    dataset["true_edges"] = (
        "purpose",
        [int(edges.sum()) for edges in truths.values()],
        described("true_edges", "number of true edges", "1"),
    )
    return dataset


def precision_at(scores: NDArray[np.float64], truth: NDArray[np.bool_], count: int) -> float:
    """Return the share of true edges among the ``count`` highest scores.

    Edges that tie with the last one share the remaining places, so this is the expectation over
    random orders of ties. NaN if there are fewer edges than ``count``, or ``count`` is 0.
    """
    if not 0 < count <= len(scores):
        return np.nan
    last = np.partition(scores, -count)[-count]
    above, at = scores > last, scores == last
    return float((truth[above].sum() + (count - above.sum()) * truth[at].mean()) / count)


def _numbers(graph: Candidate, truth: NDArray[np.bool_]) -> list[float]:
    """Return the numbers of `_DOCUMENTS`."""
    largest = np.nanmax(graph.scores, initial=0.0)
    scores = np.where(graph.scores < RESOLUTION * largest, 0.0, graph.scores)
    allowed = ~np.isnan(scores)
    count = int(truth.sum())
    precision = recall = np.nan
    if graph.members is not None and 0 < (size := graph.members[allowed].sum()) < allowed.sum():
        hits = (graph.members & truth).sum()
        precision, recall = hits / size, hits / count if count else np.nan
    return [
        auroc(scores, truth),
        average_precision(scores, truth),
        random_average_precision(count, int(allowed.sum())),
        precision_at(tied(scores[allowed]), truth[allowed], count),
        precision,
        recall,
    ]
