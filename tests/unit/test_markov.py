"""Markov chains: rows of probabilities, and walks that follow them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cntbench.prompts import random_state
from cntbench.prompts.markov import random_chain, walk


@pytest.mark.parametrize("sharpness", [0.1, 1.5, 10.0])
def test_a_random_chain_is_the_softmax_of_normal_numbers(sharpness):
    chain = random_chain(random_state(1, "chain"), 7, sharpness)
    score = sharpness * random_state(1, "chain").standard_normal((7, 7))
    for row, scores in zip(chain, score, strict=True):
        assert row.sum() == pytest.approx(1)
        for i in range(7):
            assert row[i] == pytest.approx(1 / sum(np.exp(s - scores[i]) for s in scores))


def test_a_sharper_chain_says_more_about_the_next_token():
    def entropy(sharpness):
        chain = random_chain(random_state(2, "chain"), 16, sharpness)
        return -(chain * np.log(chain)).sum(axis=1).mean()

    assert np.log(16) > entropy(0.5) > entropy(1.5) > entropy(4.0) > 0


def test_transitions_have_the_chain_s_frequencies():
    chain = random_chain(random_state(3, "chain"), 4, 1.5)
    states = walk(random_state(3, "walk"), chain, 50, 2000)
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (states[:, :-1], states[:, 1:]), 1)
    visits = pairs.sum(axis=1, keepdims=True)
    deviation = np.sqrt(chain * (1 - chain) / visits)
    assert (abs(pairs / visits - chain) < 4.5 * deviation).all()


def test_the_start_is_uniform():
    chain = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]])
    starts = walk(random_state(4, "walk"), chain, 1, 9000)[:, 0]
    assert (abs(np.bincount(starts, minlength=3) - 3000) < 4.5 * np.sqrt(2000)).all()


def test_impossible_transitions_do_not_happen():
    chain = np.array([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    states = walk(random_state(5, "walk"), chain, 40, 200)
    seen = {(int(a), int(b)) for row in states for a, b in itertools.pairwise(row)}
    assert seen == {(0, 1), (0, 2), (1, 2), (2, 0), (3, 3)}


def test_a_cycle_is_walked_in_its_order():
    cycle = np.roll(np.eye(5), 1, axis=1)
    states = walk(random_state(6, "walk"), cycle, 12, 20)
    assert (np.diff(states) % 5 == 1).all()


def test_walks_are_independent_and_reproducible():
    chain = random_chain(random_state(7, "chain"), 6, 1.0)
    one, two = (walk(random_state(7, "walk"), chain, 20, 3) for _ in range(2))
    assert (one == two).all()
    assert one.dtype == np.int64
    assert one.shape == (3, 20)
    assert len(np.unique(one, axis=0)) == 3


def test_rows_that_sum_to_less_than_one_by_rounding_stay_in_range():
    chain = np.full((3, 3), np.nextafter(1 / 3, 0) - 1e-9)
    assert walk(random_state(8, "walk"), chain, 2000, 50).max() == 2
