"""Claims are rarely supported where they are not true, and often where they are.

``CNTBENCH_FILMS=200 pytest -n 0 -s tests/property/test_claims_calibration.py`` tries more films.
"""

from __future__ import annotations

import io
import os
from functools import cache

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from scipy import stats
from support.calibration import FILMS

from cntbench.analysis.calibration.kinds import KINDS
from cntbench.analysis.calibration.rates import calibrate, settings
from cntbench.dynamics.claims import draws_needed
from cntbench.reporting.calibration import calibration_tables
from cntbench.runs.catalogue import load_catalogue

pytestmark = pytest.mark.slow

#: Films that a claim is true of, which are longer.
TRUE_FILMS = max(FILMS // 4, 10)
#: Films that claims are not true of, of each kind.
NULL_FILMS = int(os.environ.get("CNTBENCH_FILMS", "8"))
NULLS = [(kind, claim) for kind, about in KINDS.items() for claim in about.false]
#: The least power, before correction, at the usual size of the effect.
POWER = {
    ("planted", "spreader_hierarchy"): 0.7,
    ("planted", "gatherers_reconfigure"): 0.9,
    ("planted with 6 heads", "gatherers_less_stable"): 0.5,
    ("phased", "three_phases"): 0.8,
    ("phased 0.03", "three_phases"): 0.8,
    ("phased 0.08", "three_phases"): 0.8,
    ("phased 0.12", "three_phases"): 0.8,
    ("tailed", "long_tailed_weights"): 0.3,
    ("gated", "gatekeeper_hierarchy"): 0.4,
    ("turning gates", "gatekeepers_reconfigure"): 0.7,
}


@cache
def measured(null: bool) -> xr.Dataset:
    """All rates on films that claims are not true of, or are, measured once.

    Films have as many draws as the claims on them need, and 39 at least.
    """
    wanted = null_settings if null else usual_settings
    by_draws = {}
    for setting, about in settings(load_catalogue().some_claims()).items():
        if wanted(setting):
            by_draws.setdefault(max(39, draws_needed(len(about))), {})[setting] = about
    parts = [
        calibrate(
            chosen,
            films=NULL_FILMS if null else TRUE_FILMS,
            draws=count,
            jobs=1,
            progress=lambda *_: None,
        )
        for count, chosen in sorted(by_draws.items())
    ]
    for part in parts:
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(calibration_tables(part))
        print(f"\n\n{console.export_text()}")
    return xr.concat(parts, "case", data_vars="minimal", coords="minimal", combine_attrs="drop")


def null_settings(setting):
    return not KINDS[setting.kind].true


def usual_settings(setting):
    """Films of the usual size, length and shape."""
    kind = KINDS[setting.kind]
    usual = (kind.sizes[-1] if kind.sizes else None, kind.lengths[-1], kind.shapes[0])
    sizes = (setting.size, setting.checkpoints, (setting.layers, setting.heads))
    tested = any((setting.kind, claim) in POWER for claim in kind.true)
    return tested and sizes == usual


def case(rates: xr.Dataset, kind: str, claim: str) -> xr.Dataset:
    at = (rates["kind"].values == kind) & (rates["claim"].values == claim)
    return rates.isel(case=int(np.flatnonzero(at)[0]))


@pytest.mark.parametrize(("kind", "claim"), NULLS)
def test_false_positives_are_at_most_nominal(kind, claim):
    rate = case(measured(null=True), kind, claim)
    # More rejections than this have a chance of 1 % if the rate is the nominal one.
    assert rate["rejected"] <= stats.binom.isf(0.01, NULL_FILMS, 0.05)
    assert rate["supported"] <= rate["rejected"]


@pytest.mark.parametrize(("kind", "claim"), POWER)
def test_what_is_planted_is_found(kind, claim):
    rate = case(measured(null=False), kind, claim)
    assert rate["rejected"] / TRUE_FILMS >= POWER[kind, claim]


def test_every_shipped_claim_is_true_of_some_films_and_not_of_others():
    names = set(load_catalogue().claims)
    assert {claim for _, claim in POWER} == names
    assert {claim for _, claim in NULLS} == names
