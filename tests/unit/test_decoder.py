"""The decoder, stage by stage, against transformers' own forward pass in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.models import decoder, random_gpt_neox, random_prompts
from support.oracle import oracle_influence

from cntbench.components import components
from cntbench.engine.ablation import Ablation
from cntbench.errors import CheckpointError
from cntbench.influence import influence
from cntbench.measures import relative_l2
from cntbench.models.adapters import gpt_neox
from cntbench.models.adapters._base import ACTIVATIONS
from cntbench.models.blocks import MLP, Attention
from cntbench.models.maps import LayerNorm, Linear
from cntbench.replacements import zero

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 16]])

VARIANTS = {
    "parallel": {},
    "sequential": {"parallel": False},
    "rotary 0.25": {"rotary": 0.25},
    "rotary 1": {"rotary": 1.0, "parallel": False},
    "rotary 0.3, rounded down to a pair": {"rotary": 0.3, "width": 8},
    "tied embeddings": {"tie_word_embeddings": True},
    "no attention bias": {"attention_bias": False},
    "one head": {"heads": 1, "width": 12},
    "three layers and heads": {"heads": 3, "width": 4, "layers": 3},
    "another epsilon and base": {"layer_norm_eps": 0.3, "rotary_emb_base": 100},
    **{activation: {"hidden_act": activation} for activation in ACTIVATIONS},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    """A random model of transformers."""
    return random_gpt_neox(dtype=torch.float64, attn_implementation="eager", **request.param)


@pytest.fixture
def truth(model, monkeypatch):
    """What transformers computes, and what its modules put out on the way."""
    # Eager attention takes its softmax in single precision; here it keeps the precision it gets.
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim, dtype: softmax(x, dim))
    seen = {}
    handles = [
        module.register_forward_hook(
            lambda _, __, out, key=(layer, kind): seen.update({key: out}) and None
        )
        for layer, block in enumerate(model.gpt_neox.layers)
        for kind, module in [("attention", block.attention), ("MLP", block.mlp)]
    ]
    with torch.no_grad():
        found = model(TOKENS, output_attentions=True)
    for handle in handles:
        handle.remove()
    return found.logits, found.attentions, seen


def walk(model, tokens):
    """Yield each block with what it reads and its states; the last item is the logits."""
    stream = model.embed(tokens)[None]
    for stage in model.stages:
        normed = stage.norm(stream)
        for block in stage.blocks:
            states = block.states(normed)
            yield block, normed, states
            block.write(states, stream)
    yield None, None, model.unembed(model.final_norm(stream))


def logits(model, tokens):
    *_, (_, _, found) = walk(model, tokens)
    return found[0]


def blocks(model, kind):
    """What the blocks of a kind read and their states, layer by layer."""
    return [step for step in walk(model, TOKENS) if isinstance(step[0], kind)]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_logits_are_those_of_transformers(model, truth):
    close(logits(decoder(model), TOKENS), truth[0])


def test_logits_are_those_of_the_attention_that_transformers_takes_by_itself(model):
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        close(logits(decoder(model), TOKENS), model(TOKENS).logits)


def test_contributions_and_bias_sum_to_the_attention_output(model, truth):
    found = blocks(decoder(model), Attention)
    assert len(found) == model.config.num_hidden_layers
    for layer, (block, _, states) in enumerate(found):
        parts = block.contributions(states[0])
        assert len(parts) == block.n_components == model.config.num_attention_heads
        close(parts.sum(dim=0) + block.output_bias, truth[2][layer, "attention"][0])


def test_each_head_s_contribution_is_its_slice_of_z_through_its_columns(model):
    heads = model.config.num_attention_heads
    width = model.config.hidden_size // heads
    for layer, (block, _, states) in enumerate(blocks(decoder(model), Attention)):
        weight = model.gpt_neox.layers[layer].attention.dense.weight.detach()
        for head, part in enumerate(block.contributions(states[0])):
            columns = weight[:, head * width : (head + 1) * width]
            close(part, states[0][:, :, head] @ columns.T)


def test_the_pattern_is_that_of_transformers(model, truth):
    for layer, (block, normed, _) in enumerate(blocks(decoder(model), Attention)):
        close(block.pattern(normed[0]), truth[1][layer])


def test_the_output_of_an_mlp_is_its_contribution(model, truth):
    for layer, (block, _, states) in enumerate(blocks(decoder(model), MLP)):
        close(states[0][:, :, 0], truth[2][layer, "MLP"])
        close(block.contributions(states[0])[0], truth[2][layer, "MLP"])


def test_writing_adds_all_contributions_and_the_bias(model):
    for block, _, states in [step for step in walk(decoder(model), TOKENS) if step[0]]:
        stream = torch.randn((*states.shape[:-2], model.config.hidden_size)).double()
        before = stream.clone()
        block.write(states, stream)
        added = block.contributions(states[0]).sum(dim=0)
        close(stream[0], before[0] + added + getattr(block, "output_bias", 0))


def test_images_have_the_lengths_and_angles_of_contributions(model):
    for block, _, states in [step for step in walk(decoder(model), TOKENS) if step[0]]:
        runs = torch.cat([states, states.flip(2) * 0.7, torch.randn(states.shape).double()])
        image = block.image(runs)
        assert image.shape[:-1] == runs.shape[:-1]
        whole = torch.stack([block.contributions(run).movedim(0, 2) for run in runs])
        for a in range(3):
            for b in range(3):
                close((image[a] * image[b]).sum(-1), (whole[a] * whole[b]).sum(-1))


def test_images_of_heads_that_are_wider_than_the_stream():
    output = torch.randn(2, 7, 3, dtype=torch.float64)
    project = Linear(torch.zeros(42, 3).double(), torch.zeros(42).double())
    block = Attention.make(project, output, torch.zeros(3).double())
    states = torch.randn(1, 2, 5, 2, 7, dtype=torch.float64)
    lengths = block.contributions(states[0]).movedim(0, 2).norm(dim=-1)
    close(block.image(states)[0].norm(dim=-1), lengths)


def test_runs_and_prompts_do_not_mix(model):
    engine = decoder(model)
    together = logits(engine, TOKENS)
    for row in range(2):
        close(logits(engine, TOKENS[row : row + 1])[0], together[row])


def test_later_tokens_do_not_reach_back(model):
    engine = decoder(model)
    changed = TOKENS.clone()
    changed[:, 5:] = 0
    found, before = logits(engine, changed), logits(engine, TOKENS)
    close(found[:, :5], before[:, :5])
    assert (found[:, 5:] != before[:, 5:]).any()


def test_making_and_running_it_changes_no_weight(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits(decoder(model), TOKENS)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_sizes(model):
    engine, config = decoder(model), model.config
    size = gpt_neox.shape(config)
    expected = components(
        config.num_hidden_layers,
        config.num_attention_heads,
        parallel=config.use_parallel_residual,
    )
    assert engine.components == size.components == expected
    assert sum(b.n_components for s in engine.stages for b in s.blocks) == len(expected)
    assert engine.context == size.context == config.max_position_embeddings
    assert engine.vocabulary == size.vocabulary == config.vocab_size
    assert engine.hidden == config.hidden_size
    assert engine.dtype == torch.float64
    places = [
        stage
        for stage, s in enumerate(engine.stages)
        for b in s.blocks
        for _ in range(b.n_components)
    ]
    assert places == [node.stage for node in expected], "stages are those of the components"
    for block, _, states in [step for step in walk(engine, TOKENS) if step[0]]:
        assert states.shape == (1, *TOKENS.shape, block.n_components, block.width)


@pytest.mark.parametrize("name", ["embed_out", "lm_head"])
def test_the_unembedding_is_found_under_its_name_on_disk_and_in_memory(name):
    model = random_gpt_neox(dtype=torch.float64)
    tensors = model.state_dict()
    (old,) = [key for key in tensors if key.startswith(("embed_out", "lm_head"))]
    tensors[f"{name}.weight"] = tensors.pop(old)
    with torch.no_grad():
        expected = model(TOKENS).logits
    close(logits(gpt_neox.decoder(model.config, tensors), TOKENS), expected)


def test_a_tied_unembedding_need_not_be_on_disk():
    model = random_gpt_neox(dtype=torch.float64, tie_word_embeddings=True)
    kept = {k: v for k, v in model.state_dict().items() if "lm_head" not in k}
    assert len(kept) < len(model.state_dict())
    with torch.no_grad():
        expected = model(TOKENS).logits
    close(logits(gpt_neox.decoder(model.config, kept), TOKENS), expected)


def test_single_precision_stays_single_and_close():
    model = random_gpt_neox()
    found = logits(decoder(model), TOKENS)
    assert found.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(found, model(TOKENS).logits, rtol=1e-4, atol=1e-4)


def test_an_unknown_activation_is_refused_with_the_nearest_match():
    config = random_gpt_neox().config
    config.hidden_act = "gelu_neww"
    with pytest.raises(CheckpointError) as caught:
        gpt_neox.shape(config)
    assert "activation 'gelu_neww' is not supported" in str(caught.value)
    assert "Did you mean 'gelu_new'?" in str(caught.value)


def test_scaled_rotary_embeddings_are_refused():
    config = random_gpt_neox().config
    config.rope_parameters = {**config.rope_parameters, "rope_type": "dynamic", "factor": 2.0}
    with pytest.raises(CheckpointError, match="rotary embedding of type 'dynamic'"):
        gpt_neox.shape(config)


# The parts by themselves, in closed form.


def test_layer_norm_standardises():
    stream = torch.tensor([[1.0, 3.0, 5.0, 7.0]], dtype=torch.float64)
    expected = (stream - 4) / math.sqrt(5 + 0.5)
    close(LayerNorm(0.5)(stream), expected)


def test_folding_keeps_the_map():
    weight, bias = torch.randn(3, 5).double(), torch.randn(3).double()
    scale, shift, x = torch.randn(3, 5).double().unbind(0)
    found = Linear(weight, bias).after(scale, shift)(x)
    close(found, weight @ (scale * x + shift) + bias)


def test_a_layer_norm_that_epsilon_dominates_keeps_its_precision():
    """Such models have a linear LayerNorm; folding its bias into the stream once cost 18%."""
    model = random_gpt_neox(layers=3)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e10
            torch.nn.init.constant_(module.weight, 1e5)
    model.config.layer_norm_eps = 1e10
    prompts = random_prompts()
    ablation = Ablation("zero", zero.Parameters(), relative_l2.measure)
    found = influence(decoder(model), prompts, [ablation]).influence[0]
    exact, _, _ = oracle_influence(model.double(), prompts, zero.Parameters(), "relative_l2")
    np.testing.assert_allclose(found, exact, rtol=1e-5)
