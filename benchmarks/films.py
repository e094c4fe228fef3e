"""A random film of the default study's shape: 7 tasks, 3 ablations, 143 checkpoints."""

from __future__ import annotations

from functools import cache

import xarray as xr
from support.films import random_film

from benchmarks.workloads import NANO
from cntbench.runs.catalogue import load_catalogue

CHECKPOINTS = 143


@cache
def study_film(full: bool = False) -> xr.Dataset:
    """Return the film, of 15 components, which all benchmarks share.

    In quick mode it has the first task and the first ablation only.
    """
    study = load_catalogue().study("nano").spec
    count = None if full else 1
    return random_film(
        names=[f"step{8 * i}" for i in range(CHECKPOINTS)],
        tasks=study.tasks[:count],
        ablations=study.ablations[:count],
        layers=NANO.layers,
        heads=NANO.heads,
    )
