"""Which architectures are supported, what they refuse, and how checkpoints name tensors."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
import torch
from support.families import FAMILIES
from support.models import decoder, random_model

from cntbench import plugins
from cntbench.components import feasible
from cntbench.errors import CheckpointError, SpecError
from cntbench.models import adapters, checkpoint_files, named_weights
from cntbench.models.adapters import adapter, model_types

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 16]])
FAMILY = ("llama", "mistral", "qwen2")
MODEL_TYPES = {"gpt_neox", "gpt2", *FAMILY, *FAMILIES}


def shape(config):
    return adapter(config.model_type).shape(config)


def logits(model):
    return model.logits(TOKENS)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_a_file_may_serve_several_model_types():
    assert set(model_types()) == MODEL_TYPES
    assert len({adapter(name) for name in [*FAMILY, "qwen3"]}) == 1


def test_two_files_cannot_serve_the_same(monkeypatch, tmp_path):
    module = ModuleType("other")
    module.MODEL_TYPES = ("other", "qwen2")
    room = plugins.room("adapter") | {
        "other": plugins.Plugin("other", "Another.", tmp_path / "other.py", module)
    }
    monkeypatch.setattr(adapters.plugins, "room", lambda kind: room)
    with pytest.raises(SpecError, match=r"other\.py: model_type 'qwen2' is served by .*llama\.py"):
        model_types()


def test_an_unsupported_architecture_is_refused_with_those_there_are(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom"}))
    with pytest.raises(CheckpointError) as caught:
        checkpoint_files.read_config(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}/config.json: model_type: architecture 'bloom' is not supported" in message
    assert f"Allowed: {', '.join(sorted(MODEL_TYPES))}." in message
    assert "one file in cntbench/models/adapters" in message


def with_rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **more}}


REFUSED = {
    "gpt_neox": [
        ({"hidden_act": "gelu_neww"}, "activation 'gelu_neww'", "Did you mean 'gelu_new'?"),
        (
            with_rope("dynamic", factor=2.0, partial_rotary_factor=0.5),
            "rotary embedding of type 'dynamic'",
            "Allowed: default, linear, llama3, yarn.",
        ),
        ({"quantization_config": {"bits": 4}}, "quantised weights", "Allowed: float32"),
    ],
    "gpt2": [
        ({"activation_function": "relu6"}, "activation 'relu6'", "Allowed: gelu"),
        ({"add_cross_attention": True}, "cross-attention", "add_cross_attention = false"),
        ({"quantization_config": {"bits": 8}}, "quantised weights", "Allowed: float32"),
    ],
    **{
        name: [
            ({"hidden_act": "sigmoid"}, "activation 'sigmoid'", "Allowed: gelu"),
            (with_rope("dynamic", factor=2.0), "of type 'dynamic'", "Allowed: default"),
            (with_rope("default", partial_rotary_factor=0.5), "8 dims are", "even head_dim"),
            ({"head_dim": 3}, "3 dims are", "even head_dim"),
            ({"num_key_value_heads": 3}, "2 heads cannot share 3 keys", "a multiple"),
        ]
        for name in FAMILY
    },
}
REFUSED["qwen2"].append(
    ({"layer_types": ["full_attention", "sliding_attention"]}, "give its length", "sliding_window")
)


@pytest.mark.parametrize(
    ("architecture", "options", "says", "hint"),
    [(name, *case) for name, cases in REFUSED.items() for case in cases],
)
def test_what_is_not_computed_exactly_is_refused(architecture, options, says, hint):
    config = random_model(architecture).config
    for key, value in options.items():
        setattr(config, key, value)
    with pytest.raises(CheckpointError) as caught:
        shape(config)
    assert says in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("mistral", {"sliding_window": 6}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    ],
)
def test_a_sliding_window_is_computed(architecture, options):
    model = random_model(architecture, dtype=torch.float64, **options)
    engine = decoder(model)
    assert shape(model.config).context == engine.context == 64
    with torch.no_grad():
        theirs = model(TOKENS).logits
    close(logits(engine), theirs)
    full = random_model(architecture, dtype=torch.float64, sliding_window=None)
    assert not torch.allclose(logits(decoder(full))[:, 6:], theirs[:, 6:])


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("qwen2", {"use_sliding_window": False, "sliding_window": 6}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2}),
        ("mistral", {"sliding_window": None}),
    ],
)
def test_a_window_that_no_layer_has_does_not(architecture, options):
    model = random_model(architecture, dtype=torch.float64, **options)
    assert shape(model.config).context == 64
    with torch.no_grad():
        close(logits(decoder(model)), model(TOKENS).logits)


@pytest.mark.parametrize("architecture", ["gpt2", *FAMILY])
def test_heads_reach_the_mlp_of_their_layer(architecture):
    nodes = shape(random_model(architecture).config).components
    names = [node.name for node in nodes]
    edges = feasible(nodes)
    assert names[:3] == ["L0.H0", "L0.H1", "L0.MLP"]
    assert edges[:2, 2].all()
    assert not edges[:2, :2].any()


def test_precision_of_attention_is_no_other_equation():
    options = {"reorder_and_upcast_attn": True, "attn_implementation": "sdpa"}
    model = random_model("gpt2", dtype=torch.float64, **options)
    with torch.no_grad():
        close(logits(decoder(model)), model(TOKENS).logits)


@pytest.mark.parametrize("name", ["embed_out", "lm_head"])
def test_the_unembedding_is_found_under_its_name_on_disk_and_in_memory(name):
    model = random_model("gpt_neox", dtype=torch.float64)
    tensors = model.state_dict()
    (old,) = [key for key in tensors if key.startswith(("embed_out", "lm_head"))]
    tensors[f"{name}.weight"] = tensors.pop(old)
    with torch.no_grad():
        expected = model(TOKENS).logits
    close(logits(adapter("gpt_neox").decoder(model.config, tensors)), expected)


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", *FAMILY])
def test_a_tied_unembedding_need_not_be_on_disk(architecture):
    model = random_model(architecture, dtype=torch.float64, tie_word_embeddings=True)
    kept = {k: v for k, v in model.state_dict().items() if "lm_head" not in k}
    assert len(kept) < len(model.state_dict())
    with torch.no_grad():
        expected = model(TOKENS).logits
    rebuilt = adapter(architecture).decoder(model.config, kept)
    close(logits(rebuilt), expected)
    assert (
        rebuilt.unembed.weight
        is rebuilt.embed.keywords["words" if architecture == "gpt2" else "weight"]
    )


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", *FAMILY])
def test_one_that_is_not_tied_is_missed(architecture):
    model = random_model(architecture, tie_word_embeddings=False)
    kept = {k: v for k, v in model.state_dict().items() if "lm_head" not in k}
    with pytest.raises(CheckpointError, match=r"here: has no tensor '(embed_out|lm_head)\.weight'"):
        adapter(architecture).decoder(model.config, checkpoint_files.Tensors(kept, "here"))


@pytest.mark.parametrize("missing", ["q_proj.bias", "v_proj.bias"])
def test_a_bias_that_the_architecture_has_is_missed(missing):
    model = random_model("qwen2")
    kept = {k: v for k, v in model.state_dict().items() if missing not in k}
    with pytest.raises(CheckpointError, match=f"has no tensor '.*{missing}'"):
        adapter("qwen2").decoder(model.config, checkpoint_files.Tensors(kept, "here"))


def test_the_first_gpt_2_models_on_the_hub_have_no_prefix():
    model = random_model("gpt2", dtype=torch.float64)
    tensors = {
        name.removeprefix("transformer."): value
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    tensors |= {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    with torch.no_grad():
        expected = model(TOKENS).logits
    named = named_weights.select(model.config, tensors, where="here").named
    close(logits(adapter("gpt2").decoder(model.config, named)), expected)


@pytest.mark.parametrize("architecture", ["gpt2", *FAMILY])
def test_what_transformers_saves_is_read(architecture, tmp_path):
    model = random_model(architecture, tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    engine = checkpoint_files.decoder(tmp_path, checkpoint_files.read_tensors(tmp_path))
    assert checkpoint_files.read_shape(tmp_path) == shape(model.config)
    with torch.no_grad():
        torch.testing.assert_close(logits(engine), model(TOKENS).logits, rtol=1e-4, atol=1e-4)
