"""Calibration: what stands in for models that are too large to be timed."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import pytest
import torch
from support.ablations import shipped
from support.models import decoder, random_model, random_prompts
from transformers import LlamaConfig

from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.estimate import calibration
from cntbench.estimate.calibration import calibrated
from cntbench.models.decoder import Decoder
from cntbench.models.outline import Outline, pythia
from cntbench.models.precision import weight_bytes

#: Of three kinds, and one that is enough where only sizes matter.
METHODS = [shipped()[name].method for name in ("zero", "mean", "resample")]
ONE = METHODS[:1]


def calls(model, methods=METHODS, **prompts):
    vocabulary = model.vocabulary
    return [Request(model, random_prompts(vocabulary=vocabulary, **prompts), methods)]


@cache
def llama(dtype=torch.float32) -> Decoder:
    """30 layers of 9 heads: 300 components, 135 M parameters."""
    return Outline(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        )
    ).decoder(dtype)


def test_a_model_that_is_there_is_timed_itself():
    model = decoder(random_model("llama", layers=3))
    (call,), of = calibration._timed(calls(model))
    assert call.request.model is model
    assert of == "a part of this study"


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_first_layers_are_a_model(architecture, count):
    model = decoder(random_model(architecture, layers=4))
    cut = calibration._first_layers(model, count)
    assert cut.components == model.components[: 3 * count]
    assert sum(b.n_components for s in cut.stages for b in s.blocks) == 3 * count
    alone = decoder(random_model(architecture, layers=count))
    (expected,), (actual,) = calls(alone), calls(cut)
    assert predicted_work(actual) == predicted_work(expected)


def test_a_model_of_many_components_is_stood_in_for_by_some_of_its_layers():
    model = llama()
    assert len(model.components) == 300
    (call,), of = calibration._timed(calls(model, ONE, count=64, length=50))
    assert of.endswith("of the model's 30 layers, with random weights")
    assert call.flops == predicted_work(call.request).flops <= calibration.MOST_FLOPS
    assert call.request.model.unembed.weight.is_meta


@pytest.mark.parametrize(
    ("sources", "targets"),
    [(range(5, 60), None), (None, range(10, 290)), (range(200, 250), range(250, 300))],
)
def test_chosen_components_are_those_that_some_of_the_layers_have(sources, targets):
    (call,) = calls(llama(), ONE, count=64, length=50)
    ((small, flops),), _ = calibration._timed([replace(call, sources=sources, targets=targets)])
    count = len(small.model.components)
    assert count < 300
    kept = [index for index in sources or range(300) if index < count]
    assert [*small.ablated] == (kept or [*range(count)])
    assert small.targets is None or max(small.targets) < count
    assert flops == predicted_work(small).flops > 0


def test_the_work_of_a_model_that_does_not_fit_the_memory_is_not_counted(monkeypatch):
    counted = []

    def record(call):
        counted.append(len(call.model.components))
        return predicted_work(call)

    monkeypatch.setattr(calibration, "free_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(calibration, "predicted_work", record)
    model = pythia()["EleutherAI/pythia-12b"].decoder(torch.float32)
    _, of = calibration._timed(calls(model, ONE, count=2, length=10))
    assert "random weights" in of
    assert counted
    assert max(counted) < len(model.components)


def test_what_has_too_wide_layers_is_stood_in_for_by_a_smaller_model():
    whole = pythia()["EleutherAI/pythia-12b"].decoder(torch.bfloat16)
    model = calibration._first_layers(whole, 3)  # of which no two can be timed, either
    (call,), of = calibration._timed(calls(model, ONE, count=2, length=10))
    assert of.endswith("'s shape, with random weights")
    assert call.request.model.dtype == torch.bfloat16
    assert call.request.prompts.tokens.max() < call.request.model.vocabulary < model.vocabulary


def test_what_does_not_fit_the_memory_is_not_made(monkeypatch):
    model = pythia()["EleutherAI/pythia-70m"].decoder(torch.float32)
    whole = calls(model, ONE, count=2, length=4)
    assert calibration._timed(whole)[1] == "a part of this study, with random weights"
    monkeypatch.setattr(calibration, "free_memory", lambda: 10 * 2**20)
    (call,), of = calibration._timed(whole)
    assert of == "2 layers of pythia-14m's shape, with random weights"
    assert weight_bytes(call.request.model) < weight_bytes(model) / 4


def test_a_model_without_weights_has_a_rate():
    model = pythia()["EleutherAI/pythia-14m"].decoder(torch.float32)
    ticks = iter(range(10**6))
    speed = calibrated(calls(model, count=3, length=8), 0, clock=lambda: float(next(ticks)))
    assert speed.of == "a part of this study, with random weights"
    assert speed.flops > 0
    assert speed.loading == 0


def test_random_weights_are_finite_and_vary():
    made = calibration._with_weights(llama(torch.bfloat16).stages[0].blocks[0])
    assert made.project.weight.device.type == "cpu"
    assert made.project.weight.isfinite().all()
    assert made.project.weight.std() > 0


def test_a_plan_of_the_largest_model_takes_seconds_and_no_memory():
    before = time.process_time()
    model = pythia()["EleutherAI/pythia-12b"].decoder(torch.float32)
    assert predicted_work(calls(model, count=64, length=32)[0]).flops > 10**16
    assert all(
        value.is_meta
        for stage in model.stages
        for block in stage.blocks
        for value in vars(block).values()
        if isinstance(value, torch.Tensor)
    )
    assert time.process_time() - before < 30
