"""Intervals over prompts hold the truth as often as `docs/calibration.md` says."""

from __future__ import annotations

import numpy as np
import pytest

from cntbench.comparison.circuits.faithfulness import _summary
from cntbench.engine.settling import STRONGEST, batches, settled

BUDGETS = np.array([0.05, 0.1, 0.2, 0.5])
#: Shares of the readout that circuits of these budgets recover.
RECOVERED = np.array([0.1, 0.4, 0.8, 1.05])
WITH_WHOLE = [*BUDGETS, 1.0], [*RECOVERED, 1.0]
#: Standard deviation of an edge's numbers over prompts, relative to their mean.
SPREAD = 0.5


def circuits(rng, prompts, gap, skewed):
    """Readouts of circuits, of the empty one and of the model, which prompts share in part."""

    def noise(*shape):
        return 0.5 * rng.standard_normal((*shape, prompts))

    common = noise()
    empty = common + noise()
    scale = rng.lognormal(-0.125, 0.5, prompts) if skewed else 1.0
    clean = gap * scale + common + noise()
    share = RECOVERED[:, None]
    circuit = (1 - share) * empty + share * clean + noise(len(BUDGETS))
    return {
        "ends": np.stack([empty, clean]),
        "circuit": circuit[None],
        "complement": circuit[None],
        "random": circuit[None, :, None],
    }


@pytest.mark.parametrize("prompts", [2, 4, 8, 16])
@pytest.mark.parametrize(("gap", "skewed"), [(3.0, False), (3.0, True), (1.0, False)])
def test_faithfulness_and_its_areas(prompts, gap, skewed):
    """They lie in intervals by the jackknife."""
    rng = np.random.default_rng(prompts)
    shares, areas = np.array(WITH_WHOLE[1]), np.array(WITH_WHOLE[0])
    truth = {
        "faithfulness": RECOVERED,
        "cpr": np.trapezoid(shares, areas),
        "cmd": np.trapezoid(abs(1 - shares), areas),
    }
    held = {name: [] for name in truth}
    for _ in range(400):
        summary = _summary(circuits(rng, prompts, gap, skewed), BUDGETS)
        assert (summary["cmd_lower"] >= 0).all()
        for name, value in truth.items():
            within = (summary[f"{name}_lower"] <= value) & (value <= summary[f"{name}_upper"])
            held[name].append(within.mean())
    for name, values in held.items():
        print(f"{prompts} prompts, gap {gap}, skewed {skewed}, {name}: {np.mean(values):.3f}")
        assert 0.92 <= np.mean(values) <= 0.995


def noise_of_edges(rng, edges, skewed, shared):
    """Noise of 128 prompts, normal or its exponential, half of whose variance edges may share."""
    noise = rng.standard_normal((edges, 128))
    if shared:
        noise = np.sqrt(0.5) * (noise + rng.standard_normal(128))
    if skewed:
        noise = (np.exp(0.8 * noise) - np.exp(0.32)) / np.sqrt(np.exp(1.28) - np.exp(0.64))
    return noise


def stopped(rng, edges, limit, **kind):
    """Stated squared errors and squared distances from the truth, where measuring stops."""
    true = np.linspace(1, 0.2, edges)
    values = true[:, None] * (1 + SPREAD * noise_of_edges(rng, edges, **kind))
    for rows in batches(128):
        part = values[:, : rows.stop]
        mean, error = part.mean(axis=1), part.std(axis=1, ddof=1) / np.sqrt(rows.stop)
        if settled(mean[None, :, None], error[None, :, None], limit):
            break
    strongest = slice(None, STRONGEST)
    return np.square(error[strongest]), np.square(mean - true)[strongest]


@pytest.mark.parametrize(
    ("edges", "skewed", "shared", "least"),
    [
        (72, False, False, 0.96),
        (72, False, True, 0.9),
        (72, True, False, 0.96),
        (72, True, True, 0.84),
        (10, False, False, 0.94),
        (10, True, False, 0.92),
        (1, False, False, 0.8),
        (1, True, False, 0.72),
    ],
)
def test_errors_where_measuring_stops_are_a_little_too_small(edges, skewed, shared, least):
    """Of the strongest edges, by limits from where half of the films stop at once."""
    rng = np.random.default_rng(edges)
    ratios = []
    for part in (0.7, 0.85, 1.0, 1.2):
        limit = part * SPREAD / np.sqrt(8)
        runs = [stopped(rng, edges, limit, skewed=skewed, shared=shared) for _ in range(600)]
        stated, true = (np.mean([run[which] for run in runs]) for which in (0, 1))
        ratios.append(np.sqrt(stated / true))
    print(f"{edges} edges, skewed {skewed}, shared {shared}:", *np.round(ratios, 3))
    assert least <= min(ratios) <= 1.02
