"""The errors of roles beside the jackknife over prompts, on the golden trajectory.

Edges are measured on the same prompts, so their errors are correlated, and a result does not keep
how. The assumption of `cntbench.dynamics.roles` has to be wide enough, and the simpler one, that
all edges are independent, is not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from cntbench.analysis.calibration.simulated import frozen, template
from cntbench.dynamics.role_summary import component_roles
from cntbench.dynamics.roles import ROLES, error, half_width, strength
from cntbench.engine import influence as engine
from cntbench.engine.request import Request
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue

GOLDEN = Path(__file__).parents[2] / "golden" / "nano" / "trajectory"
ABLATIONS = ("zero", "mean", "resample")


@cache
def by_prompt(task: str, checkpoint: str, count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Influence of every prompt, dims ablation, source, target, prompt; and components' layers."""
    catalogue = load_catalogue()
    trajectory = open_trajectory(f"dir:{GOLDEN}", lambda *_: None, checkpoints=checkpoint)
    (at,) = trajectory.checkpoints
    prompts = catalogue.tasks[task].prompts(trajectory.language, count=count, seed=0)
    methods = [catalogue.ablations[name].method for name in ABLATIONS]
    with patch.object(engine, "_summary", wraps=engine._summary) as summary:
        engine.influence(Request(trajectory.load(at), prompts, methods))
    layers = np.array([node.layer for node in trajectory.shape.components])
    return summary.call_args.args[1].change, layers


def ratios(task: str, checkpoint: str, role: str) -> tuple[np.ndarray, np.ndarray]:
    """What is said, and what independent edges would have, over the jackknife's error."""
    values, layer = by_prompt(task, checkpoint)
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    errors = values.std(axis=-1, ddof=1) / np.sqrt(count)
    without = (mean[..., None] * count - values) / (count - 1)
    parts = strength(np.moveaxis(without, -1, 0), layer, role)
    jackknife = np.sqrt((count - 1) * parts.var(axis=0))
    rng = np.random.default_rng(0)
    independent = strength(mean + errors * rng.standard_normal((400, *mean.shape)), layer, role)
    stated = error(mean, errors, layer, role)
    has = ~np.isnan(stated)
    return stated[has] / jackknife[has], independent.std(axis=0)[has] / jackknife[has]


def test_errors_are_wide_enough_and_independence_would_not_be():
    results = [
        ratios(task, checkpoint, role)
        for task in ("induction", "bigram", "random_tokens")
        for checkpoint in ("step0", "step1112")
        for role in ROLES
    ]
    stated, independent = (np.concatenate(values) for values in zip(*results, strict=True))
    assert stated.min() > 1
    assert np.median(stated) < 2
    assert np.median(independent) < 0.9


@pytest.mark.parametrize(
    ("prompts", "low", "high"),
    [(4, 0.98, 0.98), (8, 0.95, 0.98), (16, 0.95, 0.96), (64, 0.95, 0.95)],
)
@pytest.mark.parametrize("shape", [None, 4])
def test_intervals_cover_as_often_as_the_page_on_null_models_says(prompts, low, high, shape):
    """Of strengths whose edges share their noise, as the errors assume: normal, or skewed."""
    rng, base = np.random.default_rng(0), template(checkpoints=1)
    covered = []
    for _ in range(300):
        true = frozen(rng, base).weights
        size = (prompts, 1, len(base.names), 1)
        noise = rng.normal(1, 0.5, size) if shape is None else rng.gamma(shape, 1 / shape, size)
        values = true * noise
        errors = values.std(axis=0, ddof=1) / np.sqrt(prompts)
        number = np.array(float(prompts))
        roles = component_roles(values.mean(axis=0), errors, base.layer, number)
        strengths = strength(true, base.layer, "spreader")
        within = (roles["spreader_strength_lower"] <= strengths) & (
            strengths <= roles["spreader_strength_upper"]
        )
        covered.append(within[~np.isnan(strengths)].mean())
    assert low - 0.015 <= np.mean(covered) <= high + 0.015


def test_intervals_without_a_number_of_prompts_are_those_of_many():
    errors, prompts = np.ones((3, 1)), np.array([2.0, 10.0, np.inf])
    np.testing.assert_allclose(half_width(errors, prompts)[:, 0], [12.706, 2.262, 1.960], atol=1e-3)
    assert half_width(errors, np.array(np.inf))[0, 0] == pytest.approx(1.96, abs=1e-3)
