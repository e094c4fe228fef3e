"""Checkpoints in one GGUF file, written here with llama.cpp's own package."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from support.models import decoder, random_model, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError
from cntbench.models import checkpoint_files, gguf_files
from cntbench.models.trajectory import open_trajectory

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "gpt2": gguf.MODEL_ARCH.GPT2,
}


def for_llama_cpp(config, name, value):
    """What llama.cpp keeps of a tensor: rotary pairs side by side, Conv1D turned."""
    if config.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        return value.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return value.mT if config.model_type == "gpt2" and name.endswith(conv) else value


def write(path, model, *, quantised=False, metadata=(), drop="none", add=()):
    """Write a model as llama.cpp's converter does."""
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    if config.model_type == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in metadata:
        writer.add_string(f"{gguf.MODEL_ARCH_NAMES[arch]}.{key}", value)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tied = set(model.all_tied_weights_keys)
    for name, value in model.state_dict().items():
        if name in tied or drop in name:
            continue
        stem, _, kind = name.rpartition(".")
        array = for_llama_cpp(config, name, value).float().contiguous().numpy()
        given = {}
        if quantised and array.ndim == 2:
            array = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            given = {"raw_dtype": gguf.GGMLQuantizationType.Q8_0}
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", array, **given)
    for name in add:
        writer.add_tensor(name, np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shape(architecture, **more):
    # transformers does not read how long a GPT-2's context is.
    context = 1024 if architecture == "gpt2" else 64
    return {"layers": 2, "heads": 4, "width": 8, "mlp": 128, "context": context, **more}


def measured(model):
    ablation = Ablation("zero", zero.Parameters(), relative_l2.measure)
    return influence(Request(model, random_prompts(), [ablation])).influence


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_the_model_that_it_was_made_of(architecture, tied, tmp_path, capfd):
    model = random_model(architecture, **shape(architecture), tie_word_embeddings=tied)
    write(tmp_path / "step0" / "model.gguf", model)
    trajectory = open_trajectory(f"dir:{tmp_path}", lambda *_: None)
    engine = trajectory.load(trajectory.checkpoints[0])
    assert engine.context == model.config.max_position_embeddings
    assert trajectory.shape.components == decoder(model).components
    np.testing.assert_allclose(measured(engine), measured(decoder(model)), rtol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_what_is_quantised_is_unpacked(tmp_path):
    model = random_model("llama", **shape("llama"))
    write(tmp_path / "model.gguf", model, quantised=True)
    tensors = checkpoint_files.read_tensors(tmp_path)
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    engine = checkpoint_files.decoder(tmp_path, tensors)
    for name, value in model.state_dict().items():
        if value.ndim == 2:
            array = for_llama_cpp(model.config, name, value).contiguous().numpy()
            q8 = gguf.GGMLQuantizationType.Q8_0
            rounded = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(array, q8), q8))
            back = for_llama_cpp(model.config, name, torch.arange(value.numel()).view_as(value))
            value.view(-1)[back.flatten()] = rounded.flatten()
    np.testing.assert_allclose(measured(engine), measured(decoder(model)), rtol=1e-5)


def test_other_weights_come_first(tmp_path):
    model = random_model("llama", **shape("llama"))
    model.save_pretrained(tmp_path)
    write(tmp_path / "model.gguf", random_model("llama", **shape("llama"), seed=1))
    assert gguf_files.find(tmp_path) is None
    assert "model.norm.weight" in checkpoint_files.read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metadata": [("rope.scaling.type", "yarn")]}, "scaled rotary angles .*rope.scaling.type"),
        ({"add": ["rope_freqs.weight"]}, r"scaled rotary angles \(rope_freqs.weight\)"),
        ({"drop": "layers.1.mlp.up_proj"}, "has no tensor 'model.layers.1.mlp.up_proj.weight'"),
        ({"add": ["blk.0.attn_q.bias"]}, "has 22 tensors, and a 'llama' model .* has 21"),
    ],
)
def test_what_would_be_left_out_is_refused(tmp_path, options, says):
    path = write(tmp_path / "step1" / "m.gguf", random_model("llama", **shape("llama")), **options)
    with pytest.raises(CheckpointError, match=says) as caught:
        open_trajectory(f"dir:{tmp_path}", lambda *_: None)
    assert str(path) in str(caught.value)


def test_an_architecture_without_adapter_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "stablelm")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((3, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"m\.gguf: architecture 'stablelm' is not supported"):
        checkpoint_files.read_config(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(100), b"something else" * 9])
def test_a_damaged_file_is_said(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.gguf: is not a GGUF file"):
        checkpoint_files.read_config(tmp_path)


def test_a_file_that_ends_early_is_said(tmp_path):
    path = write(tmp_path / "m.gguf", random_model("llama", **shape("llama")))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"m\.gguf: is not a GGUF file"):
        checkpoint_files.read_tensors(tmp_path)


def test_what_to_install_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "m.gguf", random_model("llama", **shape("llama")))
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError) as caught:
        checkpoint_files.read_config(path.parent)
    assert "without gguf and accelerate" in str(caught.value)
    assert "pip install 'cntbench[gguf]'" in str(caught.value)
