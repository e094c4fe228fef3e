"""Phases of a planted circuit, measured by ablation, begin and end where its edges emerge."""

from __future__ import annotations

import numpy as np
import pytest
from support.planted import FAMILIES, measure

from cntbench.analysis.calibration.simulated import template
from cntbench.components import components, feasible
from cntbench.dynamics.phases import find_phases
from cntbench.models.planted.circuit import Circuit
from cntbench.plugins import shipped_folder

SPACING, EMERGENCE = 20, 500


@pytest.mark.slow
def test_the_emergence_is_found_within_two_checkpoints(tmp_path):
    text = (shipped_folder() / "planted" / "emergence.toml").read_text(encoding="utf-8")
    head, _, tail = text.partition("steps = [")
    steps = list(range(0, 2 * EMERGENCE + 1, SPACING))
    path = tmp_path / "emergence.toml"
    # Edges emerge at the same step, twice as fast, among evenly spaced checkpoints.
    path.write_text(
        f"{head}steps = {steps}{tail.partition(']')[2]}".replace("duration = 40", "duration = 20"),
        encoding="utf-8",
    )
    circuit = Circuit.read(path)
    weights = np.array([measure(circuit.decoder(step=step), count=4).influence for step in steps])
    base = template(layers=3, heads=2, checkpoints=len(steps), spacing=SPACING)
    assert base.names == tuple(node.name for node in components(3, 2, parallel=True))
    np.testing.assert_array_equal(base.feasible, feasible(components(3, 2, parallel=True)))
    for family in range(len(FAMILIES)):
        film = base.with_weights(weights[:, family].astype(np.float64))
        boundaries = find_phases(film, np.random.default_rng(0), 99).boundaries
        emergence = EMERGENCE / SPACING
        assert len(boundaries)
        # A boundary lies between two checkpoints.
        apart = np.maximum(boundaries - 1 - emergence, 0) + np.maximum(emergence - boundaries, 0)
        assert apart.min() <= 2
