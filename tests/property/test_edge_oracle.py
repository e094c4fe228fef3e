"""Single edges against the naive oracle, on architectures, prompts and ablations drawn at random.

In double precision, as in `test_engine_oracle`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.edge_oracle import oracle_edges
from support.memory import peak_bytes
from support.models import decoder, ragged_prompts, random_gpt_neox, random_prompts
from support.strategies import models

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import cosine, relative_l2
from cntbench.ablations.replacements import mean, noise, resample, zero
from cntbench.components import feasible
from cntbench.engine import chunking
from cntbench.engine import edges as engine
from cntbench.engine.chunking import Chunking
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.prompts import PADDING
from cntbench.readouts import known_readouts
from cntbench.specs import HEAD_INPUTS

MEASURES = {"relative_l2": relative_l2.measure, "cosine": cosine.measure}
RULES = st.one_of(
    st.builds(zero.Parameters),
    st.builds(resample.Parameters, donor=st.sampled_from(["reference", "other"])),
    st.builds(
        mean.Parameters,
        population=st.just("clean"),
        over=st.sampled_from([("prompt",), ("prompt", "position")]),
    ),
    st.builds(noise.Parameters, population=st.just("reference"), scale=st.floats(0.1, 3)),
)
THROUGH = st.lists(st.sampled_from(HEAD_INPUTS), min_size=1, unique=True).map(tuple)
#: Readouts that have a gradient.
SMOOTH = st.sampled_from(
    [
        ("logit_difference",),
        ("cross_entropy", "accuracy"),
        ("log_probability",),
        ("probability_difference", "kl_divergence"),
        ("kl_divergence",),
    ]
)


@st.composite
def workloads(draw):
    # The oracles take a forward or more for every edge, of which few heads leave few.
    few = {"heads": st.integers(1, 2), "sharing": [(2, 1), (1, 1), (2, 2), (3, 1)]}
    model = draw(models(layers=st.sampled_from([2, 3, 1]), **few))
    if draw(st.booleans(), label="ragged"):
        count, seed = draw(st.integers(2, 3), label="prompts"), draw(st.integers(0, 2**16))
        return model, ragged_prompts(
            count=count, longest=6, vocabulary=model.config.vocab_size, seed=seed
        )
    length = draw(st.integers(1, 6), label="length")
    prompts = random_prompts(
        count=2,
        length=length,
        scored=draw(st.integers(1, length), label="scored"),
        vocabulary=model.config.vocab_size,
        seed=draw(st.integers(0, 2**16)),
    )
    return model, prompts


def assume_spread(rule, prompts):
    """Noise of no spread is rounding, the root of a difference of equals; the oracle has 0."""
    if isinstance(rule, noise.Parameters):
        assume(len(set(prompts.reference.ravel().tolist()) - {PADDING}) > 1)


def rounding(rule):
    """A small spread, too, is the root of a difference of near equals."""
    return 1e-7 if isinstance(rule, noise.Parameters) else 1e-9


def close(actual, expected, rtol=1e-7, atol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@settings(max_examples=10)
@given(
    workloads(), RULES, st.sampled_from(sorted(MEASURES)), THROUGH, st.booleans(), st.integers(0, 5)
)
def test_direct_effects_equal_the_oracle(workload, rule, measure, through, observe_all, seed):
    model, prompts = workload
    assume_spread(rule, prompts)
    ablation = Ablation("a", rule, MEASURES[measure], scope="direct", through=through)
    result = influence(
        Request(
            decoder(model),
            prompts,
            [ablation],
            observe_all=observe_all,
            effects=known_readouts(),
            seed=seed,
        )
    )
    edges, effects = oracle_edges(
        model, prompts, ablation, measure, observe_all=observe_all, seed=seed
    )
    # Near 0 the cosine distance of the oracle, 1 − cos, is a difference of near equals.
    close(result.influence[0], edges.mean(-1), atol=1e-7 if measure == "cosine" else rounding(rule))
    close(result.readout_effect[0], effects.mean(-1), atol=rounding(rule))
    assert np.isnan(result.edge_effect).all()


@settings(max_examples=10)
@given(workloads(), RULES, st.permutations(known_readouts()), THROUGH, st.integers(0, 5))
def test_patched_edges_equal_the_oracle(workload, rule, effects, through, seed):
    model, prompts = workload
    assume_spread(rule, prompts)
    ablation = Ablation("a", rule, scope="direct", observable="readout", through=through)
    result = influence(Request(decoder(model), prompts, [ablation], effects=effects, seed=seed))
    edges, direct = oracle_edges(model, prompts, ablation, None, seed=seed, effects=effects)
    close(result.edge_effect[0], edges.mean(-1), atol=rounding(rule))
    close(result.influence[0], abs(edges.mean(-1)), atol=rounding(rule))
    close(result.readout_effect[0], direct.mean(-1), atol=rounding(rule))


@settings(max_examples=8)
@given(workloads(), RULES, SMOOTH, st.integers(0, 4))
def test_gradient_estimates_equal_derivatives_of_the_patched_model(workload, rule, effects, steps):
    model, prompts = workload
    assume_spread(rule, prompts)
    assume(steps > 1 or effects[0] != "kl_divergence")  # at the clean prompts it has no slope
    ablation = Ablation(
        "a",
        rule,
        scope="direct",
        observable="readout",
        estimator="eap_ig" if steps else "eap",
        steps=steps or None,
    )
    result = influence(Request(decoder(model), prompts, [ablation], effects=effects))
    edges, direct = oracle_edges(model, prompts, ablation, None, effects=effects)
    close(result.edge_effect[0], edges.mean(-1), atol=rounding(rule))
    close(result.influence[0], abs(edges.mean(-1)), atol=rounding(rule))
    indices = [known_readouts().index(name) for name in effects]
    close(result.readout_effect[0, indices], direct.mean(-1)[indices], atol=rounding(rule))


METHODS = [
    Ablation("direct", resample.Parameters(donor="other"), MEASURES["cosine"], scope="direct"),
    Ablation("total", zero.Parameters(), MEASURES["relative_l2"]),
    Ablation("keys", zero.Parameters(), MEASURES["relative_l2"], "direct", through=("key",)),
    Ablation("patched", resample.Parameters(donor="other"), None, "direct", "readout"),
    Ablation("eap", zero.Parameters(), None, "direct", "readout", estimator="eap"),
    Ablation("eap_ig", zero.Parameters(), None, "direct", "readout", HEAD_INPUTS, "eap_ig", 3),
]


def agree(one, two, rtol=1e-7, atol=1e-9):
    for name in ("influence", "influence_se", "readout_effect", "edge_effect", "edge_effect_se"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(two, name), rtol=rtol, atol=atol, err_msg=name
        )


@settings(max_examples=8)
@given(workloads(), st.integers(1, 4), st.integers(1, 12), st.booleans())
@example(None, 2, 5, False)
@example(None, 1, 1, True)
def test_chunks_do_not_matter(workload, n_prompts, n_sources, observe_all):
    model, prompts = workload or (random_gpt_neox(dtype=torch.float64), random_prompts(count=5))

    def run():
        return influence(Request(decoder(model), prompts, METHODS, observe_all=observe_all))

    whole = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "chunking", lambda *_, **__: Chunking(n_prompts, n_sources, 1))
        agree(run(), whole)


@settings(max_examples=8)
@given(workloads(), st.permutations(range(len(METHODS))))
def test_methods_measured_together_do_not_mix(workload, order):
    model, prompts = decoder(workload[0]), workload[1]
    together = influence(Request(model, prompts, [METHODS[i] for i in order]))
    for place, i in enumerate(order):
        alone = influence(Request(model, prompts, [METHODS[i]]))
        for name in ("influence", "influence_se", "readout_effect", "edge_effect"):
            close(getattr(together, name)[place], getattr(alone, name)[0])


@settings(max_examples=15)
@given(workloads(), RULES, st.sampled_from(sorted(MEASURES)), st.booleans())
def test_direct_is_total_where_no_detour_exists(workload, rule, measure, observe_all):
    model, prompts = decoder(workload[0]), workload[1]
    total = Ablation("a", rule, MEASURES[measure])
    direct = Ablation("a", rule, MEASURES[measure], scope="direct")
    influences = influence(
        Request(model, prompts, [total, direct], observe_all=observe_all)
    ).influence
    edge = feasible(model.components)
    alone = edge & (edge.astype(int) @ edge.astype(int) == 0)
    assert alone.any() == edge.any()
    # A cosine distance of nothing is the square of rounding.
    close(influences[0][alone], influences[1][alone])


def test_direct_is_not_total_where_a_detour_exists():
    model = random_gpt_neox(layers=3, dtype=torch.float64)
    rule, measure = zero.Parameters(), MEASURES["relative_l2"]
    methods = [Ablation("a", rule, measure), Ablation("b", rule, measure, scope="direct")]
    total, direct = influence(Request(decoder(model), random_prompts(), methods)).influence
    edge = feasible(decoder(model).components)
    longer = edge & (edge.astype(int) @ edge.astype(int) > 0)
    assert (abs(total - direct)[longer] > 1e-6).all()


@st.composite
def linear_models(draw):
    """Uniform attention, LayerNorm without its division, MLPs that write nothing or are linear."""
    epsilon = 1e18  # the variance beside it is less than rounding
    model = random_gpt_neox(
        layers=draw(st.integers(2, 3)),
        heads=draw(st.integers(1, 3)),
        mlp=16,
        parallel=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
        hidden_act="relu",
        layer_norm_eps=epsilon,
        dtype=torch.float64,
    )
    linear = draw(st.booleans())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.mul_(epsilon**0.5)
        for layer in model.gpt_neox.layers:
            for tensor in layer.attention.query_key_value.parameters():
                tensor.unflatten(0, (model.config.num_attention_heads, 3, -1))[:, :2] = 0
            inner, outer = layer.mlp.dense_h_to_4h, layer.mlp.dense_4h_to_h
            if linear:  # relu(x) − relu(−x) = x
                inner.weight[8:], inner.bias[8:] = -inner.weight[:8], -inner.bias[:8]
                outer.weight[:, 8:] = -outer.weight[:, :8]
            else:
                outer.weight.zero_()
    return model


#: Estimators that promise to be exact there, as EAP-IG does.
EXACT_IF_LINEAR = ("eap", "relp")


@settings(max_examples=20)
@given(linear_models(), RULES, st.integers(1, 4))
def test_on_a_linear_model_estimates_are_exact_with_their_sign(model, rule, steps):
    prompts = random_prompts(count=2, length=5, scored=2)
    parts = {"scope": "direct", "observable": "readout"}
    methods = [Ablation("a", rule, **parts, estimator=name) for name in ("exact", *EXACT_IF_LINEAR)]
    methods += [Ablation("a", rule, **parts, estimator="eap_ig", steps=steps)]
    exact, *estimates = influence(Request(decoder(model), prompts, methods)).edge_effect
    scale = np.nanmax(abs(exact))
    assert scale > 1e-4
    for estimate in estimates:
        np.testing.assert_allclose(estimate, exact, rtol=1e-4, atol=1e-9 * scale)


@settings(max_examples=5)
@given(linear_models())
def test_gim_and_atp_star_are_exact_into_the_last_layer_of_a_linear_model(model):
    """But that GIM gives the values of a head half, as the attention weights have the other."""
    parts = {"scope": "direct", "observable": "readout"}
    methods = [
        Ablation("a", zero.Parameters(), **parts, estimator=name)
        for name in ("exact", "gim", "atp_star")
    ]
    prompts = random_prompts(count=2, length=5, scored=2)
    request = Request(decoder(model), prompts, methods)
    exact, gim, atp_star = influence(request).edge_effect
    nodes = request.model.components
    # In a sequential model the last MLP reads the heads beside it.
    last = [*request.model.walk[-1].nodes]
    share = np.array([1.0 if nodes[i].head is None else 0.5 for i in last])
    close(gim[:, last], share * exact[:, last], rtol=1e-4, atol=1e-9)
    close(atp_star[:, last], exact[:, last], rtol=1e-4, atol=1e-9)


def test_edges_carry_effects_of_either_sign():
    model = decoder(random_gpt_neox(layers=3, dtype=torch.float64))
    ablation = Ablation("a", zero.Parameters(), scope="direct", observable="readout")
    effects = influence(Request(model, random_prompts(), [ablation])).edge_effect[0]
    assert (effects[feasible(model.components)] > 0).any()
    assert (effects[feasible(model.components)] < 0).any()


@settings(max_examples=15)
@given(workloads(), st.integers(0, 5))
def test_estimates_approach_small_effects_on_any_model(workload, seed):
    """The error of a first-order term is of second order: a tenth of the change, a hundredth."""
    model, prompts = workload
    errors = []
    for scale in (1e-4, 1e-5):
        rule = noise.Parameters(scale=scale, population="clean")
        exact, eap = influence(
            Request(
                decoder(model),
                prompts,
                [
                    Ablation("a", rule, scope="direct", observable="readout"),
                    Ablation("a", rule, scope="direct", observable="readout", estimator="eap"),
                ],
                seed=seed,
            )
        ).edge_effect
        errors.append(np.nanmax(abs(eap - exact), initial=0) / scale)
        assert np.nanmax(abs(exact), initial=0) <= 1e3
    assert errors[1] <= 0.2 * errors[0] + 1e-8


@pytest.mark.parametrize("observe_all", [False, True])
def test_the_memory_budget_is_respected_and_used(observe_all, monkeypatch):
    monkeypatch.setattr(chunking, "ROWS_AT_ONCE", 10**9)
    shape = {"layers": 2, "heads": 4, "width": 16, "mlp": 256, "vocabulary": 5000}
    model = decoder(random_gpt_neox(**shape, context=128))
    prompts = random_prompts(count=3, length=48, scored=23, vocabulary=5000)
    budget = 12 * 2**20

    def run(memory_budget=budget):
        return influence(
            Request(
                model,
                prompts,
                METHODS,
                observe_all=observe_all,
                effects=("cross_entropy", "logit_difference"),
                memory_budget=memory_budget,
            )
        )

    measured = []
    assert budget / 4 <= peak_bytes(lambda: measured.append(run())) <= budget
    agree(measured[-1], run(2**30), rtol=1e-4, atol=1e-5)
