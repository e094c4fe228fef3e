"""A random film of the default study's shape: 7 tasks, 3 ablations, 143 checkpoints."""

from __future__ import annotations

import xarray as xr
from support.films import random_film

from benchmarks.workloads import NANO
from cntbench.runs.catalogue import load_catalogue

CHECKPOINTS = 143


def study_film() -> xr.Dataset:
    """Return the film, of 15 components."""
    study = load_catalogue().study("nano").spec
    return random_film(
        names=[f"step{8 * i}" for i in range(CHECKPOINTS)],
        tasks=study.tasks,
        ablations=study.ablations,
        layers=NANO.layers,
        heads=NANO.heads,
    )
