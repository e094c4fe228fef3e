"""Null models and roles of the default study's film.

Quick mode computes one of the 21 cells with few draws; full mode, ``--full``, all of them with 200
draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.runs import quiet

from benchmarks.films import study_film
from benchmarks.timing import cost
from cntbench.analysis.calibration.simulated import planted, template
from cntbench.analysis.derived import NullDraws, derived
from cntbench.dynamics.null_summary import null_summary
from cntbench.plugins import room
from cntbench.results.film import untrained_group

UNTRAINED = 20


def test_null_models_and_roles_of_the_default_study(full, record_property):
    film = study_film(full)
    others = untrained_group({i: film.isel(checkpoint=[i]) for i in range(UNTRAINED)})
    draws, limit = (200, 1200) if full else (20, 9)

    def compute():
        derived(film, others, NullDraws(0, draws, 1, quiet))

    spent = cost(compute, rounds=1 if full else 3, limit=limit)
    cells = film.sizes["task"] * film.sizes["ablation"]
    record_property("race", f"null models and roles, {draws} draws of {cells} cells: {spent}")
    assert spent.yardsticks < limit


@pytest.mark.parametrize("null", sorted(room("null model")))
def test_draws(null, benchmark):
    film = planted(np.random.default_rng(0), base=template()).film
    film = dataclasses.replace(film, untrained=film.weights[:UNTRAINED])
    draw, rng = room("null model")[null].module.draw, np.random.default_rng(1)
    drawn = benchmark.pedantic(draw, args=(film, rng, 10), rounds=3)
    assert drawn.shape[1:] == film.weights.shape


def test_a_large_graph(benchmark):
    """330 components: two draws that keep strengths, compared in every metric."""
    film = planted(np.random.default_rng(0), base=template(layers=30, heads=10, checkpoints=1)).film
    names = [
        name for name, plugin in room("metric").items() if plugin.module.METRIC.null == "strengths"
    ]
    metrics = benchmark.pedantic(
        null_summary, args=(film, "strengths", names, np.random.default_rng(1), 2), rounds=1
    )
    assert all(np.isfinite(values).any() for values in metrics.values())
