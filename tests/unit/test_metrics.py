"""Metrics against libraries and known answers, beside the references of the common checks."""

from __future__ import annotations

import doctest
import itertools
from importlib import import_module

import networkx as nx
import numpy as np
import powerlaw
import pytest
from scipy.stats import entropy, kendalltau
from support.graphs import to_graph
from support.metrics import computed

from cntbench.components import components, feasible
from cntbench.errors import SpecError
from cntbench.metrics import tail
from cntbench.metrics._base import LAGS
from cntbench.metrics._graphs import Graphs
from cntbench.metrics._layers import layer_corrected
from cntbench.metrics._paths import Stages, distances
from cntbench.metrics.modularity import canonical_order
from cntbench.plugins import find, room

NODES = components(3, 4, parallel=False)
LAYER = np.array([node.layer for node in NODES])


def random_weights(seed: int, *, graphs: int = 4, zeros: float = 0.2) -> np.ndarray:
    """Weights of which some are 0, dims graph, source, target."""
    rng = np.random.default_rng(seed)
    shape = (graphs, len(NODES), len(NODES))
    drawn = np.where(rng.random(shape) < zeros, 0, rng.lognormal(0, 1, shape))
    return np.where(feasible(NODES), drawn, np.nan)


def metric(name: str, weights: np.ndarray) -> np.ndarray:
    return computed(room("metric")[name], weights, np.arange(weights.shape[-3]), LAYER)


def present(weights: np.ndarray) -> nx.DiGraph:
    """The graph of the edges that have weight, with their lengths."""
    graph = to_graph(weights)
    graph.remove_edges_from([edge[:2] for edge in graph.edges(data="weight") if not edge[2]])
    for *_, data in graph.edges(data=True):
        data["length"] = 1 / data["weight"]
    return graph


@pytest.mark.parametrize("seed", range(3))
def test_betweenness_agrees_with_networkx(seed):
    weights = random_weights(seed)
    expected = [nx.betweenness_centrality(present(w), weight="length") for w in weights]
    values = metric("betweenness", weights)
    np.testing.assert_allclose(values, [list(e.values()) for e in expected], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_hubs_and_authorities_agree_with_networkx(seed):
    weights = random_weights(seed)
    for w, hubs, authorities in zip(
        weights, metric("hubs", weights), metric("authorities", weights), strict=True
    ):
        expected = nx.hits(to_graph(w), tol=1e-12)
        np.testing.assert_allclose(hubs, list(expected[0].values()), atol=1e-9)
        np.testing.assert_allclose(authorities, list(expected[1].values()), atol=1e-9)


def test_two_equally_strong_parts_are_both_hubs_and_authorities():
    weights = np.full((1, 4, 4), np.nan)
    weights[0, [0, 1], [2, 3]] = 1
    np.testing.assert_allclose(find("metric", "hubs").compute(weights), [[0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(find("metric", "authorities").compute(weights), [[0, 0, 0.5, 0.5]])


@pytest.mark.parametrize("seed", range(3))
def test_global_reaching_centrality_agrees_with_networkx(seed):
    weights = random_weights(seed, zeros=0)
    expected = [nx.global_reaching_centrality(present(w), weight="weight") for w in weights]
    np.testing.assert_allclose(metric("global_reaching_centrality", weights), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_trophic_incoherence_of_equal_weights_agrees_with_networkx(seed):
    weights = np.where(random_weights(seed, zeros=0.5) > 0, 1.0, np.nan)
    expected = [nx.trophic_incoherence_parameter(to_graph(w)) for w in weights]
    results = [metric("trophic_incoherence", w[None])[0] for w in weights]
    np.testing.assert_allclose(results, expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_feed_forward_loops_of_equal_weights_are_the_triads_of_networkx(seed):
    weights = (random_weights(seed, zeros=0.5) > 0).astype(float)
    expected = [nx.triadic_census(present(w))["030T"] for w in weights]
    np.testing.assert_allclose(metric("feed_forward_loops", weights), expected)


def test_entropy_agrees_with_scipy():
    weights = random_weights(0)
    expected = [entropy(w[~np.isnan(w)]) for w in weights]
    np.testing.assert_allclose(metric("entropy", weights), expected)
    np.testing.assert_allclose(metric("effective_edges", weights), np.exp(expected))


def test_modularity_reaches_what_networkx_reaches():
    weights = random_weights(0, graphs=40, zeros=0.6)
    values = metric("modularity", weights)
    ours, best = [], []
    for w, value in zip(weights, values, strict=True):
        graph = present(w)
        runs = [
            nx.community.modularity(
                graph, nx.community.louvain_communities(graph, seed=seed, weight="weight")
            )
            for seed in range(10)
        ]
        assert value >= min(runs) - 1e-9
        ours.append(value)
        best.append(np.mean(runs))
    # One order of the nodes is as good as another: no better and no worse than runs at random.
    assert abs(np.mean(ours) - np.mean(best)) < 0.01


def test_modularity_finds_planted_communities():
    size, groups = 5, 3
    weights = np.full((size * groups,) * 2, np.nan)
    weights[np.triu_indices(size * groups, 1)] = 0.01
    members = [range(size * g, size * (g + 1)) for g in range(groups)]
    for group in members:
        for i, j in itertools.combinations(group, 2):
            weights[i, j] = 1
    order = np.random.default_rng(0).permutation(size * groups)
    shuffled = weights[order][:, order]
    expected = nx.community.modularity(to_graph(weights), members, weight="weight")
    for labelled in (weights, shuffled):
        values = find("metric", "modularity").compute(labelled)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_the_canonical_order_tells_apart_what_the_largest_weights_do_not():
    # Two paths of equal weights, one of them longer: only what lies beyond the ends differs.
    weights = np.zeros((1, 7, 7))
    weights[0, [0, 1, 3, 4, 5], [1, 2, 4, 5, 6]] = 1
    shuffle = np.random.default_rng(1).permutation(7)
    first, other = (
        canonical_order(weights)[0],
        canonical_order(weights[:, shuffle][..., shuffle])[0],
    )
    np.testing.assert_array_equal(shuffle[other], first)


def test_the_canonical_order_of_symmetric_nodes_gives_equal_graphs():
    # Two equal pairs, and two that share a target: which comes first must not be seen.
    weights = np.zeros((1, 8, 8))
    weights[0, [0, 2, 4, 5], [1, 3, 6, 6]] = 1
    order = canonical_order(weights)[0]
    for seed in range(20):
        shuffle = np.random.default_rng(seed).permutation(8)
        shuffled = weights[:, shuffle][..., shuffle]
        again = canonical_order(shuffled)[0]
        np.testing.assert_array_equal(
            shuffled[0][np.ix_(again, again)], weights[0][np.ix_(order, order)]
        )


@pytest.mark.parametrize(("direction", "role"), [("out", "spreader"), ("in", "gatherer")])
def test_rank_stability_and_role_change_agree_with_scipy_and_sets(direction, role):
    weights = random_weights(0, graphs=9)
    values = metric(f"{direction}_rank_stability", weights)
    strengths = layer_corrected(weights, LAYER, direction)
    ranked = strengths[:, ~np.isnan(strengths[0])]
    for checkpoint, (place, lag) in itertools.product(range(9), enumerate(LAGS)):
        if lag > checkpoint:
            assert np.isnan(values[checkpoint, place])
        else:
            tau = kendalltau(ranked[checkpoint], ranked[checkpoint - lag]).statistic
            np.testing.assert_allclose(values[checkpoint, place], tau)
    change = metric(f"{role}_change", weights)
    count = -(-ranked.shape[1] // 4)
    fronts = [set(row.argsort()[-count:].tolist()) for row in ranked]
    expected = [1 - len(a & b) / len(a | b) for a, b in itertools.pairwise(fronts)]
    np.testing.assert_allclose(change[1:], expected)


def test_layer_corrected_strength_is_strength_over_its_mean_under_permutation():
    weights, rng = random_weights(0, graphs=1)[0], np.random.default_rng(0)
    pair = LAYER[:, None] * 3 + LAYER
    total, draws = np.zeros(len(LAYER)), 4000
    for _ in range(draws):
        drawn = weights.copy()
        for item in np.unique(pair):
            there = (pair == item) & feasible(NODES)
            drawn[there] = rng.permutation(weights[there])
        total += np.nansum(drawn, axis=1)
    sends = feasible(NODES).any(axis=1)
    expected = np.nansum(weights, axis=1)[sends] * draws / total[sends]
    corrected = layer_corrected(weights, LAYER, "out")
    assert np.isnan(corrected[~sends]).all()
    np.testing.assert_allclose(corrected[sends], expected, rtol=0.03)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(0, 1, 400),
        lambda rng: rng.exponential(1, 400),
        lambda rng: rng.random(400),
        lambda rng: rng.pareto(3, 400) + 1,
    ],
    ids=["log-normal", "exponential", "uniform", "power law"],
)
@pytest.mark.filterwarnings("ignore")  # of the library's general search
def test_the_tail_is_fitted_as_the_powerlaw_library_does(draw, seed):
    sample = draw(np.random.default_rng(seed))
    fit = powerlaw.Fit(
        sample, xmin=np.sort(sample)[200], parameter_ranges={"alpha": [1, None]}, verbose=0
    )
    for name, distribution in (("power_law", "power law"), ("lognormal", "log-normal")):
        fitted = tail.ratios(sample.reshape(1, 20, 20), distribution)
        library = getattr(fit, name)
        if name == "lognormal" and not -20 < library.mu < 20:
            continue  # its density is normalised by a tail too small for its arithmetic
        total, _ = fit.distribution_compare(name, "exponential", normalized_ratio=False)
        normalised, _ = fit.distribution_compare(name, "exponential", normalized_ratio=True)
        np.testing.assert_allclose(fitted.mean, total / 200, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(fitted.z, normalised, rtol=1e-2, atol=1e-2)


def test_tails_are_told_apart():
    rng = np.random.default_rng(0)

    shape = (200, 20, 20)
    heavy, light = rng.pareto(1.5, shape) + 1, rng.random(shape)
    exponential = rng.exponential(1, shape)
    for sample_ratio, sign in ((heavy, 1), (light, -1)):
        assert (np.sign(tail.ratios(sample_ratio, "power law").mean) == sign).mean() > 0.95
    # The exponential is among both: a power law is always worse there, rarely surely better.
    z = tail.ratios(exponential, "power law").z
    assert (z > 1.64).mean() < 0.05
    assert z.mean() < 0


@pytest.mark.parametrize("moment", [1.0001, 1.2, 1.5, np.pi / 2, 1.9, 1.99])
def test_the_truncated_normal_has_the_requested_moments(moment):
    from scipy.stats import truncnorm

    cut = float(tail.truncation(np.array(moment)))
    mean, variance = truncnorm.stats(cut, np.inf, loc=-cut, moments="mv")
    np.testing.assert_allclose((variance + mean**2) / mean**2, moment, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_distances_agree_with_networkx(seed):
    weights = random_weights(seed, graphs=1)[0]
    expected = np.full(weights.shape, np.inf)
    for source, row in nx.all_pairs_dijkstra_path_length(present(weights), weight="length"):
        expected[source, list(row)] = list(row.values())
    np.testing.assert_allclose(distances(weights), expected)


def test_a_cycle_is_refused():
    weights = np.full((3, 3), np.nan)
    weights[[0, 1, 2], [1, 2, 0]] = 1
    with pytest.raises(ValueError, match="cycle"):
        Stages.of(weights)


def test_many_graphs_are_computed_as_each_alone():
    weights = random_weights(0, graphs=700)
    for name in ("betweenness", "modularity", "authorities", "tail_lognormal"):
        values = metric(name, weights)
        for at in (0, 350, 699):
            alone = metric(name, weights[at : at + 1])[0]
            np.testing.assert_allclose(values[at], alone, rtol=1e-12, atol=1e-15)


def test_an_unknown_metric_is_told_the_nearest():
    graphs = Graphs(random_weights(0), step=np.arange(4), layer=LAYER)
    with pytest.raises(SpecError) as caught:
        graphs.metric("modulariti")
    assert "unknown metric 'modulariti'\nDid you mean 'modularity'? Allowed: " in str(caught.value)


@pytest.mark.parametrize("name", ["_paths", "_layers"])
def test_examples_of_what_metrics_share(name):
    tested = doctest.testmod(import_module(f"cntbench.metrics.{name}"))
    assert tested.attempted > 0
    assert tested.failed == 0
