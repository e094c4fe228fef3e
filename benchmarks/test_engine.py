"""The engine against the naive opponent: their speeds, and that their results agree.

Quick mode (the default) times small workloads in this process, engine and opponent in turns, and
requires a generous minimum ratio. Full mode, ``pytest benchmarks/ --full``, races all opponents on
the full workloads in separate processes, with the allocator tuned for both sides.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.opponents import hooks
from benchmarks.race import processor_time, table
from benchmarks.timing import turns
from benchmarks.workloads import (
    NANO,
    PYTHIA_14M,
    PYTHIA_160M,
    SMOLLM2_135M,
    WORKLOADS,
    Workload,
    decoder,
)
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts

N = Workload(NANO, prompts=8, block=16)
P = Workload(PYTHIA_14M, prompts=2, block=12)

#: Workload, the opponent's unembedding, and the engine's required speed relative to it.
CASES = {
    "nano, zero": (N, "everywhere", 1.5),
    "nano, mean": (N.but(ablations=("mean",)), "everywhere", 1.5),
    "nano, resample": (N.but(ablations=("resample",)), "everywhere", 1.5),
    "nano, three ablations": (
        N.but(ablations=("zero", "mean", "resample")),
        "everywhere",
        1.5,
    ),
    "Pythia-14M, logit difference": (P, "none", 1.3),
    "Pythia-14M, cross-entropy": (P.but(effects=("cross_entropy",)), "scored", 1.05),
    "Pythia-14M, accuracy": (P.but(effects=("accuracy",)), "scored", 1.05),
    "Pythia-160M, first 2 layers": (
        Workload(replace(PYTHIA_160M, layers=2), prompts=1, block=8),
        "none",
        1.1,
    ),
    "SmolLM2-135M, first 3 layers": (
        Workload(replace(SMOLLM2_135M, layers=3), prompts=1, block=8),
        "none",
        1.1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_engine_beside_hooks(name, benchmark):
    workload, unembedding, floor = CASES[name]
    model, prompts = decoder(workload.shape), workload.make_prompts()
    ablations = workload.make_ablations()

    def engine():
        effects = workload.effects  # the opponent computes no other readouts
        return influence(Request(model, prompts, ablations, effects=effects, readouts=effects))

    def opponent():
        return hooks(workload, prompts, unembedding)

    result, (expected, effects) = engine(), opponent()
    np.testing.assert_allclose(result.influence, expected, rtol=1e-4, atol=1e-6)
    chosen = [known_readouts().index(effect) for effect in workload.effects]
    np.testing.assert_allclose(result.readout_effect[:, chosen], effects, atol=1e-4)
    contenders = {"engine": engine, "opponent": opponent}
    seconds = turns(contenders, rounds=2, clock=time.process_time, least=floor)
    ratio = min(seconds["opponent"]) / min(seconds["engine"])
    benchmark.extra_info |= {
        "opponent": f"hooks, logits: {unembedding}",
        "opponent_seconds": statistics.median(seconds["opponent"]),
        "ratio": ratio,
    }
    benchmark.pedantic(engine, rounds=1)
    assert ratio >= floor


#: Workloads with rounds that take minutes.
LONG = {"160M", "SmolLM2-135M"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_race(name, full, record_property):
    if not (full or name == "tiny"):
        pytest.skip("the full mode only: pytest benchmarks/ --full")
    contenders = CONTENDERS if full else ("engine", "plain")
    rounds = 5 if full and name not in LONG else 1
    rows = table(name, contenders, rounds=rounds, workers=2 if full else 1, memory=full)
    for row in rows:
        record_property("race", str(row))
    assert rows[0].ratio == 1
    assert all(min(row.seconds) > 0 for row in rows)
    assert {row.contender for row in rows} == {
        name for name in contenders if rows[0].workload != "W-cross-entropy" or name[:2] != "no"
    }


def test_all_contenders_can_be_timed_on_one_core():
    times_by_name = processor_time("tiny", CONTENDERS, rounds=2, of=2)
    assert list(times_by_name) == list(CONTENDERS)
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in times_by_name.values())
