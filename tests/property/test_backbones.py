"""The common checks of every backbone rule and of every shipped backbone."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.graphs import to_graph

from cntbench.components import components, feasible
from cntbench.errors import SpecError
from cntbench.metrics.backbones._base import Backbone, backbone
from cntbench.metrics.backbones.top_k import Parameters as TopK
from cntbench.plugins import find, room
from cntbench.runs.catalogue import load_catalogue
from cntbench.testing import folders_under_test, is_under_test, under_test

BACKBONES = [
    entry
    for entry in load_catalogue(folders_under_test()).backbones.values()
    if is_under_test(entry.path)
]
every_backbone = pytest.mark.parametrize("entry", BACKBONES, ids=[b.name for b in BACKBONES])


@st.composite
def graphs(draw: st.DrawFn) -> np.ndarray:
    """Weights with dims graph, source, target."""
    nodes = components(draw(st.integers(1, 3)), draw(st.integers(1, 3)), parallel=True)
    shape = (2, len(nodes), len(nodes))
    weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
    values = draw(hnp.arrays(np.float64, shape, elements=weight))
    return np.where(feasible(nodes), values, np.nan)


@every_backbone
@given(weights=graphs())
def test_keeps_what_its_reference_keeps(entry: Backbone, weights: np.ndarray):
    reference = find("backbone rule", entry.spec.rule).reference
    kept = entry.rule.keep(weights)
    for moment, of_moment in zip(weights, kept, strict=True):
        edges = {tuple(edge) for edge in np.argwhere(of_moment).tolist()}
        assert edges == reference(to_graph(moment), entry.rule)


@every_backbone
@given(weights=graphs(), data=st.data())
def test_keeps_edges_that_have_weight_however_they_are_labelled(entry, weights, data):
    kept = entry.rule.keep(weights)
    assert (weights[kept] > 0).all()
    order = np.array(data.draw(st.permutations(range(weights.shape[-1]))))
    relabelled = entry.rule.keep(weights[:, order][:, :, order])
    np.testing.assert_array_equal(relabelled, kept[:, order][:, :, order])
    np.testing.assert_array_equal(entry.rule.keep(weights * 2), kept)


@pytest.mark.parametrize("of", ["source", "target", "graph"])
@given(weights=graphs(), k=st.integers(1, 12))
def test_top_k_of_every_kind_of_group(of, weights, k):
    rule = TopK(k=k, of=of)
    reference = find("backbone rule", "top_k").reference
    edges = {tuple(edge) for edge in np.argwhere(rule.keep(weights)[0]).tolist()}
    assert edges == reference(to_graph(weights[0]), rule)


def test_a_node_with_one_edge_says_nothing():
    chain = np.full((3, 3), np.nan)
    chain[0, 1] = chain[1, 2] = 1.0
    assert not backbone("disparity").rule.keep(chain).any()


@pytest.mark.parametrize("name", under_test("backbone rule"))
def test_examples_in_the_docstring(name):
    tested = doctest.testmod(room("backbone rule")[name].module)
    assert tested.attempted > 0
    assert tested.failed == 0


def test_an_unknown_backbone_is_told_the_nearest():
    with pytest.raises(SpecError, match="Did you mean 'disparity'"):
        backbone("disparty")


def test_a_broken_file_says_what_is_wrong(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('version = 1\nsummary = "Mine."\nrule = "top"\n')
    with pytest.raises(SpecError, match="unknown backbone rule 'top'"):
        Backbone.read(path)
    path.write_text(
        'version = 1\nsummary = "Mine."\nrule = "top_k"\n[parameters]\nk = 1\nof = "node"\n'
    )
    with pytest.raises(SpecError, match=r"mine.toml: parameters\.of = \"node\" is not allowed"):
        Backbone.read(path)
