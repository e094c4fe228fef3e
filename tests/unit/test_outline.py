"""Outlines: what a config alone says is what a model with weights says."""

from __future__ import annotations

import pytest
import torch
from support.ablations import shipped as methods
from support.models import ARCHITECTURES, decoder, random_model, random_prompts

from cntbench.engine.chunking import outcome_bytes, predicted_bytes
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.models.outline import Outline, pythia

#: As others have counted them on the published models.
PARAMETERS = {
    "14m": 14_067_712,
    "31m": 30_494_720,
    "70m": 70_426_624,
    "160m": 162_322_944,
    "410m": 405_334_016,
    "1b": 1_011_781_632,
    "1.4b": 1_414_647_808,
    "2.8b": 2_775_208_960,
    "6.9b": 6_857_302_016,
    "12b": 11_846_072_320,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_shipped_models_have_as_many_parameters_as_published_ones(name):
    config = pythia().get(f"EleutherAI/pythia-{name}")
    assert config.parameters == PARAMETERS[name]
    assert config.stored_type == torch.float16  # and stays so once parameters were counted
    deduped = pythia().get(f"EleutherAI/pythia-{name}-deduped")
    assert (deduped is None) == (name in ("14m", "31m"))


def test_a_file_is_as_large_as_the_published_one():
    # 166,029,852 bytes: 10,780 of them are the header, and numbers that belong to no parameter.
    assert pythia()["EleutherAI/pythia-70m"].stored_bytes == 166_029_852 - 10_780


def test_other_models_are_not_shipped():
    assert pythia().get("EleutherAI/pythia-15m") is None
    assert pythia().get("lab/pythia-14m") is None
    assert len(pythia()) == 18


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_config_alone_predicts_what_the_model_does(architecture, dtype):
    model = random_model(architecture, layers=3, dtype=dtype)
    real, outlined = decoder(model), Outline(model.config).decoder(dtype)
    assert outlined.unembed.weight.is_meta
    assert outlined.components == real.components
    assert outlined.context == real.context
    prompts = random_prompts(count=6)
    chosen = [methods()[name].method for name in ("zero", "mean", "resample_eap", "zero_direct")]
    chosen.append(methods()["optimal_constant"].method)
    calls = [
        Request(item, prompts, chosen, effects=("cross_entropy",)) for item in (real, outlined)
    ]
    for predicted in (predicted_work, predicted_bytes, outcome_bytes):
        assert predicted(calls[0]) == predicted(calls[1])
