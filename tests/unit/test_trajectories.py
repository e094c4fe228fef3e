"""Where checkpoints come from: folders in Hugging Face's format, and the embedded model."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from support.runs import quiet
from support.trajectories import spoil, write_trajectory
from transformers import AutoModelForCausalLM

from cntbench.errors import CheckpointError, CntbenchError, CntbenchNote
from cntbench.models import cache, checkpoint_files, named_weights
from cntbench.models.cache import cached_folder
from cntbench.models.nano_training import Recipe, train
from cntbench.models.sources import nano
from cntbench.models.trajectory import open_trajectory


def test_a_folder_is_a_trajectory_in_the_order_of_its_steps(tmp_path):
    write_trajectory(tmp_path, steps=(100, 8, 0))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    with pytest.warns(CntbenchNote, match=r"skipped notes\.txt \(files\)"):
        trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert [c.step for c in trajectory.checkpoints] == [0, 8, 100]
    assert [c.name for c in trajectory.checkpoints] == ["step0", "step8", "step100"]
    assert len({c.revision for c in trajectory.checkpoints}) == 3
    assert len(trajectory.shape.components) == 6
    model = trajectory.load(trajectory.checkpoints[0])
    assert model.components == trajectory.shape.components
    assert (model.vocabulary, model.context) == (40, 64)


def set_keys(folder, **keys):
    """Set keys of a checkpoint's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize("change", [{"bos_token_id": 3}, {"bos_token_id": None}])
def test_checkpoints_may_name_different_tokens_of_the_beginning(tmp_path, change):
    write_trajectory(tmp_path, bos_token_id=0)
    set_keys(tmp_path / "step8", **change)
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert trajectory.shape.beginning == 0
    assert all(trajectory.load(checkpoint) for checkpoint in trajectory.checkpoints)


@pytest.mark.parametrize("missing", [[], ["model.safetensors"], ["config.json"]])
def test_an_adapter_is_not_the_model_that_it_changes(tmp_path, missing):
    write_trajectory(tmp_path, steps=(8,))
    (tmp_path / "step8" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"lora_A": torch.ones(2)}, tmp_path / "step8" / "adapter_model.safetensors")
    for name in missing:
        (tmp_path / "step8" / name).unlink()
    with pytest.raises(CheckpointError, match="step8: holds an adapter, such as LoRA") as caught:
        open_trajectory(f"dir:{tmp_path}", quiet)
    assert "merge_and_unload()" in caught.value.hint


def test_the_weights_are_read_in_float32_from_half_precision(tmp_path):
    write_trajectory(tmp_path, steps=(1,))
    path = tmp_path / "step1" / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert trajectory.load(trajectory.checkpoints[0]).dtype == torch.float32


def test_split_safetensors_are_joined(tmp_path):
    write_trajectory(tmp_path, steps=(1,))
    whole = tmp_path / "step1" / "model.safetensors"
    tensors = load_file(whole)
    before = named_weights.revision(tensors)
    names = sorted(tensors)
    for index, part in enumerate((names[:5], names[5:]), start=1):
        save_file(
            {name: tensors[name] for name in part},
            tmp_path / "step1" / f"model-0000{index}-of-00002.safetensors",
        )
    whole.unlink()
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert trajectory.checkpoints[0].revision == before


def edit_config(folder, old, new):
    path = folder / "step8" / "config.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def drop_tensor(folder):
    path = folder / "step8" / "model.safetensors"
    tensors = load_file(path)
    del tensors["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    save_file(tensors, path)


def truncate(folder):
    path = folder / "step8" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (empty, ["has no checkpoints", "step1000"]),
        (shutil.rmtree, ["no such folder"]),
        (lambda f: (f / "step8").rename(f / "best-8"), ["best-8", "no word marks it as the"]),
        (lambda f: shutil.copytree(f / "step8", f / "checkpoint-8"), ["has step 8, as"]),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, damage, says):
    folder = write_trajectory(tmp_path / "run")
    damage(folder)
    with pytest.raises(CntbenchError) as caught:
        open_trajectory(f"dir:{folder}", quiet)
    assert str(folder) in str(caught.value)
    for part in says:
        assert part in str(caught.value)


UNREADABLE = [
    (lambda f: (f / "step8" / "config.json").unlink(), ["step8", "no such file"]),
    (lambda f: (f / "step8" / "config.json").write_text("{"), ["is not a model config"]),
    (lambda f: edit_config(f, '"gpt_neox"', '"gpt_nex"'),
     ["'gpt_nex' is not supported", "Did you mean 'gpt_neox'", "adapters"]),
    (lambda f: edit_config(f, '"gelu"', '"gelu_9"'), ["'gelu_9' is not supported", "gelu"]),
    (lambda f: edit_config(f, '"default"', '"yarn"'), ["config"]),
    (lambda f: (f / "step8" / "model.safetensors").unlink(), ["has no model.safetensors or"]),
    (truncate, ["is not a complete safetensors file"]),
]  # fmt: skip
UNUSABLE = [
    (lambda f: edit_config(f, '"num_attention_heads": 2', '"num_attention_heads": 4'),
     ["step8", "in components"]),
    (lambda f: spoil(f / "step8"), ["step8", "final_layer_norm.bias", "non-finite"]),
    (drop_tensor, ["step8", "has no tensor", "mlp.dense_h_to_4h"]),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), UNREADABLE + UNUSABLE)
def test_a_bad_checkpoint_is_told_when_it_is_read_and_costs_no_other(tmp_path, damage, says):
    folder = write_trajectory(tmp_path / "run")
    damage(folder)
    trajectory = open_trajectory(f"dir:{folder}", quiet)
    assert [c.name for c in trajectory.checkpoints] == ["step0", "step8", "step100"]
    with pytest.raises(CheckpointError) as caught:
        trajectory.load(trajectory.checkpoints[1])
    assert str(folder) in str(caught.value)
    for part in says:
        assert part in str(caught.value)
    for other in (0, 2):
        trajectory.load(trajectory.checkpoints[other])


@pytest.mark.parametrize(("damage", "says"), UNREADABLE)
def test_a_trajectory_is_refused_if_no_checkpoint_can_be_read(tmp_path, damage, says):
    folder = write_trajectory(tmp_path / "run", steps=(8,))
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        open_trajectory(f"dir:{folder}", quiet)
    for part in says:
        assert part in str(caught.value)


def test_the_shape_is_that_of_the_first_checkpoint_that_can_be_read(tmp_path):
    folder = write_trajectory(tmp_path)
    (folder / "step0" / "config.json").unlink()
    trajectory = open_trajectory(f"dir:{folder}", quiet)
    assert trajectory.config == folder / "step8"
    assert [bool(c.identity) for c in trajectory.checkpoints] == [False, True, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("at", [0, 1234, 4999])
def test_one_number_that_is_not_finite_is_found(dtype, value, at):
    tensors = {
        "ids": torch.arange(3),
        "empty": torch.zeros(0, dtype=dtype),
        "good": torch.randn(5000, generator=torch.Generator().manual_seed(0)).to(dtype),
    }
    named_weights.check_finite(tensors, where="here")
    tensors["bad"] = tensors["good"].clone()
    tensors["bad"][at] = value
    with pytest.raises(CheckpointError, match="here: tensor 'bad' has non-finite numbers"):
        named_weights.check_finite(tensors, where="here")


def test_weights_that_change_under_a_run_are_noticed(tmp_path):
    trajectory = open_trajectory(f"dir:{write_trajectory(tmp_path)}", quiet)
    shutil.copy(tmp_path / "step0" / "model.safetensors", tmp_path / "step8")
    with pytest.raises(CntbenchError, match="have changed since"):
        trajectory.load(trajectory.checkpoints[1])


@pytest.mark.parametrize("text", ["nanno", "hup:x/y", "nano:sed=3", "nano:seed=-1", "dir:", ""])
def test_an_unknown_trajectory_is_an_error(text):
    with pytest.raises(CntbenchError, match=r"nano|dir:PATH"):
        open_trajectory(text, quiet)


@pytest.mark.parametrize("text", ["runs/nope", "there"])
def test_of_a_bare_path_it_is_said_how_it_is_written(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(CntbenchError, match=f"{text}: is not a trajectory\n.* written dir:{text};"):
        open_trajectory(text, quiet)


@pytest.fixture
def small_nano(tmp_path, monkeypatch):
    """The embedded model, trained for sixteen steps."""
    recipe = partial(Recipe, last=16, batch=4, length=16, longest_period=8)
    monkeypatch.setattr(nano, "Recipe", recipe)
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    return recipe


def test_the_embedded_model_is_trained_once(small_nano):
    messages = []
    first = open_trajectory("nano", lambda *report: messages.append(report))
    assert [c.step for c in first.checkpoints] == [0, 1, 2, 4, 8, 16]
    assert first.checkpoints[-1].tokens_seen == 16 * 4 * 16
    assert messages
    messages.clear()
    again = open_trajectory("nano:seed=0", lambda *report: messages.append(report))
    assert not messages
    assert again.checkpoints == first.checkpoints
    assert again.chain is not None
    np.testing.assert_allclose(again.chain.sum(axis=1), 1)
    other = open_trajectory("nano:seed=3", quiet)
    assert {c.revision for c in other.checkpoints}.isdisjoint(
        {c.revision for c in first.checkpoints}
    )


@pytest.mark.parametrize("early", [False, True])
def test_a_checkpoint_that_will_not_be_is_told_before_the_training(small_nano, tmp_path, early):
    with pytest.raises(CntbenchError, match="there is no checkpoint 'x'"):
        open_trajectory("nano", quiet, checkpoints="x", early=early)
    assert not (tmp_path / "cache").exists()


def test_the_checkpoints_load_with_transformers_alone(small_nano):
    trajectory = open_trajectory("nano", quiet)
    last = trajectory.checkpoints[-1]
    model = AutoModelForCausalLM.from_pretrained(last.origin.fetch())
    assert model.config.model_type == "gpt_neox"
    theirs = model.state_dict()["gpt_neox.embed_in.weight"]
    ours = trajectory.load(last).embed(torch.arange(32))
    assert torch.equal(theirs, ours)


def test_an_interrupted_training_leaves_nothing_half_written(small_nano, tmp_path):
    def interrupt(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_trajectory("nano", interrupt)
    finished = [p for p in (tmp_path / "cache").iterdir() if (p / nano.MANIFEST).exists()]
    assert not finished
    assert len(open_trajectory("nano", quiet).checkpoints) == 6


def test_the_same_recipe_gives_the_same_weights(tmp_path, small_nano):
    recipe = small_nano(seed=1)
    torch.manual_seed(1)
    first = train(recipe, tmp_path / "a", quiet)
    torch.manual_seed(2)
    assert train(recipe, tmp_path / "b", quiet) == first


def test_an_untrained_model_is_what_training_starts_from(tmp_path):
    recipe = Recipe(seed=3, layers=1, hidden=16, heads=2, mlp=32, warmup=1, last=1)
    train(recipe, tmp_path, quiet)
    start = checkpoint_files.read_tensors(tmp_path / "step0")
    before = torch.random.get_rng_state()
    again = checkpoint_files.initialise(tmp_path / "step1", 3)
    assert torch.equal(before, torch.random.get_rng_state())
    again["embed_out.weight"] = again.pop("lm_head.weight")  # as transformers names it in files
    assert set(start) == set(again)
    for name, tensor in start.items():
        assert torch.equal(tensor, again[name]), name
    other = checkpoint_files.initialise(tmp_path / "step1", 4)
    assert named_weights.revision(other) != named_weights.revision(again)


def test_untrained_models_have_seeds_that_no_trajectory_has(tmp_path):
    trajectory = open_trajectory(f"dir:{write_trajectory(tmp_path)}", quiet)
    models = trajectory.untrained(3)
    assert [model.seed for model in models] == [2**31, 2**31 + 1, 2**31 + 2]
    checkpoint, decoder = trajectory.read(models[0], trajectory.config)
    assert (checkpoint.name, checkpoint.step) == ("untrained2147483648", 0)
    assert decoder.unembed.weight.dtype == torch.float32
    assert decoder.components == trajectory.shape.components


def test_planted_models_cannot_be_untrained():
    assert open_trajectory("planted:chain", quiet).untrained(3) == ()


def test_a_damaged_cache_says_what_to_do(small_nano, tmp_path):
    open_trajectory("nano", quiet)
    folder = next(p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    shutil.rmtree(folder / "step0")
    with pytest.raises(CntbenchError, match=r"damaged.*\n?.*Delete the folder"):
        open_trajectory("nano", quiet)


def test_a_full_cache_is_an_error_and_a_tilde_the_home_folder(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("cntbench.models.sources.planted.save_file", fail)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNTBENCH_CACHE", "~/cache")
    with pytest.raises(CntbenchError) as caught:
        open_trajectory("planted:chain", quiet)
    assert "No space left on device" in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "cache"))


def test_a_cache_that_cannot_be_written_is_an_error(small_nano, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CntbenchError, match="CNTBENCH_CACHE"):
        open_trajectory("nano", quiet)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_cache_whose_lock_cannot_be_made_is_not_waited_for(monkeypatch):
    monkeypatch.setenv("CNTBENCH_CACHE", "/proc")
    with pytest.raises(CntbenchError, match="CNTBENCH_CACHE"):
        open_trajectory("planted:chain", quiet)


def test_a_cache_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(CntbenchError, match="CNTBENCH_CACHE"):
        open_trajectory("planted:chain", quiet)


def test_the_default_recipe_has_143_checkpoints():
    steps = Recipe().checkpoint_steps
    assert len(steps) == len(set(steps)) == 143
    assert steps == tuple(sorted(steps))


def test_batches_are_half_chains_and_half_repeats():
    recipe = Recipe(batch=8, length=40)
    batch = next(recipe.batches()).numpy()
    assert batch.shape == (8, 40)

    def repeats(row):
        return any((row[p:] == row[:-p]).all() for p in range(6, 25))

    assert [repeats(row) for row in batch] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_left_of_a_cached_folder_is_replaced(tmp_path, monkeypatch, in_place):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))
    for name in ("model", "model.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").touch()
    folder = cached_folder("model", "done", lambda _: "made", in_place=in_place)
    assert [path.name for path in folder.iterdir()] == ["done"]
    assert (folder / "done").read_text() == "made"


@pytest.mark.parametrize("in_place", [False, True])
def test_a_folder_that_another_process_has_made_is_not_made_again(tmp_path, monkeypatch, in_place):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))

    @contextmanager
    def wait_for_another(_):
        monkeypatch.undo()
        monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))
        cached_folder("model", "done", lambda _: "theirs", in_place=in_place)
        yield

    monkeypatch.setattr(cache, "FileLock", wait_for_another)
    folder = cached_folder("model", "done", lambda _: "ours", in_place=in_place)
    assert (folder / "done").read_text() == "theirs"
