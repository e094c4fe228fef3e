"""Names, causal order and feasible edges, against a walk over the architecture's equations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cntbench.components import components, feasible


def reaches(a, b, parallel):
    """Whether b reads something that a has written, by the blocks' definition."""
    if a.layer != b.layer:
        return a.layer < b.layer
    return not parallel and a.kind == "head" and b.kind == "MLP"


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_feasible_edges_follow_the_architecture(layers, heads, parallel):
    nodes = components(layers, heads, parallel=parallel)
    edges = feasible(nodes)
    assert edges.dtype == bool
    assert edges.shape == (len(nodes), len(nodes))
    for (i, a), (j, b) in itertools.product(enumerate(nodes), repeat=2):
        assert edges[i, j] == reaches(a, b, parallel), (a.name, b.name)


@pytest.mark.parametrize("parallel", [True, False])
def test_index_order_is_causal_order(parallel):
    nodes = components(3, 2, parallel=parallel)
    assert not np.tril(feasible(nodes)).any()
    assert [node.stage for node in nodes] == sorted(node.stage for node in nodes)


def test_number_of_feasible_edges_in_closed_form():
    layers, heads = 4, 3
    across = layers * (layers - 1) // 2 * (heads + 1) ** 2
    assert feasible(components(layers, heads, parallel=True)).sum() == across
    assert feasible(components(layers, heads, parallel=False)).sum() == across + layers * heads


@pytest.mark.parametrize("parallel", [True, False])
def test_names_are_unique_and_readable(parallel):
    nodes = components(2, 2, parallel=parallel)
    assert [node.name for node in nodes] == ["L0.H0", "L0.H1", "L0.MLP", "L1.H0", "L1.H1", "L1.MLP"]
    assert [node.kind for node in nodes] == ["head", "head", "MLP"] * 2
    assert [node.head for node in nodes] == [0, 1, None] * 2
    assert [node.layer for node in nodes] == [0, 0, 0, 1, 1, 1]


def test_stages():
    assert [n.stage for n in components(2, 1, parallel=True)] == [0, 0, 1, 1]
    assert [n.stage for n in components(2, 1, parallel=False)] == [0, 1, 2, 3]
