"""Common checks of every generator that is discovered, with parameters drawn from its own ranges.

A new generator is checked by lying in its folder; nothing is to be registered here.
"""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pydantic
import pytest
from hypothesis import assume, given, settings

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompts, generate, random_state
from cntbench.testing import under_test

ALL = under_test("generator")
#: Those that make prompts of tokens, whatever they stand for.
GENERATORS = {n: p for n, p in ALL.items() if not getattr(p.module, "NEEDS_TEXT", False)}
EVERY = pytest.mark.parametrize("name", sorted(GENERATORS))
FEW = settings(max_examples=25)
#: Parameters are drawn from this many of the smallest values that are allowed.
SPAN = 9


def values(field: dict) -> st.SearchStrategy:
    """Small allowed values of a parameter, from its JSON schema."""
    kind = field.get("type")
    if "enum" in field:
        return st.sampled_from(field["enum"])
    if kind == "boolean":
        return st.booleans()
    low = field.get("minimum", field.get("exclusiveMinimum", 0))
    high = field.get("maximum", field.get("exclusiveMaximum", low + SPAN))
    if kind == "integer":
        return st.integers(low, min(high, low + SPAN))
    if kind == "number":
        return st.floats(low, high, exclude_min="exclusiveMinimum" in field)
    if "default" in field:
        return st.just(field["default"])
    raise AssertionError(f"teach this test to draw {field}")


@st.composite
def parameters(draw, name):
    """Parameters of a generator."""
    cls = GENERATORS[name].module.Parameters
    fields = pydantic.TypeAdapter(cls).json_schema()["properties"]
    return cls(**{key: draw(values(field)) for key, field in fields.items()})


@st.composite
def languages(draw, *, low=1, high=80):
    """Vocabularies with gaps and in no order, with a Markov chain or without."""
    size = draw(st.integers(low, high))
    rng = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    vocabulary = np.sort(rng.permutation(10 * size)[:size]) + draw(st.integers(0, 1000))
    if draw(st.booleans()):
        vocabulary = rng.permutation(vocabulary)
    chain = rng.dirichlet(np.ones(size), size) if draw(st.booleans()) else None
    return Language(vocabulary, chain)


seeds = st.integers(0, 2**32 - 1)
#: Large enough for all parameters that are drawn.
ample = languages(low=60)


def batch(made, language, count, seed) -> Prompts:
    return generate(made.make, language, n_prompts=count, seed=seed, stream="task")


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_prompts_are_well_formed(name, data, language, seed):
    prompt = data.draw(parameters(name)).make(language, random_state(seed))
    length, scored = len(prompt.tokens), len(prompt.scored)
    arrays = {k: v for k, v in vars(prompt).items() if isinstance(v, np.ndarray)}
    assert {"tokens", "scored", "targets", "decoys"} <= set(arrays)
    for name, value in arrays.items():
        assert value.dtype == np.int64, name
        assert value.ndim == 1, name
    assert length >= 1
    assert scored >= 1
    assert len(prompt.targets) == len(prompt.decoys) == scored
    assert (np.diff(prompt.scored) > 0).all(), "sorted, each once"
    assert prompt.scored[0] >= 0
    assert prompt.scored[-1] < length
    assert (prompt.targets != prompt.decoys).all()


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_targets_are_the_next_tokens(name, data, language, seed):
    prompt = data.draw(parameters(name)).make(language, random_state(seed))
    within = prompt.scored + 1 < len(prompt.tokens)
    assert (prompt.targets[within] == prompt.tokens[prompt.scored[within] + 1]).all()


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_only_tokens_of_the_vocabulary_are_used(name, data, language, seed):
    prompt = data.draw(parameters(name)).make(language, random_state(seed))
    for part in (prompt.tokens, prompt.targets, prompt.decoys, prompt.reference):
        if part is not None:
            assert np.isin(part, language.vocabulary).all()


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_the_twin_is_as_long_as_the_prompt(name, data, language, seed):
    prompt = data.draw(parameters(name)).make(language, random_state(seed))
    assert prompt.reference is not None
    assert prompt.reference.shape == prompt.tokens.shape


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_the_same_seed_gives_the_same_prompts(name, data, language, seed):
    made = data.draw(parameters(name))
    before = language.vocabulary.copy()
    prompts = batch(made, language, 3, seed)
    np.random.seed(3)  # NumPy's own stream has no part in it
    np.random.rand(5)
    two = batch(dataclasses.replace(made), Language(before.copy(), language.chain), 3, seed)
    for field in dataclasses.fields(Prompts):
        assert np.array_equal(getattr(prompts, field.name), getattr(two, field.name)), field.name
    assert (language.vocabulary == before).all()


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds, count=st.integers(1, 4), more=st.integers(1, 4))
def test_the_first_prompts_do_not_know_how_many_follow(name, data, language, seed, count, more):
    made = data.draw(parameters(name))
    few, many = (batch(made, language, n, seed) for n in (count, count + more))
    for field in dataclasses.fields(Prompts):
        # The last prompt's other one is the first; further ones are taken when they are asked for.
        result = getattr(few, field.name)
        if field.name not in {"other", "further"} and result is not None:
            assert (result == getattr(many, field.name)[:count]).all(), field.name


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_prompts_differ(name, data, language, seed):
    prompts = batch(data.draw(parameters(name)), language, 24, seed)
    assert len(np.unique(prompts.tokens, axis=0)) > 1


@EVERY
@FEW
@given(data=st.data(), language=languages(high=12), seed=seeds)
def test_a_vocabulary_is_enough_or_said_to_be_too_small(name, data, language, seed):
    made = data.draw(parameters(name))
    try:
        prompt = made.make(language, random_state(seed))
    except CntbenchError as error:
        told = str(error)
    else:
        told = ""
        assert (prompt.targets != prompt.decoys).all()
        assert np.isin(prompt.tokens, language.vocabulary).all()
    assert told == "" or "the vocabulary is too small" in told


@EVERY
@FEW
@given(data=st.data(), token=st.integers(0, 10**6), chained=st.booleans())
def test_one_token_is_too_few_for_a_target_and_a_decoy(name, data, token, chained):
    language = Language(np.array([token]), np.ones((1, 1)) if chained else None)
    with pytest.raises(CntbenchError, match="the vocabulary is too small"):
        data.draw(parameters(name)).make(language, random_state(0))


@EVERY
@FEW
@given(data=st.data(), language=ample, seed=seeds)
def test_what_it_does_does_not_depend_on_the_numbers_of_the_tokens(name, data, language, seed):
    """Renaming the tokens, in order, renames them in the prompts and does nothing else."""
    made = data.draw(parameters(name))
    renamed = Language(language.vocabulary * 3 + 7, language.chain)
    one, two = (made.make(spoken, random_state(seed)) for spoken in (language, renamed))
    assume(one.reference is not None)
    assert (two.scored == one.scored).all()
    for part in ("tokens", "targets", "decoys", "reference"):
        assert (getattr(two, part) == getattr(one, part) * 3 + 7).all(), part
