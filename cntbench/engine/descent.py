"""Many small smooth problems minimised in parallel, by L-BFGS with a backtracking line search.

Source: Nocedal & Wright 2006, "Numerical optimization", algorithms 7.4 (two-loop recursion) and 3.1
(backtracking); a rejected step is shortened to the minimum of the interpolating parabola. Every
problem has its own curvature and step length; one evaluation serves all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: Fraction of the decrease predicted by the slope that an accepted step must achieve.
SUFFICIENT = 1e-4
#: Smallest cosine between a step and its change of gradient for which the curvature is updated.
CURVED = 1e-8
#: Number of latest steps from which the curvature is estimated.
MEMORY = 30
#: Evaluations over which a decrease is judged.
WINDOW = 5


class Minima(NamedTuple):
    """The best points found, dims ``problem, coordinate``, and whether each problem was solved."""

    points: Tensor
    solved: Tensor


def minimise(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    *,
    steps: int,
    tolerance: float,
    share: float = 0.0,
) -> Minima:
    """Descend from a start; the value of a problem never increases.

    Parameters
    ----------
    evaluate
        Takes the ascending indices of problems and a point of each, dims ``problem, coordinate``;
        returns their values, dims ``problem``, and gradients, dims ``problem, coordinate``.
        Coordinates should be of order 1.
    start
        Initial points, dims ``problem, coordinate``.
    steps
        Number of evaluations after the first one, rejected steps included.
    tolerance
        A problem is solved, and no longer evaluated, when its gradient norm is at most this.
    share
        Or when the last `WINDOW` evaluations contributed at most this share of its decrease.
    """
    point = start.clone()
    value, gradient = evaluate(torch.arange(len(point), device=point.device), point)
    length, scale = torch.ones_like(value), torch.ones_like(value)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)
    first, values = value, deque([value], maxlen=WINDOW + 1)
    solved = gradient.norm(dim=-1) <= tolerance
    for _ in range(steps):
        (active,) = torch.nonzero(~solved, as_tuple=True)
        if not len(active):
            break
        direction = _direction(gradient, pairs, scale)
        slope = _dot(gradient, direction)
        trial, trial_value, trial_gradient = point.clone(), value.clone(), gradient.clone()
        trial[active] += length[active, None] * direction[active]
        trial_value[active], trial_gradient[active] = evaluate(active, trial[active])
        accepted = trial_value <= value + SUFFICIENT * length * slope
        excess = (trial_value - value - length * slope).nan_to_num(nan=torch.inf)
        shorter = length * (-slope * length / (2 * excess)).nan_to_num().clamp(0.1, 0.5)
        length = torch.where(accepted, 1.0, shorter)
        step, change = trial - point, trial_gradient - gradient
        curvature = _dot(step, change)
        curved = accepted & (curvature > CURVED * step.norm(dim=-1) * change.norm(dim=-1))
        scale = torch.where(curved, curvature / _dot(change, change), scale)
        pairs.append((_where(curved, step), _where(curved, change), _where(curved, 1 / curvature)))
        point = trial.where(accepted[:, None], point)
        value = trial_value.where(accepted, value)
        gradient = trial_gradient.where(accepted[:, None], gradient)
        solved = solved | (gradient.norm(dim=-1) <= tolerance)
        values.append(value)
        if len(values) > WINDOW:
            solved = solved | (values[0] - value <= share * (first - value))
    return Minima(point, solved)


def _direction(
    gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]], scale: Tensor
) -> Tensor:
    """Multiply the gradient by minus the approximate inverse Hessian (two-loop recursion)."""
    q = gradient
    alphas = []
    for step, change, weight in reversed(pairs):
        alpha = weight * _dot(step, q)
        q = q - alpha[:, None] * change
        alphas.append(alpha)
    r = scale[:, None] * q
    for (step, change, weight), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - weight * _dot(change, r))[:, None] * step
    return -r


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1)


def _where(mask: Tensor, values: Tensor) -> Tensor:
    return values.where(mask.view(-1, *[1] * (values.ndim - 1)), 0.0)
