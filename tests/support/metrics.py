"""Metrics of films, and the same by their references, graph by graph."""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import DIMS, LAGS, Metric
from cntbench.metrics._graphs import Graphs
from cntbench.metrics.backbones._base import backbone
from cntbench.plugins import Plugin, find
from cntbench.testing import under_test
from support.graphs import to_graph

METRICS = list(under_test("metric").values())
NODES = ("source", "target", "component")


def node_axis(metric: Metric) -> int | None:
    """The axis of a film's metric, from the last, that are nodes."""
    dims = DIMS[metric.per]
    axes = [axis for axis, dim in enumerate(dims) if dim in NODES]
    return axes[0] - len(dims) if axes else None


def computed(plugin: Plugin, weights: np.ndarray, step: np.ndarray, layer: np.ndarray):
    """A metric of graphs with dims …, checkpoint, source, target."""
    return Graphs(weights, step=step, layer=layer).metric(plugin.name)


def graphs_for_references(
    metric: Metric, weights: np.ndarray, step: np.ndarray, layer: np.ndarray
) -> list[nx.DiGraph]:
    """The graphs of a film, with what a metric's reference finds in them."""
    graphs = [to_graph(moment) for moment in weights]
    for graph, at in zip(graphs, step, strict=True):
        graph.graph["step"] = int(at)
        for node in graph:
            graph.nodes[node]["layer"] = int(layer[node])
        if metric.backbone:
            rule = backbone(metric.backbone)
            kept = find("backbone rule", rule.spec.rule).reference(graph, rule.rule)
            for edge in graph.edges:
                graph.edges[edge]["backbone"] = edge in kept
    return graphs


def by_reference(
    plugin: Plugin, weights: np.ndarray, step: np.ndarray, layer: np.ndarray
) -> np.ndarray:
    """A metric of a film with dims checkpoint, source, target, by its reference."""
    metric: Metric = plugin.module.METRIC
    reference = plugin.module.reference
    graphs = graphs_for_references(metric, weights, step, layer)
    count, nodes = len(graphs), range(weights.shape[-1])

    def since(lag: int) -> list[float]:
        """From as many checkpoints before to each."""
        earlier = [np.nan] * min(lag, count)
        return [*earlier, *(reference(graphs[i - lag], graphs[i]) for i in range(lag, count))]

    if metric.per == "transition":
        return np.array(since(1), dtype=float)
    if metric.per == "lag":
        return np.array([since(lag) for lag in LAGS], dtype=float).T
    if metric.per == "checkpoint_pair":
        return np.array([[reference(a, b) for b in graphs] for a in graphs], dtype=float)
    results = [reference(graph) for graph in graphs]
    if metric.per == "graph":
        return np.array(results, dtype=float)
    if "layer" in DIMS[metric.per]:
        layers = np.unique(layer).tolist()
        return np.array(
            [[[v[n][at] for at in layers] for n in nodes] for v in results], dtype=float
        )
    return np.array([[values[node] for node in nodes] for values in results], dtype=float)
