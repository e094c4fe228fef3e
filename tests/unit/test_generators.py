"""What each generator's docstring states, generator by generator."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, random_state
from cntbench.prompts.generators import (
    counterfactual_repeat,
    markov_chain,
    random_tokens,
    repeated_block,
    single_token,
)
from cntbench.prompts.markov import random_chain
from cntbench.runs.catalogue import load_catalogue

#: Token ids with gaps, in no order.
WIDE = Language(np.random.RandomState(0).permutation(np.arange(5, 405, 4)))
NANO = Language(np.arange(32))


def make(parameters, language=WIDE, count=20, seed=0):
    """Prompts of a generator as plain lists."""
    return [parameters.make(language, random_state(seed, "x", i)) for i in range(count)]


def occurrences(tokens):
    """How often each token occurs."""
    return Counter(int(token) for token in tokens)


# Repeated blocks: induction, shuffled_repeat, long_gap.


@pytest.mark.parametrize("filler", [0, 5])
def test_the_block_comes_again(filler):
    for prompt in make(repeated_block.Parameters(block=6, filler=filler)):
        first, second = prompt.tokens[:6], prompt.tokens[6 + filler :]
        assert first.tolist() == second.tolist()
        assert len(set(first.tolist())) == 6


def test_the_filler_has_nothing_of_the_block():
    for prompt in make(repeated_block.Parameters(block=6, filler=7)):
        filler = prompt.tokens[6:13].tolist()
        assert len(set(filler)) == 7
        assert not set(filler) & set(prompt.tokens[:6].tolist())


def test_the_permuted_block_has_the_same_tokens_in_random_order():
    prompts = make(repeated_block.Parameters(block=3, permuted=True), count=1200)
    orders = Counter()
    for prompt in prompts:
        first, second = prompt.tokens[:3].tolist(), prompt.tokens[3:].tolist()
        assert sorted(first) == sorted(second)
        orders[tuple(first.index(token) for token in second)] += 1
    assert len(orders) == 6
    assert all(abs(n - 200) < 4.5 * np.sqrt(200 * 5 / 6) for n in orders.values())


@pytest.mark.parametrize("permuted", [False, True])
def test_the_second_block_is_scored_on_what_follows(permuted):
    for prompt in make(repeated_block.Parameters(block=5, filler=2, permuted=permuted)):
        assert prompt.scored.tolist() == [7, 8, 9, 10]
        assert prompt.targets.tolist() == prompt.tokens[8:].tolist()


def test_decoys_are_uniform_over_the_rest_of_the_block():
    ranks = Counter()
    for prompt in make(repeated_block.Parameters(block=4), count=1000):
        for place, (target, decoy) in enumerate(zip(prompt.targets, prompt.decoys, strict=True)):
            block = prompt.tokens[:4].tolist()
            assert decoy in block
            assert decoy != target
            ranks[place, block.index(decoy)] += 1
    assert len(ranks) == 9
    assert all(abs(n - 1000 / 3) < 4.5 * np.sqrt(1000 * 2 / 9) for n in ranks.values())


@pytest.mark.parametrize(("block", "filler"), [(8, 0), (8, 16), (16, 0)])
def test_the_twin_of_a_repeat_repeats_nothing_where_the_vocabulary_allows(block, filler):
    # 32 tokens are just enough for each: nano's vocabulary.
    for prompt in make(repeated_block.Parameters(block=block, filler=filler), NANO):
        assert max(occurrences(prompt.reference).values()) == 1
        assert prompt.reference[block + filler :].tolist() == prompt.tokens[:block].tolist()


def test_the_twin_in_a_small_vocabulary_still_has_no_precedent_of_the_block():
    small = Language(np.arange(100, 110))
    for prompt in make(repeated_block.Parameters(block=8), small):
        assert not set(prompt.reference[:8].tolist()) & set(prompt.tokens.tolist())
    # With no token to spare it is a draw from all.
    tight = Language(np.arange(100, 108))
    twins = [prompt.reference[:8] for prompt in make(repeated_block.Parameters(block=8), tight)]
    assert len({tuple(twin) for twin in twins}) > 1


@pytest.mark.parametrize(("size", "filler"), [(7, 0), (9, 2)])
def test_a_block_needs_enough_tokens(size, filler):
    short = Language(np.arange(size))
    with pytest.raises(CntbenchError, match=f"{8 + filler} distinct tokens are needed"):
        make(repeated_block.Parameters(block=8, filler=filler), short)
    make(repeated_block.Parameters(block=8, filler=filler), Language(np.arange(8 + filler)))


# A B … A C … A


@pytest.mark.parametrize("gap", [0, 1, 4])
def test_the_counterfactual_order(gap):
    for prompt in make(counterfactual_repeat.Parameters(gap=gap)):
        tokens = prompt.tokens.tolist()
        a, b, c = tokens[0], tokens[1], tokens[3 + gap]
        assert len(tokens) == 2 * gap + 5
        assert [i for i, token in enumerate(tokens) if token == a] == [0, 2 + gap, 4 + 2 * gap]
        counts = occurrences(tokens)
        assert counts.pop(a) == 3
        assert set(counts.values()) == {1}, "B, C and what fills the gaps occur once"
        assert prompt.scored.tolist() == [len(tokens) - 1]
        assert prompt.targets.tolist() == [c]
        assert prompt.decoys.tolist() == [b]


@pytest.mark.parametrize("gap", [0, 4])
def test_the_counterfactual_twin_takes_the_precedents_away(gap):
    for prompt in make(counterfactual_repeat.Parameters(gap=gap)):
        differs = np.flatnonzero(prompt.tokens != prompt.reference)
        assert differs.tolist() == [0, 2 + gap]
        assert max(occurrences(prompt.reference).values()) == 1


# Random tokens


def test_random_tokens_are_uniform_and_independent():
    prompts = make(random_tokens.Parameters(length=30), Language(np.array([4, 9, 11])), count=300)
    tokens = np.stack([prompt.tokens for prompt in prompts])
    pairs = Counter(
        zip(tokens[:, :-1].ravel().tolist(), tokens[:, 1:].ravel().tolist(), strict=True)
    )
    assert len(pairs) == 9
    mean = 300 * 29 / 9
    assert all(abs(n - mean) < 5 * np.sqrt(mean) for n in pairs.values())


def test_the_twin_of_random_tokens_is_another_draw():
    parameters = random_tokens.Parameters(length=200)
    for prompt in make(parameters, Language(np.arange(4)), count=5):
        agreement = (prompt.tokens == prompt.reference).mean()
        assert abs(agreement - 1 / 4) < 4.5 * np.sqrt(3 / 16 / 200)


# Markov chains


def transitions(rows, vocabulary):
    """Frequencies of transitions, and the number of visits of each token."""
    place = {token: i for i, token in enumerate(vocabulary.tolist())}
    pairs = np.zeros((len(place), len(place)))
    for row in rows:
        for a, b in itertools.pairwise(row):
            pairs[place[int(a)], place[int(b)]] += 1
    return pairs / pairs.sum(axis=1, keepdims=True), pairs.sum(axis=1, keepdims=True)


def test_the_model_s_own_chain_is_spoken_if_there_is_one():
    vocabulary = np.array([30, 2, 17, 8])  # the chain's rows are in this order
    chain = random_chain(random_state(5, "chain"), 4, 1.5)
    prompts = make(markov_chain.Parameters(length=60), Language(vocabulary, chain), count=300)
    counts, visits = transitions([prompt.tokens for prompt in prompts], vocabulary)
    assert (abs(counts - chain) < 4.5 * np.sqrt(chain * (1 - chain) / visits)).all()


def test_without_one_a_chain_is_fixed_by_states_sharpness_and_seed():
    parameters = markov_chain.Parameters(length=60, states=4, sharpness=2.0, chain_seed=9)
    fixed = random_state(9, "chain")
    spoken = WIDE.distinct(fixed, 4)
    weights = np.exp(2.0 * fixed.standard_normal((4, 4)))
    chain = weights / weights.sum(axis=1, keepdims=True)
    prompts = make(parameters, count=300)
    assert {int(token) for prompt in prompts for token in prompt.tokens} == set(spoken.tolist())
    counts, visits = transitions([prompt.tokens for prompt in prompts], spoken)
    assert (abs(counts - chain) < 4.5 * np.sqrt(chain * (1 - chain) / visits)).all()
    other = make(
        markov_chain.Parameters(length=60, states=4, sharpness=2.0, chain_seed=10), count=5
    )
    assert {int(token) for prompt in other for token in prompt.tokens} != set(spoken.tolist())


def test_the_twin_of_a_chain_speaks_its_tokens_without_its_transitions():
    parameters = markov_chain.Parameters(length=60, states=3, sharpness=3.0)
    prompts = make(parameters, count=300)
    spoken = np.unique([prompt.tokens for prompt in prompts])
    assert set(np.unique([prompt.reference for prompt in prompts])) == set(spoken)
    counts, visits = transitions([prompt.reference for prompt in prompts], spoken)
    assert (abs(counts - 1 / 3) < 4.5 * np.sqrt(2 / 9 / visits)).all()


def test_decoys_of_a_chain_are_its_other_tokens():
    prompts = make(markov_chain.Parameters(length=100, states=3))
    spoken = {int(token) for prompt in prompts for token in prompt.tokens}
    assert {int(token) for prompt in prompts for token in prompt.decoys} == spoken


def test_a_chain_needs_its_states():
    with pytest.raises(CntbenchError, match="33 distinct tokens are needed, but the model has 32"):
        make(markov_chain.Parameters(length=4, states=33), NANO)


@pytest.mark.parametrize(
    "parameters", [random_tokens.Parameters(length=9), markov_chain.Parameters(length=9)]
)
def test_every_position_but_the_last_is_scored_on_what_follows(parameters):
    for prompt in make(parameters):
        assert prompt.scored.tolist() == list(range(8))
        assert prompt.targets.tolist() == prompt.tokens[1:].tolist()


# One token


def test_one_token_over_and_over():
    prompts = make(single_token.Parameters(length=7), count=300)
    for prompt in prompts:
        assert set(prompt.tokens.tolist()) == set(prompt.targets.tolist())
        assert len(set(prompt.tokens.tolist())) == 1
        assert prompt.scored.tolist() == [1, 2, 3, 4, 5]
        assert prompt.reference[-1] == prompt.tokens[-1]
    assert len({int(prompt.tokens[0]) for prompt in prompts}) > 50, "any token may be the one"
    twins = occurrences(np.concatenate([prompt.reference[:-1] for prompt in prompts]))
    assert len(twins) == len(WIDE.vocabulary)
    assert all(abs(n - 18) < 5 * np.sqrt(18) for n in twins.values())


# The shipped tasks

OF_TOKENS = [task for task in load_catalogue().tasks.values() if not task.needs_text]


@pytest.mark.parametrize("task", OF_TOKENS, ids=[task.name for task in OF_TOKENS])
@pytest.mark.parametrize("language", [NANO, WIDE], ids=["nano", "sparse"])
def test_every_shipped_task_of_tokens_speaks_any_vocabulary_of_32(task, language):
    prompts = task.prompts(language, count=4, seed=0)
    assert prompts.reference is not None
    assert len(np.unique(prompts.tokens, axis=0)) == 4
