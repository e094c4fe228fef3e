"""Planted trajectories change when and where they say, and not otherwise."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.planted import ABSENT, FAMILIES, PRESENT, edge, measure, shipped

from cntbench.models.planted.spec import Emergence


@cache
def measured(name):
    """What is found at every step of a shipped circuit."""
    circuit = shipped()[name]
    return [measure(circuit.decoder(step=step)) for step in circuit.steps]


def films(circuit, edges):
    """Influence over some edges, dims ``family, edge, step``."""
    result = measured(circuit.name)
    return np.array(
        [[[edge(f, circuit, family, *e) for f in result] for e in edges] for family in FAMILIES]
    )


def test_emerging_edges_cross_half_their_height_at_the_stated_step():
    circuit = shipped()["emergence"]
    dynamics = circuit.blueprint.dynamics
    assert isinstance(dynamics, Emergence)
    steps = np.array(circuit.steps)
    for by_edge in films(circuit, dynamics.edges):
        for height in by_edge:
            assert height[0] < 1e-3 * height[-1]
            grown = height > height[-1] / 2
            after = int(np.argmax(grown))
            assert grown[after:].all()  # it crosses once
            around = slice(after - 1, after + 1)
            half = np.interp(height[-1] / 2, height[around], steps[around])
            assert abs(half - dynamics.emergence) < dynamics.duration / 4


def test_edges_that_do_not_emerge_are_there_all_along():
    circuit = shipped()["emergence"]
    dynamics = circuit.blueprint.dynamics
    rest = [e for e in circuit.blueprint.edges if e not in dynamics.edges]
    assert (films(circuit, rest) >= PRESENT).all()


def test_the_gain_is_a_half_at_the_emergence_and_never_falls():
    dynamics = shipped()["emergence"].blueprint.dynamics
    gains = [next(iter(dynamics.at(s).gains.values())) for s in (0, 400, 500, 600, 10**6)]
    assert gains == sorted(gains)
    assert gains[2] == 0.5
    assert gains[3] == pytest.approx(1 / (1 + np.exp(-100 / dynamics.duration)))
    assert gains[-1] == 1.0


def test_a_frozen_trajectory_has_the_same_weights_at_every_step():
    circuit = shipped()["frozen"]
    models = [circuit.build(step=step)[1] for step in circuit.steps]
    assert len(models) > 5
    for tensors in models[1:]:
        assert all(torch.equal(tensors[name], models[0][name]) for name in models[0])


def test_a_drifting_trajectory_changes_its_weights_and_none_of_its_edges():
    circuit = shipped()["drift"]
    weights = [
        circuit.build(step=step)[1]["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
        for step in circuit.steps
    ]
    jumps = [(b - a).norm() / a.norm() for a, b in pairwise(weights)]
    assert min(jumps) > 0.05
    assert max(jumps) < 0.3
    feasible = circuit.truth().feasible
    values = np.array([each.influence for each in measured("drift")])
    present = circuit.truth().total & feasible
    assert (values[..., present] >= PRESENT).all()
    assert (values[..., feasible & ~present] <= ABSENT).all()
    # Smooth: from one checkpoint to the next, no edge moves by more than a tenth.
    assert np.abs(np.diff(np.log(values[..., present]), axis=0)).max() < 0.1
