"""Effects of single edges against the naive oracle: one or two forward passes per edge."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.edge_oracle import oracle_edges

from benchmarks.opponents import transformer
from benchmarks.timing import ratio, turns
from benchmarks.workloads import NANO, Workload, decoder
from cntbench.ablations.measures import relative_l2
from cntbench.engine.influence import influence
from cntbench.engine.request import Request

N = Workload(NANO, prompts=2, block=8)

#: Required speed of the engine relative to the oracle.
FLOORS = {"zero, direct": 10, "resample, readout edges": 10, "resample, eap": 10}


@pytest.mark.parametrize("method", FLOORS)
def test_engine_beside_the_oracle(method, benchmark):
    workload = N.but(ablations=(method,))
    model, prompts = decoder(workload.shape), workload.make_prompts()
    (ablation,) = workload.make_ablations()
    measure = "relative_l2" if ablation.measure is relative_l2.measure else None
    names = workload.effects

    oracles = []

    def engine():
        return influence(Request(model, prompts, [ablation], effects=names, readouts=names))

    def oracle():
        named = transformer(workload.shape)
        oracles.append(oracle_edges(named, prompts, ablation, measure, effects=names))

    transformer(workload.shape)  # making the model is not timed
    result = engine()
    contenders = {"engine": engine, "oracle": oracle}
    seconds = turns(contenders, rounds=1, clock=time.process_time)
    [(expected, _)] = oracles
    weights = result.influence if measure else result.edge_effect
    np.testing.assert_allclose(weights[0], expected.mean(axis=-1), rtol=1e-3, atol=1e-5)
    assert np.nanmax(abs(weights)) > 1e-2
    faster = ratio(seconds["engine"], seconds["oracle"])
    benchmark.extra_info |= {"opponent": "one forward for each edge", "ratio": faster}
    benchmark.pedantic(engine, rounds=1)
    assert faster >= FLOORS[method]
