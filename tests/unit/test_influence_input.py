"""What the engine refuses, and the shape of what it gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.ablations import shipped
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.engine.attention_scores import PATTERN_SCORES
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.readouts import STANDARD, known_readouts

MODEL = decoder(random_gpt_neox(context=8))
ALL = [one.method for one in shipped().values()]
ZERO = [shipped()["zero"].method]


def test_prompts_longer_than_the_context_are_refused():
    influence(Request(MODEL, random_prompts(length=8), ZERO))
    with pytest.raises(CntbenchError, match="9 tokens are longer than the model's context of 8"):
        influence(Request(MODEL, random_prompts(length=9), ZERO))


def test_tokens_outside_the_vocabulary_are_refused():
    prompts = random_prompts()
    prompts.tokens[1, 2] = 16
    influence(Request(MODEL, prompts, ZERO))
    prompts.tokens[1, 2] = 17
    with pytest.raises(CntbenchError, match="token 17 is outside the vocabulary of 17"):
        influence(Request(MODEL, prompts, ZERO))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_reference_prompts_are_asked_for_where_they_are_needed(name):
    prompts = dataclasses.replace(random_prompts(count=5), reference=None)
    spec, ablation = shipped()[name].spec, shipped()[name].method
    if "reference" in spec.parameters.values() or spec.estimator == "eap_ig":
        with pytest.raises(CntbenchError, match=f"ablation '{name}' needs reference prompts"):
            influence(Request(MODEL, prompts, [ablation]))
    else:
        assert np.isfinite(
            influence(Request(MODEL, prompts, [ablation])).readout_effect[0, 2]
        ).all()


@pytest.mark.parametrize("effects", [(), ("accuracy",), ("logit_difference", "cross_entropy")])
def test_effects_that_are_not_asked_for_are_nan(effects):
    result = influence(Request(MODEL, random_prompts(), ZERO, effects=effects))
    for i, name in enumerate(known_readouts()):
        assert np.isfinite(result.readout_effect[:, i]).all() == (name in effects)
        assert np.isnan(result.readout_effect[:, i]).all() == (name not in effects)
    standard = np.isfinite(result.readout_value[: len(STANDARD)])
    assert standard.all(), "the clean model's are always given"


def test_shapes_and_what_mlps_have_no_value_for():
    result = influence(Request(MODEL, random_prompts(count=5), ALL))
    n, ablations = len(MODEL.components), len(ALL)
    assert result.influence.shape == result.influence_se.shape == (ablations, n, n)
    assert result.edge_effect.shape == result.edge_effect_se.shape == (ablations, n, n)
    shape = (ablations, len(known_readouts()), n)
    assert result.readout_effect.shape == result.readout_effect_se.shape == shape
    assert result.readout_value.shape == result.readout_se.shape == (len(known_readouts()),)
    heads = np.array([node.kind == "head" for node in MODEL.components])
    for scores in (getattr(result, name) for name in PATTERN_SCORES):
        assert np.isnan(scores[~heads]).all()
        assert ((scores[heads] >= 0) & (scores[heads] <= 1)).all()


@pytest.mark.parametrize(
    ("name", "effects", "says"),
    [
        ("resample_readout", (), "observes the effect on a readout, but none is requested"),
        ("resample_eap", (), "observes the effect on a readout, but none is requested"),
        ("resample_eap", ("accuracy", "cross_entropy"), "by its gradient, but accuracy has none"),
        ("resample_eap_ig", ("accuracy",), "by its gradient, but accuracy has none"),
        ("resample_eap", ("kl_divergence",), "at the clean prompts, where that of kl_divergence"),
    ],
)
def test_readouts_that_cannot_be_observed_are_refused(name, effects, says):
    with pytest.raises(CntbenchError, match=rf"ablation '{name}' .*{says}"):
        influence(Request(MODEL, random_prompts(), [shipped()[name].method], effects=effects))


def test_accuracy_can_be_patched():
    ablations = [shipped()["resample_readout"].method]
    result = influence(Request(MODEL, random_prompts(), ablations, effects=("accuracy",)))
    assert np.isfinite(result.edge_effect[0][0, 3])


def test_more_draws_than_other_prompts_are_refused():
    ablations = [shipped()["resample_other_4"].method]
    influence(Request(MODEL, random_prompts(count=5), ablations))
    with pytest.raises(CntbenchError, match=r"'resample_other_4' needs at least 5 .* are 4"):
        influence(Request(MODEL, random_prompts(count=4), ablations))


def test_no_ablation_at_all_leaves_the_clean_model():
    result = influence(Request(MODEL, random_prompts(), []))
    assert result.influence.shape[0] == result.edge_effect.shape[0] == 0
    assert np.isfinite(result.readout_value[: len(STANDARD)]).all()
