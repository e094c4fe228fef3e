"""Attention scores against closed forms and naive loops."""

from __future__ import annotations

import math

import pytest
import torch

from cntbench.engine.attention_scores import prefix_matching, previous_token


def random_pattern(prompts, heads, length, seed=0):
    scores = torch.randn(
        prompts, heads, length, length, generator=torch.Generator().manual_seed(seed)
    ).double()
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


def naive_prefix_matching(pattern, tokens):
    """Loop over queries, and over the earlier places where the token stood."""
    found = []
    for query, token in enumerate(tokens):
        earlier = [i for i in range(query) if tokens[i] == token]
        if earlier:
            found.append(sum(pattern[query, i + 1] for i in earlier))
    return sum(found) / len(found) if found else math.nan


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
    found = previous_token(pattern)
    assert found.shape == (2, 3)
    for prompt in range(2):
        for head in range(3):
            seen = [pattern[prompt, head, q, q - 1].item() for q in range(1, 5)]
            assert found[prompt, head].item() == pytest.approx(sum(seen) / 4)


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
    found = prefix_matching(pattern, tokens)
    for prompt in range(3):
        for head in range(2):
            expected = naive_prefix_matching(pattern[prompt, head], tokens[prompt].tolist())
            assert found[prompt, head].item() == pytest.approx(float(expected))


def test_several_earlier_occurrences_add_up():
    # Every key from the second on follows an earlier occurrence: the whole attention but the first.
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    pattern = random_pattern(1, 1, 5)
    expected = (1 - pattern[0, 0, 1:, 0]).mean().item()
    assert prefix_matching(pattern, tokens).item() == pytest.approx(expected)


def test_undefined_scores_are_nan():
    tokens = torch.tensor([[1, 2, 3], [1, 2, 1]])
    found = prefix_matching(random_pattern(2, 2, 3), tokens)
    assert found[0].isnan().all()
    assert found[1].isfinite().all()
    assert previous_token(torch.ones(1, 1, 1, 1)).isnan().all()
