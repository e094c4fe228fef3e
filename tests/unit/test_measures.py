"""Measures against closed forms, naive loops, and what every measure promises."""

from __future__ import annotations

import inspect
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from support import oracle
from support.ablations import measures

from cntbench.ablations.measures import cosine, relative_l2
from cntbench.testing import under_test

EVERY = pytest.mark.parametrize("name", sorted(under_test("measure")))


def vectors(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(function, clean, ablated):
    """Mean over positions of a function of two plain vectors, by loops."""
    runs, prompts, positions, parts, _ = ablated.shape
    changes = torch.empty(runs, prompts, parts, dtype=torch.float64)
    for run in range(runs):
        for prompt in range(prompts):
            for part in range(parts):
                changes[run, prompt, part] = (
                    sum(
                        function(
                            clean[prompt, position, part].tolist(),
                            ablated[run, prompt, position, part].tolist(),
                        )
                        for position in range(positions)
                    )
                    / positions
                )
    return changes


def plain_relative_l2(a, b):
    return math.dist(a, b) / math.hypot(*a)


def plain_cosine(a, b):
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize(
    ("measure", "plain"),
    [(relative_l2.measure, plain_relative_l2), (cosine.measure, plain_cosine)],
)
def test_against_a_loop(measure, plain):
    clean, ablated = vectors(2, 3, 4, 5), vectors(6, 2, 3, 4, 5, seed=1)
    torch.testing.assert_close(measure(clean, ablated), naive(plain, clean, ablated))


def test_the_oracle_applies_a_measure_of_the_user_to_one_component(monkeypatch):
    monkeypatch.setattr(oracle, "measures", lambda: {"mine": cosine})
    change = vectors(3, 5), vectors(3, 5, seed=1)  # dims position, model
    assert oracle.change("mine", *change) == pytest.approx(oracle.change("cosine", *change))


@pytest.mark.parametrize(
    ("measure", "factor", "expected"),
    [
        (relative_l2.measure, 0.0, 1.0),
        (relative_l2.measure, -1.0, 2.0),
        (relative_l2.measure, 3.0, 2.0),
        (cosine.measure, 3.0, 0.0),
        (cosine.measure, -2.0, 2.0),
        (cosine.measure, 0.0, 1.0),
    ],
)
def test_of_a_scaled_vector_in_closed_form(measure, factor, expected):
    clean = vectors(2, 3, 4, 5)
    result = measure(clean, factor * clean[None])
    torch.testing.assert_close(result, torch.full((1, 2, 4), expected, dtype=torch.float64))


def test_of_a_vector_at_a_right_angle():
    clean, ablated = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 1, 4)
    clean[..., 0], ablated[..., 2] = 3.0, 4.0
    assert relative_l2.measure(clean, ablated).item() == pytest.approx(5 / 3)
    assert cosine.measure(clean, ablated).item() == pytest.approx(1)


@EVERY
def test_a_dead_output_is_defined(name):
    measure = measures()[name].measure
    clean, same, moved = (
        torch.zeros(1, 2, 1, 3),
        torch.zeros(1, 1, 2, 1, 3),
        torch.ones(1, 1, 2, 1, 3),
    )
    assert measure(clean, same).item() == 0
    assert measure(clean, moved).item() > 0
    assert measure(clean, moved).isfinite().all()


@pytest.mark.parametrize("measure", [relative_l2.measure, cosine.measure])
def test_a_dead_output_counts_one_where_it_changes(measure):
    clean, half = torch.zeros(1, 2, 1, 3), torch.zeros(1, 1, 2, 1, 3)
    half[:, :, 1] = 1e-3
    assert measure(clean, half).item() == pytest.approx(0.5)
    # A live output beside a dead one keeps its own value.
    clean[0, 1] = half[0, 0, 1]
    assert measure(clean, half).item() == 0
    assert measure(clean, torch.zeros_like(half)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("measure", [relative_l2.measure, cosine.measure])
def test_has_no_unit(measure):
    clean, ablated = vectors(2, 3, 4, 5), vectors(6, 2, 3, 4, 5, seed=1)
    torch.testing.assert_close(measure(7 * clean, 7 * ablated), measure(clean, ablated))


@EVERY
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-8, 8),
    angle=st.sampled_from([0.0, 1e-6, 1.0, math.pi]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_stays_in_its_range(name, seed, exponent, angle, dtype):
    module = measures()[name]
    clean = vectors(40, 2, 3, 8, seed=seed, dtype=dtype)
    other = vectors(1, 40, 2, 3, 8, seed=seed + 1, dtype=dtype)
    ablated = 10.0**exponent * (math.cos(angle) * clean + math.sin(angle) * other)
    result = module.measure(clean, ablated)
    low, high = module.RANGE
    assert result.shape == (1, 40, 3)
    assert result.isfinite().all()
    assert (result >= low).all()
    assert (result <= high).all()


@EVERY
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_no_change_is_exactly_zero(name, seed, dtype):
    clean = vectors(3, 2, 4, 7, seed=seed, dtype=dtype)
    assert (measures()[name].measure(clean, clean.expand(5, *clean.shape).clone()) == 0).all()


@EVERY
def test_sees_lengths_and_angles_only_of_each_vector_by_itself(name):
    measure = measures()[name].measure
    clean, ablated = vectors(2, 3, 4, 5), vectors(6, 2, 3, 4, 5, seed=1)
    result = measure(clean, ablated)
    turn = torch.linalg.qr(vectors(5, 5, seed=2)).Q
    torch.testing.assert_close(measure(clean @ turn, ablated @ turn), result)
    order = torch.tensor([2, 0, 1])  # positions are averaged over
    torch.testing.assert_close(measure(clean[:, order], ablated[:, :, order]), result)
    torch.testing.assert_close(measure(clean[1:], ablated[2:3, 1:, :, :]), result[2:3, 1:])
    torch.testing.assert_close(measure(clean[:, :, 3:], ablated[:, :, :, 3:]), result[:, :, 3:])


@EVERY
def test_does_not_write_into_what_it_is_given(name):
    clean, ablated = vectors(2, 3, 4, 5), vectors(6, 2, 3, 4, 5, seed=1)
    clean[0, 0, 0] = 0
    before = clean.clone(), ablated.clone()
    measures()[name].measure(clean, ablated)
    assert torch.equal(clean, before[0])
    assert torch.equal(ablated, before[1])


@EVERY
def test_says_its_range(name):
    module = measures()[name]
    low, high = module.RANGE
    assert low <= 0 <= high, "no change is 0"
    assert low < high
    assert list(inspect.signature(module.measure).parameters) == ["clean", "ablated"]


@pytest.mark.parametrize("name", sorted(measures()))
def test_what_is_not_a_number_is_not_measured_as_one(name):
    """Nor beside an output of zeros, which has a value of its own."""
    clean, ablated = vectors(1, 1, 2, 3), vectors(1, 1, 1, 2, 3, seed=1)
    clean[..., 0, :], clean[..., 1, 0] = 0.0, math.nan
    measured = measures()[name].measure(clean, ablated)
    assert not measured[..., 0].isnan()
    assert measured[..., 1].isnan()
