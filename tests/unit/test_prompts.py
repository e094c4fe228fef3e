"""Vocabularies, random streams and batches of prompts."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompt, Prompts, batch, generate, lengths, random_state
from cntbench.prompts.generators import random_tokens, repeated_block

SPARSE = Language(np.array([90, 3, 41, 7, 1000, 12, 55, 8]))


def test_streams_are_fixed_for_all_time():
    # These numbers change only if every prompt ever made changes with them.
    state = random_state(0, "induction", 3)
    assert state.randint(0, 1000, 6).tolist() == [394, 622, 380, 238, 656, 771]
    assert random_state(0, "induction", 3).standard_normal() == pytest.approx(
        -1.7050404580159793, abs=1e-15
    )


def test_draws_are_fixed_for_all_time():
    assert SPARSE.distinct(random_state(0, "x"), 1).tolist() == [55]
    assert SPARSE.distinct(random_state(0, "x"), 5).tolist() == [8, 3, 41, 1000, 90]
    assert SPARSE.sample(random_state(0, "x"), 5).tolist() == [55, 7, 12, 90, 90]
    assert SPARSE.other(random_state(0, "x"), SPARSE.vocabulary[:4]).tolist() == [8, 1000, 55, 90]


def test_streams_differ_in_every_part_of_what_they_are_given():
    streams = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 1)]
    drawn = {tuple(random_state(*stream).randint(0, 2**31, 4)) for stream in streams}
    assert len(drawn) == len(streams)


def test_a_stream_does_not_touch_numpy_s_own():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    random_state(0, "a").standard_normal(10)
    assert (np.random.get_state()[1] == before).all()


def test_sample_is_uniform_over_the_vocabulary():
    drawn = Counter(SPARSE.sample(random_state(0, "x"), 8000).tolist())
    assert set(drawn) == set(SPARSE.vocabulary.tolist())
    assert all(abs(count - 1000) < 4.5 * np.sqrt(1000 * 7 / 8) for count in drawn.values())


@pytest.mark.parametrize("size", [1, 2, 7, 8])  # few of them are drawn another way than many
def test_distinct_is_uniform_without_replacement(size):
    rng = random_state(1, "x")
    first, seen = Counter(), Counter()
    for _ in range(2000):
        drawn = SPARSE.distinct(rng, size)
        assert len(set(drawn.tolist())) == size
        first[int(drawn[0])] += 1
        seen.update(drawn.tolist())
    assert set(seen) <= set(SPARSE.vocabulary.tolist())
    for counts, p in [(first, 1 / 8), (seen, size / 8)]:
        for token in SPARSE.vocabulary.tolist():
            assert abs(counts[token] - 2000 * p) <= 4.5 * np.sqrt(2000 * p * (1 - p))


@pytest.mark.parametrize("size", [0, 1, 4])
def test_distinct_leaves_out_what_is_excluded(size):
    excluded = [3, 7, 1000, 8, 999]
    for i in range(50):
        drawn = SPARSE.distinct(random_state(i), size, excluding=excluded)
        assert set(drawn.tolist()) <= {90, 41, 12, 55}
        assert len(set(drawn.tolist())) == size


@pytest.mark.parametrize(("size", "excluding", "needed"), [(9, [], 9), (5, [3, 7, 8, 12], 9)])
def test_distinct_says_how_many_tokens_are_needed(size, excluding, needed):
    with pytest.raises(
        CntbenchError, match=f"{needed} distinct tokens are needed, but the model has 8"
    ):
        SPARSE.distinct(random_state(0), size, excluding=excluding)


def test_avoiding_is_distinct_while_there_are_enough_tokens():
    taken = np.array([90, 3, 41])
    for i in range(30):
        exact = SPARSE.avoiding(random_state(i), 5, taken)
        assert sorted(exact.tolist()) == [7, 8, 12, 55, 1000]
        many = SPARSE.avoiding(random_state(i), 30, taken)
        assert len(many) == 30
        assert set(many.tolist()) <= {7, 8, 12, 55, 1000}


def test_avoiding_everything_draws_from_all():
    drawn = SPARSE.avoiding(random_state(0), 200, SPARSE.vocabulary)
    assert set(drawn.tolist()) == set(SPARSE.vocabulary.tolist())


def test_other_is_uniform_over_the_other_tokens():
    tokens = np.repeat(SPARSE.vocabulary, 700)
    drawn = SPARSE.other(random_state(2, "x"), tokens)
    assert (drawn != tokens).all()
    for token in SPARSE.vocabulary:
        counts = Counter(drawn[tokens == token].tolist())
        assert len(counts) == 7
        assert all(abs(n - 100) < 4.5 * np.sqrt(100 * 6 / 7) for n in counts.values())


def test_other_needs_two_tokens():
    with pytest.raises(CntbenchError, match="2 distinct tokens are needed, but the model has 1"):
        Language(np.array([5])).other(random_state(0), np.array([5]))


def numbered(language, rng):
    """A generator of prompts that are all different."""
    tokens = rng.randint(0, 10**9, 4)
    return Prompt(tokens, np.array([1, 2]), tokens[2:], tokens[:2], reference=tokens + 1)


def test_generate_stacks_what_the_generator_makes():
    prompts = generate(numbered, SPARSE, n_prompts=5, seed=3, stream="task")
    for i in range(5):
        single = numbered(SPARSE, random_state(3, "task", i))
        for field in dataclasses.fields(Prompt):
            if getattr(single, field.name) is not None and field.name != "summed":
                made = getattr(prompts, field.name)[i]
                assert (made == getattr(single, field.name)).all(), field.name
    assert len(prompts) == 5
    assert prompts.index.tolist() == [0, 1, 2, 3, 4]


def test_the_other_prompt_is_another_one():
    prompts = generate(numbered, SPARSE, n_prompts=4, seed=3, stream="task")
    rows = {tuple(row) for row in prompts.tokens.tolist()}
    assert {tuple(row) for row in prompts.other.tolist()} == rows
    assert (prompts.other != prompts.tokens).any(axis=1).all()


def test_draws_from_other_prompts_go_round():
    prompts = generate(numbered, SPARSE, n_prompts=4, seed=3, stream="task")
    drawn = prompts.with_draws(3)
    assert prompts.further is None, "the prompts themselves are left alone"
    for i in range(4):
        assert (drawn.other[i] == prompts.tokens[(i + 1) % 4]).all()
        assert (drawn.further[i, 0] == prompts.tokens[(i + 2) % 4]).all()
        assert (drawn.further[i, 1] == prompts.tokens[(i + 3) % 4]).all()
    assert drawn.further.shape[1] == 2
    assert (drawn.take(slice(1, 3)).further == drawn.further[1:3]).all()


def test_draws_belong_to_a_prompt_whatever_stands_around_it():
    prompts = generate(numbered, SPARSE, n_prompts=5, seed=3, stream="task")
    drawn = prompts.with_draws(4).further
    order = np.array([3, 0, 4, 4, 1, 2, 0])
    assert (prompts.take(order).with_draws(4).further == drawn[order]).all()


def test_there_are_only_so_many_other_prompts():
    prompts = generate(numbered, SPARSE, n_prompts=4, seed=3, stream="task")
    with pytest.raises(CntbenchError, match=r"4 draws .* need 5 prompts, but there are 4"):
        prompts.with_draws(4)
    with pytest.raises(CntbenchError, match=r"3 draws .* need 4 prompts, but there are 2"):
        prompts.take(np.array([0, 1, 0, 1])).with_draws(3)


def test_a_batch_without_twins():
    def plain(language, rng):
        return dataclasses.replace(numbered(language, rng), reference=None)

    prompts = generate(plain, SPARSE, n_prompts=2, seed=0, stream="task")
    assert prompts.reference is None
    assert prompts.take(slice(1)).reference is None
    some = [make(SPARSE, random_state(0)) for make in (plain, numbered)]
    with pytest.raises(CntbenchError, match="1 of 2 prompts have a corrupted twin"):
        batch(some)


def test_further_prompts_of_a_group_are_whole():
    """Draws for short prompts come from long ones."""
    made = [
        Prompt(np.arange(size), np.array([size - 1]), np.array([1]), np.array([2]))
        for size in (3, 3, 7, 7)
    ]
    drawn = batch(made).with_draws(3)
    for row in range(len(made)):
        group = drawn.take(np.array([row]))
        cut = group.cut(("other",))
        for name in ("other", "further"):
            np.testing.assert_array_equal(
                lengths(getattr(cut, name)), lengths(getattr(group, name))
            )
        assert group.cut(()).tokens.shape[1] == group.length


@pytest.mark.parametrize("text", ["a", "b"])
def test_a_tokenizer_has_no_more_tokens_than_the_model(text):
    class Letters:
        def encode(self, text):
            return [ord(letter) - ord("a") for letter in text]

    size = ord(text) - ord("a")
    assert Language(SPARSE.vocabulary, tokenizer=Letters(), size=size + 1).encode(text) == [size]
    with pytest.raises(CntbenchError, match=f"token {size}, outside the vocabulary of {size} tok"):
        Language(SPARSE.vocabulary, tokenizer=Letters(), size=size).encode(text)


@pytest.mark.parametrize("length", [3, 4, 6])
def test_twins_of_another_length_are_told_where_all_prompts_are_alike(length):
    prompts = batch(
        [
            dataclasses.replace(numbered(SPARSE, random_state(i)), reference=np.arange(length))
            for i in range(2)
        ]
    )
    size = len(numbered(SPARSE, random_state(0)).tokens)
    assert prompts.unequal_twin == (0 if length != size else None)
    assert prompts.cut(()).tokens.shape == (2, size)
    assert (prompts.cut(("reference",)).reference[:, :length] == np.arange(length)).all()


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0, 2]), np.array([], dtype=np.int64)])
def test_take_chooses_the_same_rows_of_everything(rows):
    prompts = generate(numbered, SPARSE, n_prompts=4, seed=3, stream="task").with_draws(3)
    taken = prompts.take(rows)
    assert len(taken) == len(np.arange(4)[rows])
    for field in dataclasses.fields(Prompts):
        whole = getattr(prompts, field.name)
        if whole is None:
            assert field.name in {"anchors", "origin", "summed"}, (
                "of prompts of one shape, generated"
            )
        else:
            assert (getattr(taken, field.name) == whole[rows]).all(), field.name


@pytest.mark.parametrize("stream", ["induction", "long_gap"])
def test_the_seed_and_the_stream_make_other_prompts(stream):
    make = random_tokens.Parameters(length=12).make
    base = generate(make, SPARSE, n_prompts=3, seed=0, stream=stream).tokens
    for seed, other in [(1, stream), (0, stream + "x")]:
        again = generate(make, SPARSE, n_prompts=3, seed=seed, stream=other).tokens
        assert (again != base).any(axis=1).all()


def test_a_prompt_says_that_its_vocabulary_is_too_small():
    with pytest.raises(CntbenchError) as caught:
        generate(
            repeated_block.Parameters(block=9).make, SPARSE, n_prompts=1, seed=0, stream="task"
        )
    assert "the vocabulary is too small: 9 distinct tokens" in str(caught.value)
    assert "use a model with a larger vocabulary" in str(caught.value)


def test_a_batch_cuts_no_number_off():
    """A generator that mixes types is told of its floats; they are not rounded before."""
    prompts = [
        Prompt(np.array(tokens), np.array([0]), np.array([1]), np.array([2]))
        for tokens in ([1, 2], [1, 2.5])
    ]
    assert batch(prompts).tokens[1].tolist() == [1, 2.5]
