"""Phases are found where something is learnt, and rarely where nothing is.

``CNTBENCH_FILMS=200 pytest -n 0 -s tests/property/test_phases_calibration.py`` tries more films.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support import courses
from support.calibration import FILMS, distances

from cntbench.analysis.calibration import simulated
from cntbench.dynamics.phases import find_phases

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("checkpoints", "least"), [(40, 0.75), (143, 0.95)])
def test_the_emergence_is_found_within_two_checkpoints(checkpoints, least):
    values = np.array(distances(films=FILMS // 2, checkpoints=checkpoints))
    near = (values <= 2).mean()
    print(
        f"\n{checkpoints} checkpoints: phases in {np.isfinite(values).mean():.2f} of the films, "
        f"the emergence within two checkpoints of a boundary in {near:.2f}"
    )
    assert near >= least


@pytest.mark.parametrize("width", [0.0, 0.05, 0.12])
@pytest.mark.parametrize("checkpoints", [40, 143])
def test_intervals_of_boundaries_hold_the_middles_of_transitions(checkpoints, width):
    base = simulated.template(layers=3, heads=3, checkpoints=checkpoints)
    held, lengths = [], []
    for number in range(FILMS // 4):
        film = simulated.phased(np.random.default_rng(number), base, width=width)
        phases = np.random.default_rng(number).uniform(0.25, 0.4, 3)  # what `phased` draws first
        places = phases.cumsum()[:2] / phases.sum() * (checkpoints - 1)
        segmentation = find_phases(film, np.random.default_rng([number, 1]), 39)
        if segmentation.count == 3:  # a boundary is the first checkpoint after it
            true = np.floor(places) + 1
            held += [*((segmentation.lower <= true) & (true <= segmentation.upper))]
            lengths += [*(segmentation.upper - segmentation.lower)]
    print(
        f"\n{checkpoints} checkpoints, width {width}: {np.mean(held):.2f} of {len(held)} "
        f"intervals, {np.median(lengths):g} checkpoints long in the median"
    )
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize("checkpoints", [40, 143])
def test_drifts_and_walks_have_no_phases_and_steps_do(checkpoints):
    counts = courses.counts(
        films=FILMS if checkpoints == 40 else FILMS // 2, checkpoints=checkpoints
    )
    print(f"\n\nChange points found in {checkpoints} checkpoints\n\n{courses.table(counts)}")
    for kind, planted in courses.KINDS.items():
        films = counts[kind].sum()
        if planted:
            assert counts[kind][planted] == counts[kind][1:].max()
            assert counts[kind][planted] >= 0.25 * films
        else:
            assert counts[kind][1:].sum() <= stats.binom.isf(0.01, films, 0.05)
