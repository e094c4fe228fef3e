"""Many small smooth problems minimised side by side, by L-BFGS with a backtracking line search.

Source: Nocedal & Wright 2006, "Numerical optimization", algorithms 7.4 (two-loop recursion) and 3.1
(backtracking), with the step's length on a refusal taken from the parabola through what is known.
Every problem keeps its own curvature and its own length of step; one evaluation serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Share of the decrease promised by the slope that a step has to deliver.
SUFFICIENT = 1e-4
#: Smallest cosine between a step and its change of gradient that tells a curvature.
CURVED = 1e-8


def minimise(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    *,
    steps: int,
    tolerance: float,
) -> Tensor:
    """Descend from a point; the value of no problem ever rises.

    Parameters
    ----------
    evaluate
        Given the indices of some problems (rising) and a point of each, dims ``problem,
        coordinate``, returns their values, dims ``problem``, and gradients, dims ``problem,
        coordinate``. Coordinates should be of order 1.
    start
        Where to begin, dims ``problem, coordinate``.
    steps
        Number of evaluations after the first one; refused steps count.
    tolerance
        A problem whose gradient is no longer than this is solved, and evaluated no more.

    Returns
    -------
    Tensor
        The best points found, dims ``problem, coordinate``.
    """
    point = start.clone()
    value, gradient = evaluate(torch.arange(len(point), device=point.device), point)
    length, scale = torch.ones_like(value), torch.ones_like(value)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        (left,) = torch.nonzero(gradient.norm(dim=-1) > tolerance, as_tuple=True)
        if not len(left):
            break
        direction = _direction(gradient, pairs, scale)
        slope = _dot(gradient, direction)
        trial, found, turned = point.clone(), value.clone(), gradient.clone()
        trial[left] += length[left, None] * direction[left]
        found[left], turned[left] = evaluate(left, trial[left])
        better = found <= value + SUFFICIENT * length * slope
        excess = (found - value - length * slope).nan_to_num(nan=torch.inf)
        shorter = length * (-slope * length / (2 * excess)).nan_to_num().clamp(0.1, 0.5)
        length = torch.where(better, 1.0, shorter)
        moved, change = trial - point, turned - gradient
        curvature = _dot(moved, change)
        told = better & (curvature > CURVED * moved.norm(dim=-1) * change.norm(dim=-1))
        scale = torch.where(told, curvature / _dot(change, change), scale)
        pairs.append((_where(told, moved), _where(told, change), _where(told, 1 / curvature)))
        point[better], value[better], gradient[better] = (
            trial[better],
            found[better],
            turned[better],
        )
    return point


def _direction(
    gradient: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]], scale: Tensor
) -> Tensor:
    """Multiply the gradient by minus the approximate inverse Hessian (two-loop recursion)."""
    rest = gradient
    shares = []
    for moved, change, weight in reversed(pairs):
        share = weight * _dot(moved, rest)
        rest = rest - share[:, None] * change
        shares.append(share)
    rest = scale[:, None] * rest
    for (moved, change, weight), share in zip(pairs, reversed(shares), strict=True):
        rest = rest + (share - weight * _dot(change, rest))[:, None] * moved
    return -rest


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1)


def _where(chosen: Tensor, values: Tensor) -> Tensor:
    return values.where(chosen.view(-1, *[1] * (values.ndim - 1)), 0.0)
