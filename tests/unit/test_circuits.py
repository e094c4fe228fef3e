"""Circuits by scores, and their faithfulness: closed forms, MIB's code, and the bookkeeping."""

from __future__ import annotations

import json
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
import xarray as xr
from support.models import decoder, random_model, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.replacements import resample
from cntbench.comparison.circuits.faithfulness import (
    MIB,
    Choice,
    EdgeScores,
    faithfulness,
    scores_of,
)
from cntbench.comparison.circuits.selection import greedy, layer_pairs, pruned, shuffled, top
from cntbench.components import components
from cntbench.engine.circuit import edges_of
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import Linear
from cntbench.models.products import Activation

PATCH = Ablation("resample", resample.Parameters(donor="reference"))
LAYERS, WIDTH, VOCABULARY = 4, 5, 11


def linear_decoder():
    """MLPs alone, without norms and activations: a readout is a sum over paths."""
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64) / 2

    def mlp():
        nothing = torch.zeros(WIDTH, dtype=torch.float64)
        inner = Linear(torch.eye(WIDTH, dtype=torch.float64), nothing)
        outer = Linear(matrix(WIDTH, WIDTH), matrix(WIDTH))
        return MLP(inner, outer, Activation(lambda hidden: hidden, "none"))

    embedding = matrix(VOCABULARY, WIDTH)
    unembed = Linear(matrix(VOCABULARY, WIDTH), matrix(VOCABULARY))
    stages = tuple(Stage(lambda x: x, (mlp(),)) for _ in range(LAYERS))
    nodes = components(LAYERS, 0, parallel=True)
    return Decoder(lambda t: embedding[t], stages, lambda x: x, unembed, nodes, 64)


def path_sums(model, prompts, kept):
    """Recovered share by path: Σ over paths of kept edges of u · W … W (e − e'), over all of it."""
    weights = [stage.blocks[0].outer.weight.numpy() for stage in model.stages]
    rows = np.arange(len(prompts))[:, None]
    embed = [model.embed(torch.from_numpy(t)).numpy() for t in (prompts.tokens, prompts.reference)]
    apart = (embed[0] - embed[1])[rows, prompts.scored]
    unembed = model.unembed.weight.numpy()
    u = unembed[prompts.targets] - unembed[prompts.decoys]

    def total(mask):
        graph = nx.DiGraph((s, t + 1) for s, t in np.argwhere(mask))
        accumulated = 0.0
        for path in nx.all_simple_paths(graph, 0, LAYERS + 1):
            moved = apart
            for node in path[1:-1]:
                moved = moved @ weights[node - 1].T
            accumulated += (u * moved).sum(-1).mean()
        return accumulated

    return total(kept) / total(edges_of(model))


def test_a_linear_circuit_recovers_the_sum_of_its_paths():
    model, prompts = linear_decoder(), random_prompts(vocabulary=VOCABULARY)
    edges = edges_of(model)
    drawn = np.random.default_rng(1).standard_normal(edges.shape)
    request = Request(model, prompts, [PATCH])
    choice = Choice(budgets=(0.2, 0.4, 0.7), rankings=("signed",), draws=2)
    curves = faithfulness(request, EdgeScores(drawn), choice)
    count = int(edges.sum())
    for share, recovered in zip(choice.budgets, curves["faithfulness"].values[0], strict=True):
        kept = top(np.where(edges, drawn, np.nan), int(share * count))
        assert recovered == pytest.approx(path_sums(model, prompts, kept), abs=1e-9)


def request_of(architecture="gpt_neox", **options):
    model = decoder(random_model(architecture, dtype=torch.float64))
    return Request(model, random_prompts(**options), [PATCH])


def scores_for(request, seed=0):
    edges = edges_of(request.model)
    scores = np.random.default_rng(seed).standard_normal(edges.shape)
    return EdgeScores(np.where(edges, scores, np.nan))


def test_areas_are_those_of_mib():
    """The loop of MIB's ``evaluate_area_under_curve``, with its budgets and the whole model."""
    request = request_of()
    curves = faithfulness(request, scores_for(request), Choice(draws=2))
    for ranking in ("signed", "absolute"):
        at = curves.sel(ranking=ranking)
        curve = [*zip([*MIB, 1.0], [*at["faithfulness"].values, 1.0], strict=True)]
        cpr = cmd = 0.0
        for (x1, y1), (x2, y2) in pairwise(curve):
            cpr += (x2 - x1) * (y1 + y2) / 2
            cmd += (x2 - x1) * (abs(1 - y1) + abs(1 - y2)) / 2
        assert at["cpr"].item() == pytest.approx(cpr)
        assert at["cmd"].item() == pytest.approx(cmd)
        assert at["cpr_lower"] <= at["cpr_upper"]


@pytest.mark.parametrize(("readout", "better"), [("logit_difference", 1), ("cross_entropy", -1)])
def test_scores_are_positive_where_patching_hurts(readout, better):
    """Of edges between components and into the unembedding; without effects, they are relative."""
    edge, last = np.array([[np.nan, 0.5], [np.nan, np.nan]]), np.array([[9.0, 9.0], [-0.25, 2.0]])
    dims = ("source", "target")
    cell = xr.Dataset(
        {
            "influence": (dims, abs(edge)),
            "edge_effect": (dims, edge),
            "readout_effect": (("readout", "source"), last),
            "readout_value": ("readout", [1.0, -4.0]),
        },
        {"readout": ["accuracy", readout]},
    )
    scores = scores_of(cell, readout)
    expected = np.full((3, 3), np.nan)
    expected[1, 1], expected[1:, 2] = -0.5 * better, np.array([0.25, -2.0]) * better
    assert scores.signed
    np.testing.assert_allclose(scores.values, expected)
    scores = scores_of(cell.assign(edge_effect=cell["edge_effect"] * np.nan), readout)
    expected[1, 1], expected[1:, 2] = 0.5, [0.0625, 0.5]
    assert not scores.signed
    np.testing.assert_allclose(scores.values, expected)


@pytest.mark.parametrize(
    ("estimator", "signed"), [("information_flow", False), ("eap", True), ("of_others", True)]
)
def test_shares_have_no_sign(estimator, signed):
    """Negated as if they were changes of a readout, the largest came last of all."""
    share, last = np.array([[np.nan, 0.5], [np.nan, np.nan]]), np.array([[-0.25, 2.0]])
    recorded = {"ablations": {"mine": {"estimator": estimator}}}
    cell = xr.Dataset(
        {
            "influence": (("source", "target"), share),
            "edge_effect": (("source", "target"), share),
            "readout_effect": (("readout", "source"), last),
            "readout_value": ("readout", [-4.0]),
        },
        {"readout": ["logit_difference"], "ablation": "mine"},
        {"spec": json.dumps(recorded)},
    )
    scores = scores_of(cell, "logit_difference")
    assert scores.signed == signed
    np.testing.assert_allclose(
        scores.values[1], [np.nan, *((-0.5, 0.25) if signed else (0.5, 1 / 16))]
    )


def test_no_edges_recover_nothing_and_all_recover_everything():
    request = request_of("llama")
    count = int(edges_of(request.model).sum())
    with pytest.raises(CntbenchError, match="holds no edge"):
        faithfulness(request, scores_for(request), Choice(budgets=(0.5 / count, 1.0)))
    curves = faithfulness(request, scores_for(request), Choice(draws=1))
    assert curves["circuit_edges"].values[0, 0] == 0
    ends = [curves["faithfulness"].values[0, 0], curves["complement_faithfulness"].values[0, 0]]
    np.testing.assert_allclose(ends, [0, 1], atol=1e-12)
    curves = faithfulness(request, scores_for(request), Choice(budgets=(1 / count, 1.0), draws=1))
    whole = curves.isel(budget=1)
    np.testing.assert_allclose(whole["faithfulness"], 1, atol=1e-12)
    np.testing.assert_allclose(whole["complement_faithfulness"], 0, atol=1e-12)
    np.testing.assert_allclose(whole["random_faithfulness"], 1, atol=1e-12)
    assert (whole["circuit_edges"] == count).all()


def test_edges_without_a_score_stay_in_every_circuit():
    request = request_of()
    scores = scores_for(request)
    scores.values[0] = np.nan
    curves = faithfulness(request, scores, Choice(budgets=(0.5,), draws=1))
    assert curves["scored_edges"] == edges_of(request.model)[1:].sum()
    assert curves["circuit_edges"].max() <= curves["scored_edges"] // 2
    with_embedding = faithfulness(request, scores_for(request), Choice(budgets=(0.5,), draws=1))
    assert curves["empty_readout"] != with_embedding["empty_readout"]


def test_rankings_agree_where_the_sign_means_nothing():
    request = request_of()
    scores = EdgeScores(scores_for(request).values, signed=False)
    curves = faithfulness(request, scores, Choice(draws=1))
    np.testing.assert_array_equal(*curves["faithfulness"].values)


def test_a_threshold_gives_one_circuit_without_areas():
    request = request_of()
    scores = scores_for(request)
    curves = faithfulness(request, scores, Choice(rankings=("absolute",), threshold=1.0, draws=1))
    kept = np.abs(scores.values) >= 1
    assert (curves["circuit_edges"] == pruned(kept).sum()).all()
    assert np.isnan(curves["budget"]).all()
    assert np.isnan(curves["cpr"]).all()
    assert np.isfinite(curves["faithfulness"]).all()
    with pytest.raises(CntbenchError, match="no edge has a score of at least 1000"):
        faithfulness(request, scores, Choice(rankings=("signed",), threshold=1000.0))


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, float("nan")])
def test_a_budget_outside_of_its_range_is_refused(budget):
    with pytest.raises(CntbenchError, match="% of the edges is not allowed"):
        Choice(budgets=(budget,))


def test_scores_of_another_model_are_refused():
    with pytest.raises(CntbenchError, match="scores of 2 components do not fit a model of 6"):
        faithfulness(request_of(), EdgeScores(np.zeros((3, 3))))


def test_greedy_walks_from_the_readout():
    """The best edges into what is already reached, as the loop of its definition finds them."""
    rng = np.random.default_rng(3)
    edges = edges_of(request_of().model)
    scores = np.where(edges, rng.standard_normal(edges.shape), np.nan)
    for count in (1, 5, 12, 100):
        kept, reached = set(), {len(edges)}
        for _ in range(count):
            candidates = {
                (s, t) for s, t in np.argwhere(edges) if t + 1 in reached and (s, t) not in kept
            }
            if not candidates:
                break
            best = max(candidates, key=lambda edge: scores[edge])
            kept.add(best)
            reached.add(best[0])
        assert {tuple(edge) for edge in np.argwhere(greedy(scores, count))} == kept


def test_pruning_keeps_the_paths_from_the_embedding_to_the_readout():
    rng = np.random.default_rng(4)
    edges = edges_of(request_of("llama").model)
    for density in (0.05, 0.2, 0.5):
        kept = edges & (rng.random(edges.shape) < density)
        graph = nx.DiGraph((s, t + 1) for s, t in np.argwhere(kept))
        graph.add_nodes_from([0, len(edges)])
        alive = {0, *nx.descendants(graph, 0)} & {len(edges), *nx.ancestors(graph, len(edges))}
        expected = [(s, t) for s, t in np.argwhere(kept) if {s, t + 1} <= alive]
        assert np.argwhere(pruned(kept)).tolist() == [list(edge) for edge in expected]


def test_pruning_does_not_change_what_a_circuit_recovers():
    """Replaced values come from the twin's run, in which a node without a clean input speaks."""
    from cntbench.engine.circuit import circuit_readouts
    from cntbench.engine.influence import statistics_of

    request, rng = request_of("gpt2"), np.random.default_rng(5)
    edges = edges_of(request.model)
    kept = edges & (rng.random((4, *edges.shape)) < 0.3)
    both = np.concatenate([kept, [pruned(circuit) for circuit in kept]])
    values = circuit_readouts(request, statistics_of(request), both)
    np.testing.assert_allclose(values[:4], values[4:], atol=1e-10)
    assert (both[:4] != both[4:]).any()


@pytest.mark.parametrize("inputs", [(), (3,)])
def test_random_circuits_keep_the_layers(inputs):
    rng = np.random.RandomState(0)
    model = decoder(random_model("gpt_neox", layers=3))
    layers = np.array([node.layer for node in model.components])
    scored = np.broadcast_to(edges_of(model), (*inputs, *edges_of(model).shape))
    kept = scored & (rng.random_sample(scored.shape) < 0.3)
    groups = layer_pairs(layers, scored.shape)
    drawn = shuffled(kept, scored, groups, rng, 20)
    assert not (drawn & ~scored).any()
    for circuit in drawn:
        np.testing.assert_array_equal(
            np.bincount(groups[circuit], minlength=groups.max()),
            np.bincount(groups[kept], minlength=groups.max()),
        )
    assert drawn.any(axis=0).sum() > kept.sum()


def test_a_readout_that_does_not_move_has_no_faithfulness():
    request = request_of()
    same = Request(
        request.model,
        type(request.prompts)(**{**vars(request.prompts), "reference": request.prompts.tokens}),
        [PATCH],
    )
    curves = faithfulness(same, scores_for(request), Choice(draws=1))
    assert np.isnan(curves["faithfulness"]).all()
