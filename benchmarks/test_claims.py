"""Phases and claims of the default study's film.

Quick mode tests the claims on one of the 21 cells with few draws; full mode, ``--full``, on all of
them with 200 draws.
"""

from __future__ import annotations

from support.runs import quiet

from benchmarks.films import study_film
from benchmarks.timing import cost
from cntbench.analysis.derived import NullDraws
from cntbench.analysis.verdicts import verdicts
from cntbench.runs.catalogue import load_catalogue


def test_phases_and_claims_of_the_default_study(full, record_property):
    film, claims = study_film(full), load_catalogue().some_claims()
    draws, limit = (200, 450) if full else (50, 9)

    def judge():
        verdicts(film, None, claims, NullDraws(0, draws, 1, quiet))

    spent = cost(judge, rounds=1 if full else 3, limit=limit)
    cells = film.sizes["task"] * film.sizes["ablation"]
    record_property("race", f"claims, {draws} draws of {cells} cells: {spent}")
    assert spent.yardsticks < limit
