"""Experts as components, against plain transformers with hooks, in double precision."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from support.circuit_oracle import oracle_circuit
from support.counting import counted
from support.edge_oracle import oracle_edges
from support.models import decoder, random_model, random_prompts
from support.oracle import Oracle, close, oracle_influence

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import cosine, relative_l2
from cntbench.ablations.replacements import mean, noise, optimal_constant, resample, zero
from cntbench.components import feasible
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import influence, statistics_of
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts

MEASURES = {"relative_l2": relative_l2.measure, "cosine": cosine.measure}
RESAMPLE = resample.Parameters(donor="reference")
READOUT = {"scope": "direct", "observable": "readout"}
RULES = {
    "zero": (zero.Parameters(), "relative_l2"),
    "mean": (mean.Parameters(population="clean", over=("prompt",)), "cosine"),
    "resample": (RESAMPLE, "relative_l2"),
    "optimal": (optimal_constant.Parameters(steps=5), "relative_l2"),
    "noise": (noise.Parameters(scale=1.0, population="clean"), "relative_l2"),
}
#: OLMoE has experts in both layers and their probabilities as weights; Qwen3-MoE has an MLP in the
#: second and weights that add up to 1.
FAMILIES = ("olmoe", "qwen3_moe")
every_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def model(family):
    return random_model(family, heads=2, width=4, mlp=6, dtype=torch.float64)


@cache
def engine(family):
    return decoder(model(family)).by_experts()


def test_experts_follow_the_heads_that_they_read():
    nodes = engine("qwen3_moe").components
    names = "L0.H0 L0.H1 L0.E0 L0.E1 L0.E2 L0.E3 L1.H0 L1.H1 L1.MLP"
    assert [node.name for node in nodes] == names.split()
    oracle = Oracle(model("qwen3_moe"), experts=True)
    assert oracle.names == names.split()
    pairs = [
        [oracle.feasible(source, target) for target in oracle.nodes] for source in oracle.nodes
    ]
    assert (feasible(nodes) == np.array(pairs)).all()


@every_family
def test_the_layer_is_the_sum_of_its_experts(family):
    whole, parts = decoder(model(family)), engine(family)
    stream = torch.randn(
        2, 3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    mixture, apart = whole.stages[1].blocks[0], parts.stages[1].blocks[0]
    states = apart.states(stream)
    assert (states == 0).all(dim=-1).sum(dim=-1).unique().tolist() == [2], "2 of 4 are sent a token"
    close(states.sum(dim=-2), mixture.states(stream)[..., 0, :])
    change = torch.randn(3, *stream.shape[1:], dtype=torch.float64)
    close(
        apart.derivative(stream[0], change).sum(dim=-2),
        mixture.derivative(stream[0], change)[..., 0, :],
    )


@pytest.mark.filterwarnings("ignore:the optimal constants")
@pytest.mark.parametrize(
    ("family", "name"),
    [pair for pair in product(FAMILIES, RULES) if pair != ("olmoe", "optimal")],
)
def test_total_effects_equal_the_oracle(family, name):
    prompts = random_prompts(count=2, length=5, scored=2)
    rule, measure = RULES[name]
    names = known_readouts()
    ablation = Ablation(name, rule, MEASURES[measure])
    result = influence(Request(engine(family), prompts, [ablation], effects=names, readouts=names))
    expected, values, effects = oracle_influence(
        model(family), prompts, rule, measure, name=name, experts=True
    )
    close(result.influence[0], expected, atol=1e-7 if measure == "cosine" else 1e-10)
    close(result.readout_value, values)
    close(result.readout_effect[0], effects)


@pytest.mark.parametrize(
    ("family", "name"),
    [("olmoe", "zero"), ("olmoe", "resample"), ("qwen3_moe", "zero"), ("qwen3_moe", "mean")],
)
def test_direct_effects_equal_the_oracle(family, name):
    prompts = random_prompts(count=1 + (name == "mean"), length=5, scored=2)
    rule, measure = RULES[name]
    ablation = Ablation(name, rule, MEASURES[measure], scope="direct")
    result = influence(Request(engine(family), prompts, [ablation], effects=known_readouts()))
    edges, direct = oracle_edges(model(family), prompts, ablation, measure, experts=True)
    close(result.influence[0], edges.mean(-1), atol=1e-7 if measure == "cosine" else 1e-10)
    close(result.readout_effect[0], direct.mean(-1))


@every_family
@pytest.mark.parametrize("estimator", ["exact", "eap"])
def test_effects_of_edges_on_a_readout_equal_the_oracle(family, estimator):
    prompts = random_prompts(count=1, length=5, scored=2)
    effects = ("cross_entropy",)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator=estimator)
    result = influence(Request(engine(family), prompts, [ablation], effects=effects))
    edges, _ = oracle_edges(model(family), prompts, ablation, None, effects=effects, experts=True)
    close(result.edge_effect[0], edges[..., 0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("estimator", "steps"), [("eap_ig", 2), ("eap_ig_activations", 2)])
def test_gradients_of_experts_add_up_to_those_of_their_layer(estimator, steps):
    prompts = random_prompts(count=1, length=5, scored=2)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator=estimator, steps=steps)
    whole, parts = (
        influence(Request(view, prompts, [ablation])).edge_effect[0]
        for view in (decoder(model("olmoe")), engine("olmoe"))
    )
    layers = np.array([0, 1, *[2] * 4, 3, 4, *[5] * 4])
    summed = np.zeros((6, 6))
    np.add.at(summed, (layers[:, None], layers), np.nan_to_num(parts))
    close(summed, np.nan_to_num(whole))


@every_family
def test_linear_effects_are_the_limit_of_small_changes(family):
    prompts = random_prompts(count=2, length=5, scored=2)
    measure = relative_l2.measure
    rules = [noise.Parameters(scale=scale, population="clean") for scale in (1.0, 1e-5)]
    methods = [
        Ablation("a", rules[0], measure, estimator="linear"),
        Ablation("a", rules[1], measure),
    ]
    linear, exact = influence(Request(engine(family), prompts, methods)).influence
    close(linear, 1e5 * exact, rtol=1e-3)


@every_family
def test_circuits_equal_the_oracle(family):
    prompts = random_prompts(count=1, length=4, scored=2)
    request = Request(engine(family), prompts, [Ablation("resample", RESAMPLE)])
    edges = edges_of(request.model)
    kept = edges & (np.random.default_rng(0).random((2, *edges.shape)) < 0.5)
    expected = oracle_circuit(model(family), prompts, kept, replacement="resample", experts=True)
    values = circuit_readouts(request, statistics_of(request), kept)
    close(values, expected[:, known_readouts().index("logit_difference")])


METHODS = {
    "total": {"measure": relative_l2.measure},
    "direct": {"measure": relative_l2.measure, "scope": "direct"},
    "linear": {"measure": relative_l2.measure, "estimator": "linear"},
    "eap": {**READOUT, "estimator": "eap"},
    "atp_star": {**READOUT, "estimator": "atp_star"},
    "information_flow": {**READOUT, "estimator": "information_flow"},
}


@pytest.mark.parametrize(
    ("method", "apart"),
    [*((method, True) for method in METHODS), ("linear", False), ("eap", False)],
)
def test_the_work_is_what_is_predicted(method, apart):
    view = decoder(random_model("olmoe", width=8))
    view = view.by_experts() if apart else view
    ablations = [Ablation(method, RESAMPLE, **METHODS[method])]
    request = Request(view, random_prompts(count=2, length=6, scored=2), ablations)
    work = predicted_work(request)
    assert counted(request)[2] == work.products
