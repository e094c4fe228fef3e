"""Standard errors over prompts, against how far numbers differ between sets of prompts."""

from __future__ import annotations

import numpy as np
import pytest
from support.ablations import shipped
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.engine.influence import influence
from cntbench.engine.request import Request

NAMES = ("zero", "resample", "mean", "resample_other")
SETS, PROMPTS = 60, 8


@pytest.fixture(scope="module")
def sets():
    """Results of sets of prompts that have none in common."""
    model = decoder(random_gpt_neox(layers=2, heads=2))
    prompts = random_prompts(count=SETS * PROMPTS, length=4, scored=2)
    methods = [shipped()[name].method for name in NAMES]
    parts = (prompts.take(slice(i, i + PROMPTS)) for i in range(0, len(prompts), PROMPTS))
    return [influence(Request(model, part, methods)) for part in parts]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["influence", "readout_effect"])
def test_errors_are_right_or_conservative(sets, name, kind):
    index = NAMES.index(name)
    means, errors = (
        np.stack([getattr(part, field)[index] for part in sets]) for field in (kind, f"{kind}_se")
    )
    if kind == "readout_effect":
        means, errors = means[:, 2], errors[:, 2]  # the logit difference
    stated = np.square(errors).mean(axis=0)
    known = stated > 0
    ratio = np.sqrt((means.var(axis=0, ddof=1)[known] / stated[known]).mean())
    # Signed effects of replacements by other prompts may cancel between prompts.
    cancels = kind == "readout_effect" and name in ("mean", "resample_other")
    assert (0.5 if cancels else 0.85) < ratio < 1.15
