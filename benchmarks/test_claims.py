"""Phases and claims: the default study's film, 200 draws, in under a minute on two cores.

Quick mode computes one of the 21 cells and multiplies; full mode, ``--full``, computes all of them
on two processes.
"""

from __future__ import annotations

import time

from benchmarks.films import study_film
from cntbench.analysis.verdicts import verdicts
from cntbench.runs.catalogue import load_catalogue

DRAWS, CORES = 200, 2
#: Time limit of the whole study on two cores [s].
LIMIT = 60.0


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def test_phases_and_claims_of_the_default_study(full, record_property):
    film = study_film()
    cells = film.sizes["task"] * film.sizes["ablation"]
    some = film if full else film.isel(task=[0], ablation=[0])
    claims = load_catalogue().some_claims()
    start, work = time.perf_counter(), time.process_time()
    verdicts(some, None, claims, seed=0, draws=DRAWS, jobs=CORES if full else 1, progress=quiet)
    seconds = time.perf_counter() - start
    if not full:  # not the time of other programs on the core
        seconds = (time.process_time() - work) * cells / CORES
    record_property("seconds", seconds)
    assert seconds < LIMIT
