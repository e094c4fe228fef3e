"""Which tensors of a file are the model's weights: buffers, names, shapes, types, what is left."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from support.models import ARCHITECTURES, random_model
from support.runs import plan_for, quiet
from support.trajectories import (
    as_pickle,
    as_published,
    edit_config,
    edit_tensors,
    legacy_buffers,
    write_trajectory,
)
from transformers import AutoModelForCausalLM

from cntbench.errors import CheckpointError
from cntbench.models import checkpoint_files, named_weights
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.run import run

FAMILIES = ("gpt_neox", "gpt2", "llama", "mistral", "qwen2")
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 16]])


def logits(folder):
    model = checkpoint_files.decoder(
        folder, checkpoint_files.read_weights(folder).named, torch.float64
    )
    return model.logits(TOKENS)


def says(folder, *parts):
    with pytest.raises(CheckpointError) as caught:
        checkpoint_files.read_weights(folder)
    for part in (str(folder), *parts):
        assert part in str(caught.value)


@pytest.mark.parametrize("dtype", named_weights.TYPES)
def test_a_revision_tells_every_number_type_shape_and_name(dtype):
    """And nothing else: not the order of tensors, nor that of their numbers in memory."""
    one, two = torch.arange(90.0).reshape(9, 10).to(dtype), torch.ones(3, dtype=dtype)
    whole = {"one": one, "two": two}
    others = [{"two": one, "one": two}, {"1": one, "two": two}, {"one": one}]
    others += [{**whole, "one": x} for x in (one.reshape(10, 9), one.T)]
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    others.append({**whole, "one": one.view(integers)})
    for index in range(one.numel()):
        changed = one.clone()
        changed.view(-1)[index] = -1
        others.append({**whole, "one": changed})
    revisions = {named_weights.revision(tensors) for tensors in (whole, *others)}
    assert len(revisions) == 1 + len(others)
    turned = {"two": two, "one": one.T.contiguous().T}
    assert named_weights.revision(turned) == named_weights.revision(whole)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_buffers_of_old_files_are_no_weights(tmp_path, architecture, pickled):
    write_trajectory(tmp_path, steps=(1,), architecture=architecture)
    folder = tmp_path / "step1"
    plain = edit_tensors(folder, lambda tensors: {k: v.half() for k, v in tensors.items()})
    expected = logits(folder)
    as_published(folder)
    if pickled:
        as_pickle(folder)
    [checkpoint] = open_trajectory(f"dir:{tmp_path}", quiet).checkpoints
    assert checkpoint.revision == named_weights.revision(plain)
    read, _ = open_trajectory(f"dir:{tmp_path}", quiet).read(checkpoint, folder)
    assert read.unused == ()
    assert torch.equal(logits(folder), expected)


def test_what_is_neither_weight_nor_known_buffer_is_named_in_the_result(tmp_path):
    write_trajectory(tmp_path / "run", steps=(0, 8))
    counts = {"gpt_neox.step": torch.tensor(3), "gpt_neox.layers.0.attention.seen": torch.tensor(5)}
    extra = {"score.weight": torch.full((2, 16), torch.inf), **counts}
    edit_tensors(tmp_path / "run" / "step8", lambda tensors: tensors | extra)
    edit_tensors(tmp_path / "run" / "step0", lambda t: t | legacy_buffers("gpt_neox"))
    outcome = run(plan_for(tmp_path / "run"), tmp_path / "out", jobs=1, progress=quiet)
    assert outcome.failed == {}
    assert json.loads(outcome.tree.attrs["unused_tensors"]) == sorted(extra)


SURPLUS = {
    "gpt_neox": ["gpt_neox.layers.2.mlp.dense_h_to_4h.weight", "lm_head.bias"],
    "gpt2": ["transformer.h.2.attn.c_attn.weight", "transformer.h.0.crossattention.c_attn.weight"],
    "llama": ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.up_proj.bias"],
    "mistral": ["model.layers.2.mlp.up_proj.weight", "model.norm.bias"],
    "qwen2": ["model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.o_proj.bias"],
}


@pytest.mark.parametrize(
    ("architecture", "name"), [(name, item) for name, some in SURPLUS.items() for item in some]
)
def test_weights_that_the_model_would_not_use_are_refused(tmp_path, architecture, name):
    write_trajectory(tmp_path, steps=(1,), architecture=architecture)
    edit_tensors(tmp_path / "step1", lambda tensors: tensors | {name: torch.ones(3)})
    says(tmp_path / "step1", "does not have", repr(name), "config.json")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_config_of_fewer_layers_is_refused(tmp_path, architecture):
    write_trajectory(tmp_path, steps=(1,), architecture=architecture)
    fewer = {"n_layer" if architecture == "gpt2" else "num_hidden_layers": 1}
    if architecture == "qwen2":
        fewer["layer_types"] = ["full_attention"]
    edit_config(tmp_path / "step1", **fewer)
    says(tmp_path / "step1", "does not have", ".1.", "more")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_transposed_weight_is_refused(tmp_path, architecture):
    """As other programs store the maps of GPT-2."""
    write_trajectory(tmp_path, steps=(1,), architecture=architecture)
    config = checkpoint_files.read_config(tmp_path / "step1")
    tensors = checkpoint_files.read_tensors(tmp_path / "step1")
    maps = [name for name, tensor in tensors.items() if len({*tensor.shape}) == 2]
    assert maps
    for name in maps:
        with pytest.raises(CheckpointError, match="has the shape"):
            named_weights.select(config, {**tensors, name: tensors[name].T}, where="here")


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("size", ["hidden", "mlp", "vocabulary", "heads"])
def test_tensors_are_held_to_the_shapes_that_the_config_implies(tmp_path, architecture, size):
    gpt2 = architecture == "gpt2"
    write_trajectory(tmp_path, steps=(1,), architecture=architecture, heads=4, key_heads=4)
    config = {
        "hidden": {"n_embd": 16} if gpt2 else {"hidden_size": 16},
        "mlp": {"n_inner": 8} if gpt2 else {"intermediate_size": 8},
        "vocabulary": {"vocab_size": 41},
        "heads": {"n_positions": 32} if gpt2 else {"num_key_value_heads": 2},
    }[size]
    if size == "heads" and architecture == "gpt_neox":
        config = {"hidden_size": 64}
    edit_config(tmp_path / "step1", **config)
    with pytest.raises(CheckpointError) as caught:
        checkpoint_files.read_weights(tmp_path / "step1")
    tensors = load_file(tmp_path / "step1" / "model.safetensors")
    [name] = [name for name in tensors if repr(name) in caught.value.what]
    assert f"has the shape {tuple(tensors[name].shape)}" in caught.value.what
    assert "the config implies (" in caught.value.what


TYPES = [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32, torch.bool]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types_that_are_not_computed_with_are_named(tmp_path, dtype):
    write_trajectory(tmp_path, steps=(1,))
    name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
    edit_tensors(tmp_path / "step1", lambda tensors: tensors | {name: tensors[name].to(dtype)})
    says(tmp_path / "step1", repr(name), str(dtype).removeprefix("torch."), "quantised", "float16")


@pytest.mark.parametrize("ending", ["qweight", "weight_packed.scales"])
def test_weights_packed_under_other_names_are_quantised(tmp_path, ending):
    write_trajectory(tmp_path, steps=(1,))
    name = "gpt_neox.layers.1.mlp.dense_4h_to_h"

    def packed(tensors):
        weight = tensors.pop(f"{name}.weight")
        return tensors | {f"{name}.{ending}": weight.int()}

    edit_tensors(tmp_path / "step1", packed)
    says(tmp_path / "step1", "quantised weights are not supported", f"{name}.{ending}")


def tied(model, folder):
    model.save_pretrained(folder)


def shared_once(model, folder):
    model.config.save_pretrained(folder)
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})


def only_the_head(model, folder):
    model.save_pretrained(folder)
    base, head = model.get_input_embeddings().weight, "lm_head.weight"

    def renamed(tensors):
        return {head if torch.equal(t, base) else name: t for name, t in tensors.items()}

    edit_tensors(folder, renamed)


def base_alone(model, folder):
    model.base_model.save_pretrained(folder)


def named_parameters(model, folder):
    model.config.save_pretrained(folder)
    torch.save(dict(model.named_parameters()), folder / "pytorch_model.bin")


def another_head(model, folder):
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().flip(0))
    named_parameters(model, folder)


WAYS = [tied, shared_once, only_the_head, base_alone, named_parameters, another_head]


@pytest.mark.parametrize("save", WAYS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_way_of_saving_a_tied_model_is_read_as_transformers_does(
    tmp_path, architecture, save
):
    model = random_model(architecture, tie_word_embeddings=True)
    folder = tmp_path / "saved"
    folder.mkdir()
    save(model, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.no_grad():
        expected = theirs(TOKENS).logits
    torch.testing.assert_close(logits(folder), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(expected, model.double()(TOKENS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_base_model_without_its_head_is_refused(tmp_path, architecture):
    model = random_model(architecture, tie_word_embeddings=False)
    model.base_model.save_pretrained(tmp_path)
    says(tmp_path, "has no tensor 'lm_head.weight'", "base model")


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize(
    ("prefix", "remedy"),
    [
        ("_orig_mod.", "torch.compile"),
        ("module.", "DistributedDataParallel"),
        ("_orig_mod.module.", "torch.compile"),
        ("policy.", "Save them again"),
    ],
)
def test_the_prefix_of_a_wrapper_is_named_with_its_remedy(tmp_path, architecture, prefix, remedy):
    write_trajectory(tmp_path, steps=(1,), architecture=architecture)
    folder = tmp_path / "step1"
    plain = load_file(folder / "model.safetensors")
    edit_tensors(folder, lambda t: {f"{prefix}{k}": v for k, v in t.items()})
    says(folder, repr("_orig_mod." if "_orig_mod" in prefix else prefix), remedy)
    inner = {name.replace(".0.", ".0._orig_mod.", 1): tensor for name, tensor in plain.items()}
    save_file(inner, folder / "model.safetensors", metadata={"format": "pt"})
    says(folder, "'_orig_mod.'", "torch.compile")
