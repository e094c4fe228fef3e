"""Batched descent, on problems whose solution is known in closed form or by scipy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der

from cntbench.engine.descent import minimise


def quadratics(matrices, centres):
    """½ (x − c)ᵀ A (x − c), one problem for each matrix."""

    def evaluate(which, points):
        apart = points - centres[which]
        turned = (matrices[which] @ apart[..., None])[..., 0]
        return (apart * turned).sum(-1) / 2, turned

    return evaluate


def random_quadratics(seed, problems=4, size=3, spread=5.0):
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    basis, _ = torch.linalg.qr(drawn(problems, size, size))
    eigenvalues = torch.linspace(1 / spread, spread, size, dtype=torch.float64)
    return basis * eigenvalues @ basis.mT, drawn(problems, size)


@given(st.integers(0, 1000))
def test_the_minimum_of_a_quadratic_is_found(seed):
    matrices, centres = random_quadratics(seed)
    start = torch.zeros_like(centres)
    minima = minimise(quadratics(matrices, centres), start, steps=60, tolerance=1e-9).points
    torch.testing.assert_close(minima, centres, rtol=0, atol=1e-7)


@given(st.integers(0, 1000), st.integers(0, 12))
def test_no_value_ever_rises_with_more_steps(seed, steps):
    matrices, centres = random_quadratics(seed, spread=1000.0)
    evaluate = quadratics(matrices, centres)
    every = torch.arange(len(centres))
    values = [
        evaluate(every, minimise(evaluate, centres * 0 + 3, steps=n, tolerance=0.0).points)[0]
        for n in (steps, steps + 1)
    ]
    assert (values[1] <= values[0]).all()


@given(st.integers(0, 1000))
def test_problems_do_not_mix(seed):
    matrices, centres = random_quadratics(seed)
    together = minimise(quadratics(matrices, centres), centres * 0, steps=9, tolerance=1e-6).points
    for i in range(len(centres)):
        block = slice(i, i + 1)
        evaluate = quadratics(matrices[block], centres[block])
        alone = minimise(evaluate, centres[block] * 0, steps=9, tolerance=1e-6).points
        torch.testing.assert_close(together[block], alone, rtol=1e-9, atol=1e-12)


def test_a_curved_valley_is_followed_to_its_end():
    def evaluate(which, points):
        values = [torch.tensor(rosen(p.numpy())) for p in points]
        return torch.stack(values), torch.stack(
            [torch.tensor(rosen_der(p.numpy())) for p in points]
        )

    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0]], dtype=torch.float64)
    minimum = minimise(evaluate, start, steps=200, tolerance=1e-8).points
    torch.testing.assert_close(minimum, torch.ones_like(start), rtol=0, atol=1e-6)


def test_solved_problems_are_not_evaluated_and_undefined_steps_are_refused():
    calls = []

    def evaluate(which, points):
        calls.append(which.tolist())
        x = points[:, 0]  # log is undefined to the left of 0, where the first step leads
        return x - 0.01 * x.log(), (1 - 0.01 / x)[:, None]

    start = torch.tensor([[0.01], [0.5]], dtype=torch.float64)
    result = minimise(evaluate, start, steps=40, tolerance=1e-9).points
    assert result[0].item() == 0.01
    assert result[1].item() == pytest.approx(0.01, abs=1e-8)
    assert calls[0] == [0, 1]
    assert calls[1:] == [[1]] * len(calls[1:])
    assert len(calls) < 41


def test_a_problem_ends_when_its_decrease_does():
    """By the gradient, by the share of its whole decrease, or at the last step: then unsolved."""
    matrices, centres = random_quadratics(0, spread=1000.0)
    evaluate = quadratics(matrices, centres)
    every = torch.arange(len(centres))
    start = centres + 3
    first = evaluate(every, start)[0]
    ended = minimise(evaluate, start, steps=500, tolerance=0.0, share=1e-3)
    assert ended.solved.all()
    assert (evaluate(every, ended.points)[0] < 0.01 * first).all()
    left = minimise(evaluate, start, steps=2, tolerance=0.0, share=1e-3)
    assert not left.solved.any()
    assert minimise(evaluate, centres, steps=2, tolerance=0.0).solved.all()
