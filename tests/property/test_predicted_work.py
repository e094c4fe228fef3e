"""Work that is counted without numbers is what the engine computes, on shapes drawn at random."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.counting import counted
from support.memory import peak_bytes
from support.models import (
    ARCHITECTURES,
    decoder,
    ragged_prompts,
    random_gpt_neox,
    random_model,
    random_prompts,
)
from support.strategies import models
from torch.nn.attention import SDPBackend, sdpa_kernel

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, noise, optimal_constant, resample, zero
from cntbench.engine.chunking import outcome_bytes, predicted_bytes
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts
from cntbench.specs import HEAD_INPUTS

#: Few steps do not converge, and are enough for what is checked here.
pytestmark = pytest.mark.filterwarnings("ignore:the optimal constants")

RULES = (
    zero.Parameters(),
    mean.Parameters(population="reference", over=("prompt",)),
    noise.Parameters(population="clean", scale=1.0),
    resample.Parameters(donor="reference"),
    resample.Parameters(donor="other"),
)
#: Everything through which an edge may be seen, or only some of it.
THROUGH = st.sets(st.sampled_from(HEAD_INPUTS), min_size=1).map(lambda s: tuple(sorted(s)))
EXACT_BUDGET = 2**30


@st.composite
def total(draw) -> Ablation:
    rule = draw(st.sampled_from(RULES))
    draws = draw(st.integers(1, 2)) if rule.random else 1
    return Ablation("", rule, relative_l2.measure, draws=draws)


@st.composite
def direct(draw) -> Ablation:
    rule = draw(st.sampled_from(RULES))
    kind = draw(st.sampled_from(["targets", "patched", "eap", "eap_ig"]))
    if kind == "targets":
        through = draw(THROUGH)
        return Ablation("", rule, relative_l2.measure, scope="direct", through=through)
    ablation = Ablation("", rule, scope="direct", observable="readout")
    if kind == "patched":
        return replace(ablation, through=draw(THROUGH))
    return replace(ablation, estimator=kind, steps=3 if kind == "eap_ig" else None)


@st.composite
def blocks(draw, components: int) -> range:
    """Some successive components."""
    first = draw(st.integers(0, components - 1))
    return range(first, draw(st.integers(first + 1, components)))


def some(components: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Any components."""
    chosen = st.sets(st.integers(0, components - 1), min_size=1)
    return chosen.map(lambda indices: tuple(sorted(indices)))


@st.composite
def calls(draw, methods, *, even: bool) -> Request:
    width = st.integers(2, 5).map(lambda n: 2 * n) if even else st.integers(2, 9)
    model = draw(models(dtype=torch.float32, width=width, vocabulary=st.just(17)))
    length = draw(st.integers(1, 6))
    count = draw(st.integers(4, 6))
    scored = draw(st.integers(1, length))
    effects = draw(st.lists(st.sampled_from(known_readouts()), unique=True))
    ablations = [
        replace(method, name=f"method{i}")
        for i, method in enumerate(draw(st.lists(methods, min_size=1, max_size=3)))
    ]
    if any(ablation.unreadable(effects) for ablation in ablations):
        effects = ["logit_difference", "cross_entropy"]
    components = len(decoder(model).components)
    return Request(
        decoder(model),
        random_prompts(count=count, length=length, scored=scored),
        ablations,
        observe_all=draw(st.booleans()),
        effects=effects,
        readouts=draw(st.lists(st.sampled_from(known_readouts()), unique=True)),
        sources=draw(st.none() | blocks(components) | some(components)),
        targets=draw(st.none() | some(components)),
        # One source at a time, several, or all of them.
        memory_budget=draw(st.sampled_from([1, 17_000_000, EXACT_BUDGET])),
    )


@settings(max_examples=6)
@given(calls(total(), even=True))
def test_total_effects_cost_what_is_predicted(call):
    work = predicted_work(call)
    assert counted(call) == (work.attention_tokens, work.mlp_tokens, work.products)


@settings(max_examples=6)
@given(calls(total(), even=False))
def test_attention_s_own_products_are_counted_in_full(call):
    work = predicted_work(call)
    with sdpa_kernel(SDPBackend.MATH):
        assert counted(call)[2] == work.flops


@settings(max_examples=6)
@given(calls(direct(), even=True))
def test_effects_of_edges_cost_what_is_predicted(call):
    work = predicted_work(call)
    assert counted(call) == (work.attention_tokens, work.mlp_tokens, work.products)


@settings(max_examples=6)
@given(calls(st.one_of(total(), direct()), even=True))
def test_methods_of_both_scopes_in_one_call(call):
    work = predicted_work(call)
    assert counted(call) == (work.attention_tokens, work.mlp_tokens, work.products)


@settings(max_examples=3)
@given(
    st.sampled_from(ARCHITECTURES),
    st.integers(1, 3),
    st.integers(2, 4),
    st.sampled_from([1, EXACT_BUDGET]),
)
@example("llama", 2, 3, EXACT_BUDGET)
def test_fitted_constants_have_an_upper_bound(architecture, layers, count, budget):
    fitted = Ablation("x", optimal_constant.Parameters(steps=2), relative_l2.measure)
    model = decoder(random_model(architecture, layers=layers))
    call = Request(model, random_prompts(count=count), [fitted], memory_budget=budget)
    work = predicted_work(call)
    for done, bound in zip(
        counted(call), (work.attention_tokens, work.mlp_tokens, work.products), strict=True
    ):
        assert bound / 2 < done <= bound


def test_the_work_of_prompts_of_different_lengths_is_counted_length_by_length():
    rules = (RULES[0], RULES[1], RULES[3])
    ablations = [Ablation(f"{i}", rule, relative_l2.measure) for i, rule in enumerate(rules)]
    ablations += [Ablation("eap", RULES[3], None, "direct", "readout", estimator="eap")]
    call = Request(decoder(random_gpt_neox()), ragged_prompts(count=7), ablations)
    work = predicted_work(call)
    tokens = (work.attention_tokens, work.mlp_tokens, work.products)
    assert tuple(counted(call)) == tokens
    others = replace(call, ablations=[Ablation("other", RULES[4], relative_l2.measure)])
    work, (done, *_) = predicted_work(others), counted(others)
    assert done / 2 < work.attention_tokens < done * 2, "donors pad what they are drawn on for"


@settings(max_examples=6)
@given(calls(st.one_of(total(), direct()), even=True))
def test_the_memory_stays_within_a_budget_that_suffices(call):
    call = replace(call, memory_budget=EXACT_BUDGET)
    assert 0 < predicted_bytes(call) <= EXACT_BUDGET
    twice = replace(call, prompts=random_prompts(count=8, length=6), memory_budget=2**26)
    assert predicted_bytes(twice) <= 2**26


@pytest.mark.parametrize("slack", [-1, 0])
def test_the_budget_decides_by_the_bytes_that_are_predicted(slack):
    # With exactly the bytes of a call, it is cut as before; with one less, into smaller pieces.
    call = Request(
        decoder(random_gpt_neox(layers=3, heads=3)),
        random_prompts(count=30, length=40, scored=5),
        [Ablation("x", RULES[0], relative_l2.measure)],
    )
    enough = predicted_bytes(call)
    less = replace(call, memory_budget=enough + slack)
    assert (predicted_bytes(less) == enough) == (slack == 0)


def test_both_scopes_take_no_less_memory_than_either():
    model, prompts = decoder(random_gpt_neox(layers=3, heads=3)), random_prompts(count=20, length=9)
    methods = [
        Ablation("x", RULES[0], relative_l2.measure, scope=scope) for scope in ("total", "direct")
    ]
    alone = [predicted_bytes(Request(model, prompts, [method])) for method in methods]
    assert predicted_bytes(Request(model, prompts, methods)) >= max(alone)


# Each rule in both scopes, and each architecture in the scopes that it differs in.
@pytest.mark.parametrize(
    ("rule", "scope", "architecture"),
    [
        *((rule, "total", "gpt_neox") for rule in RULES),
        *((rule, "direct", "gpt_neox") for rule in RULES),
        (RULES[2], "total", "llama"),
        (RULES[3], "direct", "gpt2"),
    ],
    ids=lambda value: type(value).__module__.split(".")[-1] if value in RULES else value,
)
def test_no_more_memory_is_taken_than_is_predicted(scope, architecture, rule):
    shape = {"layers": 3, "heads": 4, "width": 16, "mlp": 256, "vocabulary": 3000}
    call = Request(
        decoder(random_model(architecture, **shape, context=128)),
        random_prompts(count=12, length=48, scored=31, vocabulary=3000),
        [Ablation("x", rule, relative_l2.measure, scope=scope)],
        effects=known_readouts(),
    )
    held = peak_bytes(lambda: influence(call))
    assert predicted_bytes(call) / 5 < held <= predicted_bytes(call)


@pytest.mark.parametrize("scopes", [("total",), ("direct",), ("total", "direct")])
def test_what_is_found_takes_no_more_memory_than_is_predicted(scopes):
    call = Request(
        decoder(random_gpt_neox(layers=6, heads=5, width=2, mlp=2)),
        random_prompts(count=300, length=1, scored=1),
        [Ablation(scope, RULES[0], relative_l2.measure, scope=scope) for scope in scopes],
    )
    influence(call)
    tracemalloc.start()  # sees arrays of numpy, and no tensors
    influence(call)
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome_bytes(call) / 2 < held <= outcome_bytes(call)
