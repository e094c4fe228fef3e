"""Claims are rarely supported where they are not true, and often where they are.

The tables of docs/claims.md:
``CNTBENCH_FILMS=200 pytest -n 0 -s tests/property/test_claims_calibration.py``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats
from support import courses
from support.calibration import FILMS, NULLS, TRUE, Rate, distances, rates, table

pytestmark = pytest.mark.slow

#: Ten times the films that a claim is true of, and the draws of their tests.
WHOLE = max(FILMS, 100)


@cache
def measured(null: bool) -> list[Rate]:
    """All rates, measured once."""
    found = (
        rates(NULLS) if null else rates(TRUE, films=WHOLE // 10, checkpoints=143, draws=WHOLE - 1)
    )
    print(f"\n\n{table(found)}")
    return found


@pytest.mark.parametrize(("kind", "claim"), [(k, c) for k, names in NULLS.items() for c in names])
def test_false_positives_are_at_most_nominal(kind, claim):
    rate = next(one for one in measured(null=True) if (one.kind, one.claim) == (kind, claim))
    assert rate.films == FILMS
    # More rejections than this have a chance of 1 % if the rate is the nominal one.
    assert rate.rejected <= stats.binom.isf(0.01, rate.films, 0.05)
    assert rate.supported <= rate.rejected


@pytest.mark.parametrize(
    ("kind", "claim", "least"),
    [
        ("planted", "spreader_hierarchy", 0.7),
        ("planted", "gatherers_reconfigure", 0.9),
        ("planted with 6 heads", "gatherers_less_stable", 0.5),
        ("phased", "three_phases", 0.8),
        ("phased 0.03", "three_phases", 0.8),
        ("phased 0.08", "three_phases", 0.8),
        ("phased 0.12", "three_phases", 0.8),
    ],
)
def test_what_is_planted_is_found(kind, claim, least):
    rate = next(one for one in measured(null=False) if (one.kind, one.claim) == (kind, claim))
    assert rate.rejected / rate.films >= least


@pytest.mark.parametrize(("checkpoints", "least"), [(40, 0.75), (143, 0.95)])
def test_the_emergence_is_found_within_two_checkpoints(checkpoints, least):
    found = np.array(distances(films=FILMS // 2, checkpoints=checkpoints))
    near = (found <= 2).mean()
    print(
        f"\n{checkpoints} checkpoints: phases in {np.isfinite(found).mean():.2f} of the films, "
        f"the emergence within two checkpoints of a boundary in {near:.2f}"
    )
    assert near >= least


@pytest.mark.parametrize("checkpoints", [40, 143])
def test_drifts_and_walks_have_no_phases_and_steps_do(checkpoints):
    found = courses.counts(
        films=FILMS if checkpoints == 40 else FILMS // 2, checkpoints=checkpoints
    )
    print(f"\n\nChange points found in {checkpoints} checkpoints\n\n{courses.table(found)}")
    for kind, planted in courses.KINDS.items():
        films = found[kind].sum()
        if planted:
            assert found[kind][planted] == found[kind][1:].max()
            assert found[kind][planted] >= 0.25 * films
        else:
            assert found[kind][1:].sum() <= stats.binom.isf(0.01, films, 0.05)
