"""What is measured by mean ablation does not depend on how many prompts are measured together."""

from __future__ import annotations

import numpy as np
import pytest
from support.models import decoder, random_gpt_neox, random_prompts

import cntbench
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError

MODEL = decoder(random_gpt_neox(layers=2, heads=2))
PROMPTS = random_prompts(count=96, length=5, scored=5)
AXES = (("prompt",), ("prompt", "position"))


def measured(ablations, prompts):
    result = influence(Request(MODEL, prompts, ablations, observe_all=True))
    return result.influence, result.readout_effect[:, 2]


@pytest.mark.parametrize("over", AXES, ids=len)
@pytest.mark.parametrize("scope", ["total", "direct"])
def test_few_prompts_and_many_agree(over, scope):
    """With a mean that contains the prompt, 4 prompts give 0.87 of what 96 give."""
    rule = mean.Parameters(population="clean", over=over)
    ablations = [Ablation("mean", rule, relative_l2.measure, scope=scope)]
    parts = [PROMPTS.take(slice(first, first + 4)) for first in range(0, len(PROMPTS), 4)]
    many, _ = measured(ablations, PROMPTS)
    few = np.mean([measured(ablations, part)[0] for part in parts], axis=0)
    ratio = (few / many)[~np.isnan(many)]
    assert np.median(ratio) == pytest.approx(1, abs=0.04)
    assert ratio == pytest.approx(1, abs=0.1)


def test_one_prompt_is_refused():
    rules = [mean.Parameters(population="clean", over=over) for over in AXES]
    for rule in rules:
        with pytest.raises(CntbenchError, match="'mean' needs at least 2 prompts, and there is 1"):
            measured([Ablation("mean", rule, relative_l2.measure)], PROMPTS.take(slice(1)))
    of_twins = mean.Parameters(population="reference", over=("prompt",))
    measured([Ablation("mean", of_twins, relative_l2.measure)], PROMPTS.take(slice(1)))


def test_a_prompt_that_is_repeated_counts_once():
    rule = mean.Parameters(population="clean", over=("prompt",))
    ablations = [Ablation("mean", rule, relative_l2.measure)]
    once, _ = measured(ablations, PROMPTS.take(np.arange(3)))
    thrice, _ = measured(ablations, PROMPTS.take(np.tile(np.arange(3), 3)))
    np.testing.assert_allclose(thrice, once, rtol=1e-5)
    with pytest.raises(CntbenchError, match="needs at least 2 prompts"):
        measured(ablations, PROMPTS.take(np.zeros(3, dtype=int)))


def test_python_users_are_told_too():
    model = random_gpt_neox(layers=2)
    row = {"clean": [1, 2, 3], "answer": 5, "wrong": 6}
    with pytest.raises(CntbenchError, match="'mean' takes outputs from other prompts") as caught:
        cntbench.influence(model, ablation="mean", prompts=[row])
    assert "Ask for at least 2 prompts." in str(caught.value)
