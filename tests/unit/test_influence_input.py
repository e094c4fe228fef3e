"""What the engine refuses, and the shape of what it gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.ablations import shipped
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.errors import CntbenchError
from cntbench.influence import influence
from cntbench.specs import READOUTS

MODEL = decoder(random_gpt_neox(context=8))
ALL = [one.method for one in shipped().values()]
ZERO = [shipped()["zero"].method]


def test_prompts_longer_than_the_context_are_refused():
    influence(MODEL, random_prompts(length=8), ZERO)
    with pytest.raises(CntbenchError, match="9 tokens are longer than the model's context of 8"):
        influence(MODEL, random_prompts(length=9), ZERO)


def test_tokens_outside_the_vocabulary_are_refused():
    prompts = random_prompts()
    prompts.tokens[1, 2] = 16
    influence(MODEL, prompts, ZERO)
    prompts.tokens[1, 2] = 17
    with pytest.raises(CntbenchError, match="token 17 is outside the vocabulary of 17"):
        influence(MODEL, prompts, ZERO)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_reference_prompts_are_asked_for_where_they_are_needed(name):
    prompts = dataclasses.replace(random_prompts(), reference=None)
    spec, ablation = shipped()[name].spec, shipped()[name].method
    if "reference" in spec.parameters.values():
        with pytest.raises(CntbenchError, match=f"ablation '{name}' needs reference prompts"):
            influence(MODEL, prompts, [ablation])
    else:
        assert np.isfinite(influence(MODEL, prompts, [ablation]).readout_effect[0, 2]).all()


@pytest.mark.parametrize("effects", [(), ("accuracy",), ("logit_difference", "cross_entropy")])
def test_effects_that_are_not_asked_for_are_nan(effects):
    found = influence(MODEL, random_prompts(), ZERO, effects=effects)
    for i, name in enumerate(READOUTS):
        assert np.isfinite(found.readout_effect[:, i]).all() == (name in effects)
        assert np.isnan(found.readout_effect[:, i]).all() == (name not in effects)
    assert np.isfinite(found.readout_value).all(), "the clean model's are always given"


def test_shapes_and_what_mlps_have_no_value_for():
    found = influence(MODEL, random_prompts(), ALL)
    n, ablations = len(MODEL.components), len(ALL)
    assert found.influence.shape == found.influence_se.shape == (ablations, n, n)
    assert found.readout_effect.shape == found.readout_effect_se.shape == (ablations, 3, n)
    assert found.readout_value.shape == found.readout_se.shape == (3,)
    heads = np.array([node.kind == "head" for node in MODEL.components])
    for scores in (found.prefix_matching, found.previous_token):
        assert np.isnan(scores[~heads]).all()
        assert ((scores[heads] >= 0) & (scores[heads] <= 1)).all()
