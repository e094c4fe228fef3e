"""Installed peers measure the same as the engine."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.contenders import contender
from benchmarks.opponents import hooks
from benchmarks.peers import PEERS, missing, peer
from benchmarks.race import processor_time
from benchmarks.workloads import TINY, decoder
from cntbench.engine.influence import influence
from cntbench.engine.request import Request


@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_agrees_with_the_engine(name, ablation):
    why = missing(name)
    if why:
        pytest.skip(why)
    workload = TINY.but(ablations=(ablation,))
    prompts = workload.make_prompts()
    result = influence(Request(decoder(workload.shape), prompts, workload.make_ablations()))
    expected, effects = hooks(workload, prompts, "everywhere", model=peer(name, workload.shape))
    np.testing.assert_allclose(result.influence, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.readout_effect[:, 2], effects[:, 0], atol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_takes_part_in_a_race(name):
    why = missing(name)
    if why:
        pytest.skip(why)
    assert min(processor_time("tiny", [name], rounds=1, of=2)[name]) > 0


def test_a_peer_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"nnsight is not installed: pip install '\.\[peers\]'"):
        contender("nnsight", "tiny", 0, 1)
