"""A decoder is held to what the model itself computes."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.families import FAMILIES
from support.models import ARCHITECTURES, random_model
from torch import nn

import cntbench
from cntbench.errors import CheckpointError, ParityError
from cntbench.models import parity
from cntbench.models.in_memory import read_model
from cntbench.prompts import Language
from cntbench.runs.catalogue import load_catalogue

VOCABULARY = 60
TOKENS = torch.tensor([[3, 1, 4, 1, 59], [2, 7, 1, 8, 0]])


def small(architecture, **options):
    return random_model(architecture, vocabulary=VOCABULARY, **options)


def layers(model):
    return model.base_model.h if model.config.model_type == "gpt2" else model.base_model.layers


def mlp(model):
    return layers(model)[0].mlp


def other_head(model):
    """An unembedding of other weights, as long as the model's."""
    head = model.get_output_embeddings()
    made = nn.Linear(head.in_features, head.out_features, bias=False, dtype=head.weight.dtype)
    made.weight.data.normal_(generator=torch.Generator().manual_seed(9))
    return made


def replace_weight(model):
    model.get_output_embeddings().weight = other_head(model).weight


def replace_module(model):
    model.set_output_embeddings(other_head(model))


def own(model):
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("untie", [replace_weight, replace_module])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_that_was_untied_in_memory_is_the_head(architecture, untie, tied, declared):
    model = small(architecture, tie_word_embeddings=tied)
    earlier = read_model(model)[0].checkpoints[0].revision
    untie(model)
    model.config.tie_word_embeddings = declared
    trajectory, decoder, _ = read_model(model)
    torch.testing.assert_close(decoder.logits(TOKENS), own(model), rtol=1e-4, atol=1e-5)
    assert trajectory.checkpoints[0].revision != earlier


def test_numbers_are_those_of_the_head_in_memory():
    def measured():
        result = cntbench.influence(model, ablation="zero", prompts=2)
        return result["readout_value"].sel(readout="cross_entropy").item()

    model = small("gpt2")
    model.config.tie_word_embeddings = False  # which they still are
    before = measured()
    replace_weight(model)
    after = measured()
    task = load_catalogue().tasks["induction"]
    prompts = task.prompts(Language(np.arange(VOCABULARY)), count=2, seed=0)
    with torch.no_grad():
        logits = model(torch.from_numpy(prompts.tokens)).logits
    scored = logits[np.arange(2)[:, None], prompts.scored].flatten(0, 1)
    loss = F.cross_entropy(scored, torch.from_numpy(prompts.targets).flatten()).item()
    assert after == pytest.approx(loss, rel=1e-5)
    assert before != pytest.approx(loss, rel=1e-2)


def change_eps(model):
    for module in model.modules():
        for name in ("eps", "variance_epsilon"):
            if hasattr(module, name) and "Norm" in type(module).__name__:
                setattr(module, name, 1e-3)


def replace_activation(model):
    setattr(mlp(model), "act_fn" if hasattr(mlp(model), "act_fn") else "act", nn.Tanh())


def hook(model):
    mlp(model).register_forward_hook(lambda module, given, output: output * 1.01)


def hook_before(model):
    layers(model)[1].register_forward_pre_hook(
        lambda module, given: (given[0] * torch.linspace(1, 1.1, given[0].shape[-1]), *given[1:])
    )


def shrink_logits(model):
    model.register_forward_hook(
        lambda module, given, output: setattr(output, "logits", output.logits * 0.99)
    )


class Adapted(nn.Module):
    """A low-rank addition to a module, as adapters wrap it."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.factor = nn.Parameter(torch.tensor(0.1))

    def forward(self, stream):
        return self.base(stream) + self.factor * stream.mean(-1, keepdim=True)


def wrap_mlp(model):
    layers(model)[0].mlp = Adapted(mlp(model))


def add_factors(model):
    """Leave the names, as loralib does: the module itself has further parameters."""
    module = next(m for m in mlp(model).modules() if hasattr(m, "weight") and m.weight.ndim == 2)
    plain = module.forward
    module.factor = nn.Parameter(torch.tensor(0.1))
    module.forward = lambda stream: plain(stream) + module.factor * stream.mean(-1, keepdim=True)


def other_attention(model):
    from transformers import AttentionInterface

    def uniform(module, query, key, value, mask, **options):
        groups = query.shape[1] // value.shape[1]
        return value.repeat_interleave(groups, 1).cumsum(2).transpose(1, 2), None

    AttentionInterface.register("uniform", uniform)
    model.config._attn_implementation = "uniform"


CHANGES = [
    change_eps,
    replace_activation,
    hook,
    hook_before,
    shrink_logits,
    wrap_mlp,
    add_factors,
    other_attention,
]


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [*((name, torch.float32) for name in ARCHITECTURES), ("llama", torch.bfloat16)],
)
@pytest.mark.parametrize("change", CHANGES)
def test_what_the_forward_pass_does_beside_config_and_tensors_is_refused(
    architecture, change, dtype
):
    model = small(architecture, dtype=dtype)
    change(model)
    with pytest.raises(CheckpointError) as caught:
        read_model(model)
    assert caught.value.where == type(model).__name__
    assert "LoRA" in caught.value.hint
    if change is not wrap_mlp:  # that has other names
        assert isinstance(caught.value, ParityError)
        assert "differ by up to" in caught.value.what


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rounding_is_no_difference(architecture, dtype):
    model = small(architecture, layers=6, heads=4, width=16, mlp=96).to(getattr(torch, dtype))
    *_, held = read_model(model)
    assert held.difference < 1e-4 * held.scale
    read_model(model, dtype=torch.float64)


@pytest.mark.parametrize("computed", [None, torch.float32], ids=["as_it_is", "float"])
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_constants_of_a_family_are_no_difference(family, stored, computed):
    model = small(family, width=6)  # the root of this width is not a number of narrow types
    *_, held = read_model(model.to(stored).to(computed or stored))
    assert held.difference < 1e-4 * held.scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_factors_of_the_embedding_are_another_model(dtype):
    model = small("gemma", width=6).to(dtype)
    model.model.embed_tokens.embed_scale *= 1.25
    with pytest.raises(ParityError):
        read_model(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_frequencies_of_rotary_positions_are_another_model(dtype):
    model = small("llama").to(dtype)
    read_model(model)
    model.model.rotary_emb.inv_freq *= 2
    with pytest.raises(ParityError):
        read_model(model)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_implementations_of_attention_that_do_the_same_are_the_same(implementation):
    model = small("llama", attn_implementation=implementation)
    assert read_model(model)[-1].difference < 1e-4


def test_dropout_counts_for_nothing_and_training_goes_on():
    options = {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5}
    model = small("gpt2", **options).train()
    model.transformer.h[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    state = torch.random.get_rng_state()
    read_model(model)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_change_that_draws_random_numbers_leaves_them_as_they_were():
    model = small("gpt2")
    mlp(model).register_forward_hook(lambda module, given, output: F.dropout(output))
    state = torch.random.get_rng_state()
    with pytest.raises(ParityError):
        read_model(model)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_that_computes_in_one_type_alone_does_so():
    model = small("gpt2", dtype=torch.bfloat16)
    kept = torch.eye(model.config.n_embd, dtype=torch.bfloat16)
    mlp(model).register_forward_hook(lambda module, given, output: output @ kept)
    read_model(model)
    replace_activation(model)
    with pytest.raises(ParityError):
        read_model(model)


def test_a_forward_pass_that_fails_is_said():
    model = small("llama")

    def fail(module, given):
        raise ZeroDivisionError("of my own")

    mlp(model).register_forward_pre_hook(fail)
    with pytest.raises(CheckpointError, match=r"^LlamaForCausalLM: .* fails .*: of my own"):
        read_model(model)
    model = small("gpt2")
    model.transformer.wte.weight = nn.Parameter(model.transformer.wte.weight[:-1].clone())
    with pytest.raises(CheckpointError):
        read_model(model)


def test_quantised_models_are_refused_by_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = torch.ao.quantization.quantize_dynamic(small("llama"), {nn.Linear})
    with pytest.raises(CheckpointError, match=r"^LlamaForCausalLM: .*quantised"):
        read_model(dynamic)
    for dtype in (torch.int8, torch.float8_e4m3fn):
        model = small("gpt_neox")
        weight = mlp(model).dense_h_to_4h.weight
        packed = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
        mlp(model).dense_h_to_4h.weight = packed
        with pytest.raises(CheckpointError, match=r"mlp.dense_h_to_4h.weight.*quantised"):
            read_model(model)
    model = small("llama")
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    with pytest.raises(CheckpointError, match="quantised"):
        read_model(model)


def test_the_result_says_how_well_they_agree_and_automatic_types_change_nothing():
    model = small("gpt_neox")
    plain = cntbench.influence(model, ablation="zero", prompts=2)
    with torch.autocast("cpu", torch.bfloat16):
        other = cntbench.influence(copy.deepcopy(model), ablation="zero", prompts=2)
    assert plain.identical(other)
    content = json.loads(plain.attrs["parity"])
    assert content["checkpoint"] == "model"
    assert 0 <= content["difference"] < 1e-4 * content["scale"]
    assert content["transformers"].startswith("5.")


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 3, 7), (-1, -1, -1)])
def test_one_other_logit_of_any_prompt_is_another_model(place):
    decoder = read_model(random_model("gpt2"), None, torch.float32)[1]
    logits = decoder.logits(parity.probe(decoder)).detach()
    where = {"where": "here", "hint": "none"}
    parity.compare("x", logits, decoder, **where)
    other = logits.clone()
    other[place] += 0.01 * logits.abs().max()
    with pytest.raises(ParityError, match="differ by up to"):
        parity.compare("x", other, decoder, **where)
    broken = dataclasses.replace(decoder, embed=lambda tokens: decoder.embed(tokens) * torch.nan)
    with pytest.raises(ParityError, match="differ by up to nan"):
        parity.compare("x", logits, broken, **where)
