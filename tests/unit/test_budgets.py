"""Circuits at a budget are those of the faithfulness engine, all methods in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from cntbench.analysis.recovery import Recovery
from cntbench.comparison.budgets import BUDGETS, recovered_output
from cntbench.comparison.circuits.faithfulness import Choice, EdgeScores, faithfulness
from cntbench.engine.request import Request
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.known_circuits import planted_plan


@pytest.fixture(scope="module")
def catalogue():
    return load_catalogue()


def test_the_area_is_that_of_faithfulness_and_the_truth_beats_chance(catalogue):
    (known,) = catalogue.known_circuits(["random_dag_narrow"])
    study, patch = catalogue.study("compare"), catalogue.ablations["resample"]
    truth = known.circuit.truth()
    chance = np.random.default_rng(0).random(truth.feasible.shape)
    scores = {
        name: np.where(truth.feasible, values, np.nan)
        for name, values in {"truth": truth.readout + 0.1 * chance, "chance": chance}.items()
    }
    records = [
        Recovery(known.circuit.name, difficulty, 1, name, values, truth.direct, truth.total)
        for difficulty in ("exact", "realistic")
        for name, values in scores.items()
    ]
    recovered = recovered_output(records, [known], study, patch)
    plan = planted_plan(study, [patch], known)
    request = Request(
        known.circuit.decoder("realistic", 1),
        plan.prompts[0],
        [patch.method],
        effects=("kl_divergence",),
        readouts=(),
    )
    for name, values in scores.items():
        edges = np.full((len(values) + 1,) * 2, np.nan)
        edges[1:, :-1] = values
        choice = Choice(budgets=BUDGETS, rankings=("absolute",), draws=1)
        expected = faithfulness(request, EdgeScores(edges, signed=False), choice)["cpr"].item()
        assert recovered[name, known.circuit.name, 1] == pytest.approx(expected, abs=1e-6)
    assert recovered["truth", known.circuit.name, 1] > recovered["chance", known.circuit.name, 1]
    assert set(recovered) == {(name, known.circuit.name, 1) for name in scores}
