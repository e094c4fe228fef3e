"""Null models and roles: the default study's film, 200 draws, in under two minutes on two cores.

Quick mode computes one of the 21 cells and multiplies; full mode, ``--full``, computes all of them
on two processes.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from benchmarks.workloads import NANO
from cntbench.analysis.derived import derived
from cntbench.calibration.simulated import planted, template
from cntbench.dynamics.null_summary import null_summary
from cntbench.plugins import room
from cntbench.results.film import untrained_group
from cntbench.runs.catalogue import load_catalogue

CHECKPOINTS, UNTRAINED, DRAWS, CORES = 143, 20, 200, 2
#: Time limit of the whole study on two cores [s].
LIMIT = 120.0


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def film() -> xr.Dataset:
    study = load_catalogue().study("nano").spec
    return random_film(
        names=[f"step{8 * i}" for i in range(CHECKPOINTS)],
        tasks=study.tasks,
        ablations=study.ablations,
        layers=NANO.layers,
        heads=NANO.heads,
    )


def test_null_models_and_roles_of_the_default_study(film, full, record_property):
    others = untrained_group({i: film.isel(checkpoint=[i]) for i in range(UNTRAINED)})
    cells = film.sizes["task"] * film.sizes["ablation"]
    at = {} if full else {"task": [0], "ablation": [0]}
    start, work = time.perf_counter(), time.process_time()
    derived(
        film.isel(at),
        others.isel(at),
        seed=0,
        draws=DRAWS,
        jobs=CORES if full else 1,
        progress=quiet,
    )
    seconds = time.perf_counter() - start
    if not full:  # not the time of other programs on the core
        seconds = (time.process_time() - work) * cells / CORES
    verb = "took" if full else "would take, by one cell,"
    record_property("race", f"null models and roles {verb} {seconds:.0f} s on {CORES} cores")
    assert seconds < LIMIT


@pytest.mark.parametrize("null", sorted(room("null model")))
def test_draws(null, benchmark):
    film = planted(np.random.default_rng(0)).film
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
