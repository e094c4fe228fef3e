"""Circuits: the batched patched forward pass against plain transformers, edge by edge."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from support.circuit_oracle import oracle_circuit
from support.models import decoder, ragged_prompts, random_model, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, optimal_constant, resample, zero
from cntbench.engine import circuit
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import influence, statistics_of
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.readouts import known_readouts

ARCHITECTURES = ("gpt_neox", "gpt_neox, sequential", "gpt2", "llama")
RULES = {"resample": resample.Parameters(donor="reference"), "zero": zero.Parameters()}


@cache
def model(architecture, layers=2):
    return random_model(architecture, layers=layers, heads=2, dtype=torch.float64)


def readout(architecture, prompts, kept, rule="resample", name="logit_difference"):
    request = Request(
        decoder(model(architecture)), prompts, [Ablation(rule, RULES[rule])], effects=(name,)
    )
    return circuit_readouts(request, statistics_of(request), kept)


def some_circuits(architecture, count, seed=0, inputs=()):
    edges = edges_of(decoder(model(architecture)))
    drawn = np.random.default_rng(seed).random((count, *inputs, *edges.shape))
    return edges & (drawn < 0.5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("rule", RULES)
def test_circuits_agree_with_plain_transformers(architecture, rule):
    prompts = random_prompts(count=2, length=5, scored=2)
    kept = some_circuits(architecture, 3)
    expected = oracle_circuit(model(architecture), prompts, kept, replacement=rule)
    for name in ("logit_difference", "cross_entropy", "kl_divergence"):
        values = readout(architecture, prompts, kept, rule, name)
        np.testing.assert_allclose(values, expected[:, known_readouts().index(name)], atol=1e-9)


def test_prompts_of_several_lengths_agree_with_plain_transformers():
    prompts, kept = ragged_prompts(count=3, longest=5), some_circuits("llama", 2)
    expected = oracle_circuit(model("llama"), prompts, kept, replacement="resample")
    values = readout("llama", prompts, kept)
    which = known_readouts().index("logit_difference")
    np.testing.assert_allclose(values, expected[:, which], atol=1e-9)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
@pytest.mark.parametrize("through", [("query",), ("key",), ("value",), ("key", "value")])
def test_queries_keys_and_values_may_have_edges_of_their_own(architecture, through):
    prompts, kept = random_prompts(count=1, length=5, scored=2), some_circuits(architecture, 2)
    mlps = [node.head is None for node in decoder(model(architecture)).components]
    others = np.array([*mlps, True])  # read by their first input
    apart = np.stack(
        [kept if reader in through else kept | ~others for reader in ("query", "key", "value")],
        axis=1,
    )
    apart[:, 1:, :, others] = True  # of which nothing is read
    expected = oracle_circuit(
        model(architecture), prompts, kept, replacement="resample", through=through
    )
    values = readout(architecture, prompts, apart)
    np.testing.assert_allclose(
        values, expected[:, known_readouts().index("logit_difference")], atol=1e-9
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_edges_give_the_clean_readout_and_none_the_corrupted_one(architecture):
    prompts = random_prompts(count=3, length=6)
    every = np.ones_like(some_circuits(architecture, 1))
    full, empty = readout(architecture, prompts, np.concatenate([every, ~every]))
    at = known_readouts().index("logit_difference")

    def plain(tokens):
        beside = dataclasses.replace(prompts, tokens=tokens)
        ablation = Ablation("zero", RULES["zero"], relative_l2.measure)
        request = Request(decoder(model(architecture)), beside, [ablation])
        return influence(request).readout_value[at]

    assert full.mean() == pytest.approx(plain(prompts.tokens), abs=1e-12)
    assert empty.mean() == pytest.approx(plain(prompts.reference), abs=1e-12)


def test_one_edge_left_out_is_the_patched_edge():
    """Path patching of a single edge is the circuit that lacks it alone."""
    prompts = random_prompts(count=2, length=5)
    ablation = Ablation("resample", RULES["resample"], scope="direct", observable="readout")
    request = Request(decoder(model("gpt2")), prompts, [ablation])
    patched, edges = influence(request).edge_effect[0], edges_of(request.model)
    inner = np.argwhere(edges[1:, :-1])
    kept = np.repeat(edges[None], len(inner) + 1, axis=0)
    for number, (source, target) in enumerate(inner):
        kept[number, source + 1, target] = False
    values = readout("gpt2", prompts, kept).mean(axis=1)
    result = values[:-1] - values[-1]
    np.testing.assert_allclose(result, patched[tuple(inner.T)], atol=1e-9)


def test_pieces_do_not_change_the_numbers(monkeypatch):
    prompts, kept = random_prompts(count=3, length=5), some_circuits("gpt_neox", 5)
    whole = readout("gpt_neox", prompts, kept)
    monkeypatch.setattr(circuit, "ROWS_AT_ONCE", 6)
    np.testing.assert_allclose(readout("gpt_neox", prompts, kept), whole, atol=1e-12)


def test_circuits_of_another_size_are_refused():
    with pytest.raises(CntbenchError, match="do not fit"):
        readout("gpt_neox", random_prompts(), np.ones((1, 3, 3), dtype=bool))


@pytest.mark.parametrize(
    "rule",
    [
        mean.Parameters(population="clean", over=("prompt",)),
        optimal_constant.Parameters(steps=1),
        resample.Parameters(donor="other"),
    ],
)
@pytest.mark.filterwarnings("ignore:the optimal constants")
def test_the_embedding_has_no_value_from_other_prompts(rule):
    prompts = random_prompts()
    request = Request(decoder(model("gpt_neox")), prompts, [Ablation("a", rule)])
    kept = some_circuits("gpt_neox", 1)
    with pytest.raises(CntbenchError, match="no value for the embedding"):
        circuit_readouts(request, statistics_of(request), kept)
    kept[:, 0] = True
    assert np.isfinite(circuit_readouts(request, statistics_of(request), kept)).all()
