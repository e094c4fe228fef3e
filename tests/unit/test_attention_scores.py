"""Attention scores against closed forms and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.models import decoder, random_model

from cntbench.engine.attention_scores import (
    PATTERN_SCORES,
    copying,
    duplicate_token,
    pattern_scores,
    positional,
    prefix_matching,
    previous_token,
)


def random_pattern(prompts, heads, length, seed=0):
    scores = torch.randn(
        prompts, heads, length, length, generator=torch.Generator().manual_seed(seed)
    ).double()
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


def naive_prefix_matching(pattern, tokens):
    """Loop over queries, and over the earlier places where the token stood."""
    results = []
    for query, token in enumerate(tokens):
        earlier = [i for i in range(query) if tokens[i] == token]
        if earlier:
            results.append(sum(pattern[query, i + 1] for i in earlier))
    return sum(results) / len(results) if results else math.nan


def test_previous_token_of_one_that_looks_back_is_one():
    length = 5
    back = torch.zeros(1, 1, length, length)
    for query in range(length):
        back[0, 0, query, max(0, query - 1)] = 1
    assert previous_token(back).item() == 1
    assert previous_token(torch.eye(length)[None, None]).item() == 0


def test_previous_token_of_a_uniform_pattern_in_closed_form():
    length = 6
    uniform = torch.ones(length, length).tril()
    uniform = (uniform / uniform.sum(-1, keepdim=True)).double()[None, None]
    expected = sum(1 / (q + 1) for q in range(1, length)) / (length - 1)
    assert previous_token(uniform).item() == pytest.approx(expected)


def test_previous_token_against_a_loop():
    pattern = random_pattern(2, 3, 5)
    scores = previous_token(pattern)
    assert scores.shape == (2, 3)
    for prompt in range(2):
        for head in range(3):
            seen = [pattern[prompt, head, q, q - 1].item() for q in range(1, 5)]
            assert scores[prompt, head].item() == pytest.approx(sum(seen) / 4)


def test_prefix_matching_of_a_perfect_induction_head_is_one():
    tokens = torch.tensor([[7, 3, 5, 7, 3, 5]])
    pattern = torch.zeros(1, 1, 6, 6)
    for query, key in enumerate([0, 1, 2, 1, 2, 3]):
        pattern[0, 0, query, key] = 1
    assert prefix_matching(pattern, tokens).item() == 1
    # The token itself, instead of what followed it, is no match.
    same = torch.zeros(1, 1, 6, 6)
    for query, key in enumerate([0, 1, 2, 0, 1, 2]):
        same[0, 0, query, key] = 1
    assert prefix_matching(same, tokens).item() == 0


@pytest.mark.parametrize("seed", range(5))
def test_prefix_matching_against_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 4, (3, 9), generator=generator)
    pattern = random_pattern(3, 2, 9, seed)
    scores = prefix_matching(pattern, tokens)
    for prompt in range(3):
        for head in range(2):
            expected = naive_prefix_matching(pattern[prompt, head], tokens[prompt].tolist())
            assert scores[prompt, head].item() == pytest.approx(float(expected))


def test_several_earlier_occurrences_add_up():
    # Every key from the second on follows an earlier occurrence: the whole attention but the first.
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    pattern = random_pattern(1, 1, 5)
    expected = (1 - pattern[0, 0, 1:, 0]).mean().item()
    assert prefix_matching(pattern, tokens).item() == pytest.approx(expected)


def test_undefined_scores_are_nan():
    tokens = torch.tensor([[1, 2, 3], [1, 2, 1]])
    scores = prefix_matching(random_pattern(2, 2, 3), tokens)
    assert scores[0].isnan().all()
    assert scores[1].isfinite().all()
    assert previous_token(torch.ones(1, 1, 1, 1)).isnan().all()
    scores = duplicate_token(random_pattern(2, 2, 3), tokens)
    assert scores[0].isnan().all()
    assert scores[1].isfinite().all()
    assert positional(torch.ones(1, 1, 1, 1)).isnan().all()


def naive_duplicate_token(pattern, tokens):
    """Loop over queries, and over the earlier places where the token stood."""
    results = []
    for query, token in enumerate(tokens):
        earlier = [i for i in range(query) if tokens[i] == token]
        if earlier:
            results.append(sum(pattern[query, i] for i in earlier))
    return sum(results) / len(results) if results else math.nan


def naive_positional(pattern):
    """Loop over distances and queries."""
    length = len(pattern)
    means = [
        sum(pattern[query, query - back] for query in range(1, length) if query >= back)
        / (length - 1)
        for back in range(length)
    ]
    return max(means)


def test_duplicates_of_a_perfect_head_and_of_an_induction_head():
    tokens = torch.tensor([[7, 3, 5, 7, 3, 5]])
    for keys, expected in (([0, 1, 2, 0, 1, 2], 1), ([0, 1, 2, 1, 2, 3], 0)):
        pattern = torch.zeros(1, 1, 6, 6)
        for query, key in enumerate(keys):
            pattern[0, 0, query, key] = 1
        assert duplicate_token(pattern, tokens).item() == expected
    # The induction head attends two back in half of the positions, and to itself before.
    assert positional(pattern).item() == pytest.approx(3 / 5)


def test_a_head_at_any_distance_is_positional():
    length = 6
    for back in (0, 1, 2):
        pattern = torch.zeros(1, 1, length, length)
        for query in range(length):
            pattern[0, 0, query, max(0, query - back)] = 1
        assert positional(pattern).item() == pytest.approx(min(1, (length - back) / (length - 1)))


@pytest.mark.parametrize("seed", range(3))
def test_all_scores_of_patterns_against_loops(seed):
    tokens = torch.randint(0, 4, (3, 9), generator=torch.Generator().manual_seed(seed))
    pattern = random_pattern(3, 2, 9, seed)
    actual = dict(zip(PATTERN_SCORES, pattern_scores(pattern, tokens).numpy(), strict=True))
    np.testing.assert_array_equal(actual["prefix_matching"], prefix_matching(pattern, tokens).T)
    np.testing.assert_array_equal(actual["previous_token"], previous_token(pattern).T)
    for prompt in range(3):
        for head in range(2):
            attention = pattern[prompt, head].numpy()
            expected = naive_duplicate_token(attention, tokens[prompt].tolist())
            assert actual["duplicate_token"][head, prompt] == pytest.approx(expected)
            assert actual["positional"][head, prompt] == pytest.approx(naive_positional(attention))
    assert (actual["positional"] >= actual["previous_token"] - 1e-12).all()


def naive_copying(model):
    """The whole matrix of tokens × tokens of each head, and its eigenvalues."""
    vocabulary = model.vocabulary
    embedded = torch.stack([model.embed(torch.tensor([[t]]))[0, 0] for t in range(vocabulary)])
    embedded = model.stages[0].norm(embedded[None, None])[0, 0]
    results = []
    for stage in model.stages:
        for block in stage.blocks:
            if block.n_components == 1 and not hasattr(block, "project"):
                results.append(math.nan)
                continue
            for head in range(block.n_components):
                shared = head // (block.n_components // block.key_heads)
                rows = block.project.weight[sum(block.lengths[:2]) :][: block.lengths[2]]
                value = rows[shared * block.width : (shared + 1) * block.width]
                written = embedded @ value.T @ block.output[head]  # token, hidden
                scale = model.final_norm.scale
                logits = model.unembed.weight @ (written * (1 if scale is None else scale)).T
                centre = torch.eye(vocabulary) - 1 / vocabulary
                eigenvalues = np.linalg.eigvals((centre @ logits.float() @ centre).double().numpy())
                results.append(eigenvalues.real.sum() / abs(eigenvalues).sum())
    return results


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_copying_against_the_whole_matrix(architecture):
    model = decoder(random_model(architecture, heads=4))  # which share two keys, if they do
    with torch.inference_mode():
        expected = naive_copying(model)
    np.testing.assert_allclose(copying(model), expected, atol=2e-4)


def test_what_copying_is_on_planted_heads():
    """Flipped, a copying head lowers; a head that writes nothing copies nothing."""
    from dataclasses import replace

    from support.planted import shipped

    circuit = shipped()["induction"]
    model, index = circuit.decoder(), circuit.blueprint.index
    scores = copying(model)
    assert scores[index["L1.H2"]] > 0.95
    assert abs(scores[index["L0.H0"]]) < 0.5
    heads = np.array([node.kind == "head" for node in model.components])
    assert np.isnan(scores[~heads]).all()
    for factor in (-1, 0):
        blocks = tuple(
            replace(block, output=factor * block.output) if hasattr(block, "output") else block
            for block in model.stages[-1].blocks
        )
        last = replace(model.stages[-1], blocks=blocks)
        changed = copying(replace(model, stages=(*model.stages[:-1], last)))
        np.testing.assert_allclose(changed[index["L1.H2"]], factor * scores[index["L1.H2"]])
