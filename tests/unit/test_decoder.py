"""The decoder, stage by stage, against transformers' own forward pass in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.anatomy import Anatomy
from support.models import (
    ARCHITECTURES,
    decoder,
    random_gpt_neox,
    random_model,
    random_prompts,
)
from support.oracle import oracle_influence

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import zero
from cntbench.components import components
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.adapters import adapter
from cntbench.models.adapters._base import ACTIVATIONS
from cntbench.models.blocks import Attention
from cntbench.models.feed_forward import MLP
from cntbench.models.heads import Queries
from cntbench.models.maps import LayerNorm, Linear, RMSNorm
from cntbench.models.products import SILU

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 16]])

SCALED = {
    "linear": {"factor": 2.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
}


def scaled(kind, **more):
    """A config's option of rotary angles."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **SCALED[kind], **more}}


VARIANTS = {
    "parallel": ("gpt_neox", {}),
    "sequential": ("gpt_neox, sequential", {}),
    "rotary 0.25": ("gpt_neox", {"rotary": 0.25}),
    "rotary 1": ("gpt_neox, sequential", {"rotary": 1.0}),
    "rotary 0.3, rounded down to a pair": ("gpt_neox", {"rotary": 0.3, "width": 8}),
    "an odd width": ("gpt_neox", {"rotary": 0.8, "width": 5}),
    "tied embeddings": ("gpt_neox", {"tie_word_embeddings": True}),
    "no attention bias": ("gpt_neox", {"attention_bias": False}),
    "one head": ("gpt_neox", {"heads": 1, "width": 12}),
    "three layers and heads": ("gpt_neox", {"heads": 3, "width": 4, "layers": 3}),
    "another epsilon and base": ("gpt_neox", {"layer_norm_eps": 0.3, "rotary_emb_base": 100}),
    "half of the dims, yarn": ("gpt_neox", scaled("yarn", partial_rotary_factor=0.5)),
    **{activation: ("gpt_neox", {"hidden_act": activation}) for activation in ACTIVATIONS},
    "GPT-2": ("gpt2", {}),
    "GPT-2, three layers, an odd width": ("gpt2", {"layers": 3, "heads": 3, "width": 5}),
    "GPT-2, untied": ("gpt2", {"tie_word_embeddings": False}),
    "GPT-2, scores that are not scaled": ("gpt2", {"scale_attn_weights": False}),
    "GPT-2, scores scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "GPT-2, another epsilon": ("gpt2", {"layer_norm_epsilon": 0.3}),
    "GPT-2, relu": ("gpt2", {"activation_function": "relu"}),
    "Llama": ("llama", {}),
    "Llama, one key": ("llama", {"heads": 3, "key_heads": 1}),
    "Llama, three keys of nine heads": ("llama", {"heads": 9, "key_heads": 3, "width": 4}),
    "Llama, a key for each head": ("llama", {"heads": 4, "key_heads": 4}),
    "Llama, wide heads": ("llama", {"head_dim": 12}),
    "Llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Llama, another epsilon": ("llama", {"rms_norm_eps": 0.3}),
    "Llama, gelu_new": ("llama", {"hidden_act": "gelu_new"}),
    **{f"Llama, {kind} angles": ("llama", scaled(kind)) for kind in SCALED},
    "Mistral": ("mistral", {}),
    "Mistral, narrow heads": ("mistral", {"heads": 4, "key_heads": 2, "head_dim": 2}),
    "Mistral, a window": ("mistral", {"sliding_window": 4}),
    "Qwen2": ("qwen2", {}),
    "Qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "Qwen2, a window in one layer": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
}


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    """A random model of transformers."""
    architecture, options = request.param
    return random_model(architecture, dtype=torch.float64, attn_implementation="eager", **options)


@pytest.fixture
def truth(model, monkeypatch):
    """What transformers computes, and what its modules put out on the way."""
    # Eager attention takes its softmax in single precision; here it keeps the precision it gets.
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim, dtype=None: softmax(x, dim))
    seen = {}
    handles = [
        module.register_forward_hook(
            lambda _, __, out, key=(layer, kind): seen.update({key: out}) and None
        )
        for layer, parts in enumerate(Anatomy(model).layers)
        for kind, module in [("attention", parts.attention), ("MLP", parts.mlp)]
    ]
    with torch.no_grad():
        outputs = model(TOKENS, output_attentions=True)
    for handle in handles:
        handle.remove()
    return outputs.logits, outputs.attentions, seen


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
    *_, (_, _, stream) = walk(model, tokens)
    return stream[0]


def blocks(model, kind):
    """What the blocks of a kind read and their states, layer by layer."""
    return [step for step in walk(model, TOKENS) if isinstance(step[0], kind)]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_logits_are_those_of_transformers(model, truth):
    close(logits(decoder(model), TOKENS), truth[0])


def test_logits_are_those_of_the_attention_that_transformers_takes_by_itself(model):
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        theirs = model(TOKENS).logits
    model.set_attn_implementation("eager")
    close(logits(decoder(model), TOKENS), theirs)


def test_contributions_and_bias_sum_to_the_attention_output(model, truth):
    attentions = blocks(decoder(model), Attention)
    assert len(attentions) == model.config.num_hidden_layers
    for layer, (block, _, states) in enumerate(attentions):
        parts = block.contributions(states[0])
        assert len(parts) == block.n_components == model.config.num_attention_heads
        close(parts.sum(dim=0) + block.output_bias, truth[2][layer, "attention"][0])


def test_each_head_s_contribution_is_its_slice_of_z_through_its_columns(model):
    layers = Anatomy(model).layers
    for layer, (block, _, states) in enumerate(blocks(decoder(model), Attention)):
        for head, part in enumerate(block.contributions(states[0])):
            close(part, states[0][:, :, head] @ layers[layer].weight[head])


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
    result, before = logits(engine, changed), logits(engine, TOKENS)
    close(result[:, :5], before[:, :5])
    assert (result[:, 5:] != before[:, 5:]).any()


def test_making_and_running_it_changes_no_weight(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits(decoder(model), TOKENS)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_sizes(model):
    engine, config = decoder(model), model.config
    size = adapter(config.model_type).shape(config)
    expected = components(
        config.num_hidden_layers,
        config.num_attention_heads,
        parallel=getattr(config, "use_parallel_residual", False),
    )
    assert engine.components == size.components == expected
    assert engine.context == size.context == config.max_position_embeddings
    assert engine.vocabulary == size.vocabulary == config.vocab_size
    assert engine.hidden == config.hidden_size
    assert engine.dtype == torch.float64
    assert [place.block for place in engine.places] == engine.blocks
    assert [place.number for place in engine.places] == [*range(len(engine.blocks))]
    nodes = [(i, node) for i, placed in enumerate(engine.walk) for node in placed.nodes]
    of_places = [node for place in engine.places for node in place.nodes]
    assert of_places == [node for _, node in nodes]
    assert nodes == [(node.stage, i) for i, node in enumerate(expected)]
    for block, _, states in [step for step in walk(engine, TOKENS) if step[0]]:
        assert states.shape == (1, *TOKENS.shape, block.n_components, block.width)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_single_precision_stays_single_and_close(architecture):
    model = random_model(architecture)
    actual = logits(decoder(model), TOKENS)
    assert actual.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(actual, model(TOKENS).logits, rtol=1e-4, atol=1e-4)


# The parts by themselves, in closed form.


def test_layer_norm_standardises():
    stream = torch.tensor([[1.0, 3.0, 5.0, 7.0]], dtype=torch.float64)
    expected = (stream - 4) / math.sqrt(5 + 0.5)
    close(LayerNorm(0.5)(stream), expected)


def test_rms_norm_divides_by_the_root_mean_square():
    stream = torch.tensor([[1.0, -3.0, 5.0, 7.0]], dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 0.0, -1.0], dtype=torch.float64)
    expected = stream / math.sqrt(21 + 0.5)
    close(RMSNorm(0.5)(stream), expected)
    close(RMSNorm(0.5, scale)(stream), expected * scale)
    assert (RMSNorm(0.5)(torch.zeros(2, 4)) == 0).all()


def test_rms_norm_has_the_gradient_of_its_equation():
    stream = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(RMSNorm(0.1), stream)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
@pytest.mark.parametrize("scaled", [False, True])
def test_derivatives_of_norms_are_those_of_autograd(norm, scaled):
    stream, change, scale = torch.randn(3, 2, 5, 16, dtype=torch.float64)
    layer = norm(0.5, scale[0, 0] if scaled else None)  # an epsilon that counts
    (free, expected), (frozen, of_frozen) = (
        torch.autograd.functional.jvp(function, stream, change)
        for function in (layer, layer.frozen)
    )
    torch.testing.assert_close(layer.derivative(stream, change), expected)
    torch.testing.assert_close(frozen, free)
    # With a constant divisor, the change is treated as the stream is, but for a shift.
    centred = change - change.mean(dim=-1, keepdim=True) if norm is LayerNorm else change
    spread = stream.var(dim=-1, correction=0) if norm is LayerNorm else stream.square().mean(dim=-1)
    divided = centred / (spread + 0.5).sqrt()[..., None]
    torch.testing.assert_close(of_frozen, divided * scale[0, 0] if scaled else divided)


def test_a_gate_multiplies_hidden_units():
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    inner, gate = (
        Linear(*given)
        for given in zip(torch.randn(2, 7, 6).double(), torch.randn(2, 7).double(), strict=True)
    )
    outer = Linear(torch.randn(6, 7).double(), torch.randn(6).double())
    states = MLP(inner, outer, SILU, gate).states(x)[:, :, :, 0]
    hidden = torch.nn.functional.silu(gate(x)) * inner(x)
    close(states, hidden @ outer.weight.mT + outer.bias)


@pytest.mark.parametrize("key_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("width", [3, 8])
def test_heads_that_share_a_key_are_heads_with_equal_keys(key_heads, width):
    heads, hidden = 6, 10
    of_queries, of_rest = heads * width, key_heads * width
    weight = torch.randn(of_queries + 2 * of_rest, hidden).double()
    bias = torch.randn(len(weight)).double()
    output = torch.randn(heads, width, hidden, dtype=torch.float64)
    shared = Attention.make(
        Linear(weight, bias), output, torch.zeros(10).double(), key_heads=key_heads
    )

    def own(rows):
        query, *rest = rows.split((of_queries, of_rest, of_rest))
        each = [head.unflatten(0, (key_heads, width)) for head in rest]
        spread = [head.repeat_interleave(heads // key_heads, 0).flatten(0, 1) for head in each]
        return torch.cat([query, *spread])

    apart = Attention.make(Linear(own(weight), own(bias)), output, torch.zeros(10).double())
    x = torch.randn(2, 3, 5, hidden).double()
    close(shared.states(x), apart.states(x))
    close(shared.pattern(x[0]), apart.pattern(x[0]))
    at = torch.tensor([[1, 4], [0, 2], [3, 4]])
    some = x[:, torch.arange(3)[:, None], at]
    for values in (None, x.flip(2)):
        queries = Queries(x, at, values)
        close(shared.states(some, queries), apart.states(some, queries))
    assert shared.lengths == (of_queries, of_rest, of_rest)


@pytest.mark.parametrize("width", [3, 5, 9, 16])
def test_images_round_equal_rows_alike(width):
    """Batched products do not, on some processors, where a width is no multiple of four."""
    states = torch.randn(1, 1, 1, 3, width).expand(7, 3, 5, -1, -1).contiguous()
    project = Linear(torch.zeros(9 * width, 3 * width), torch.zeros(9 * width))
    block = Attention.make(project, torch.randn(3, width, 3 * width), torch.zeros(3 * width))
    with torch.inference_mode():
        image = block.image(states)
    assert (image == image[:1, :1, :1]).all()


def test_folding_keeps_the_map():
    weight, bias = torch.randn(3, 5).double(), torch.randn(3).double()
    scale, shift, x = torch.randn(3, 5).double().unbind(0)
    plain = Linear(weight, bias)
    close(plain.after(scale, shift)(x), weight @ (scale * x + shift) + bias)
    close(plain.after(scale)(x), weight @ (scale * x) + bias)


def test_folding_rounds_alike_in_every_order_of_the_sum():
    """Another order of the sum stands for another processor; fits amplify what differs."""
    torch.manual_seed(0)
    weight, bias, scale, shift = (torch.randn(*size) for size in ((5, 301), (5,), (301,), (301,)))
    folded = Linear(weight, bias).after(scale, shift)
    for _ in range(20):
        order = torch.randperm(301)
        turned = Linear(weight[:, order], bias).after(scale[order], shift[order])
        assert torch.equal(turned.bias, folded.bias)
        assert torch.equal(turned.weight, folded.weight[:, order])


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
    influences = influence(Request(decoder(model), prompts, [ablation])).influence[0]
    exact, _, _ = oracle_influence(model.double(), prompts, zero.Parameters(), "relative_l2")
    np.testing.assert_allclose(influences, exact, rtol=1e-5)
