"""Weights on disk: which files are read, and that reading them runs no code."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.trajectories import Trap, as_pickle, in_parts, write_trajectory

from cntbench.errors import CheckpointError, CntbenchNote
from cntbench.models import checkpoint_files, named_weights, weight_files
from cntbench.models.trajectory import open_trajectory


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with model.safetensors."""
    return write_trajectory(tmp_path / "run", steps=(8,)) / "step8"


def revision(folder):
    return named_weights.revision(checkpoint_files.read_tensors(folder))


@pytest.mark.parametrize("other", [as_pickle, in_parts])
def test_the_same_tensors_are_the_same_revision_in_any_format(folder, other):
    before = revision(folder)
    other(folder)
    assert revision(folder) == before
    trajectory = open_trajectory(f"dir:{folder.parent}", lambda *_: None)
    assert trajectory.load(trajectory.checkpoints[0]).dtype == torch.float32


def test_the_size_of_weights_is_that_of_the_files_that_are_read():
    pickled = {"pytorch_model.bin.index.json": 7, "pytorch_model-00001-of-00001.bin": 30}
    assert weight_files.listed_bytes({"config.json": 2, **pickled}) == 37
    assert weight_files.listed_bytes({"model.safetensors": 500, **pickled}) == 500
    assert weight_files.listed_bytes({"config.json": 2}) is None


@pytest.mark.parametrize("count", [2, 3, 12])
def test_each_part_that_the_names_of_others_imply_is_missed(count):
    names = [f"model-{part:05d}-of-{count:05d}.safetensors" for part in range(1, count + 1)]
    assert not weight_files.missing_part(names)
    for name in names:
        assert weight_files.missing_part([other for other in names if other != name]) == name


def test_files_that_differ_in_a_tensor_are_no_parts(folder):
    before = revision(folder)
    whole = (folder / "model.safetensors").rename(folder / "model-raw.safetensors")
    tensors = load_file(whole)
    save_file(tensors, folder / "model-ema.safetensors")
    assert revision(folder) == before
    name = min(tensors)
    save_file(tensors | {name: tensors[name] + 1}, folder / "model-ema.safetensors")
    with pytest.raises(CheckpointError) as caught:
        revision(folder)
    assert caught.value.where == str(whole)
    assert caught.value.what == f"has another {name!r} than model-ema.safetensors"


def test_parts_without_an_index_are_read_if_all_are_there(folder):
    before = revision(folder)
    in_parts(folder)
    (folder / "model.safetensors.index.json").unlink()
    assert revision(folder) == before
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model-00002-of-00002\.safetensors"):
        weight_files.find(folder)


def test_safetensors_are_preferred(folder):
    tensors = load_file(folder / "model.safetensors")
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    assert [path.name for path in weight_files.find(folder)] == ["model.safetensors"]


def test_a_pickle_in_parts_is_joined(folder):
    before = revision(folder)
    tensors = torch.load(as_pickle(folder), weights_only=True)
    index = {}
    for number, names in enumerate((sorted(tensors)[:3], sorted(tensors)[3:]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in names}, folder / file)
        index |= dict.fromkeys(names, file)
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert revision(folder) == before


@pytest.mark.parametrize("protocol", ["torch", "plain"])
def test_a_pickle_that_runs_code_is_refused_and_runs_none(folder, tmp_path, protocol):
    path, canary = as_pickle(folder), tmp_path / "canary"
    state = torch.load(path, weights_only=True) | {"trap": Trap(canary)}
    if protocol == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps({"trap": Trap(canary)}, protocol=2))
    with pytest.raises(CheckpointError, match=r"more than tensors.*\n.*never executes"):
        weight_files.read(folder)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Trap(canary)))
    assert canary.exists(), "the trap would have worked"


def test_code_that_a_config_names_is_not_run(folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "evil.Evil")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(CntbenchNote, match=r"the model's own code \(evil\.Evil\) is never executed"):
        trajectory = open_trajectory(f"dir:{folder.parent}", lambda *_: None)
    _, _, held = trajectory.verified(trajectory.checkpoints[0], folder)
    assert not held.problem
    assert not canary.exists()


def remove_part(folder):
    in_parts(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def lead_outside(folder):
    in_parts(folder)
    index = {"weight_map": {"x": "../step8/config.json"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def spoil_index(folder):
    in_parts(folder)
    (folder / "model.safetensors.index.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors or pytorch_model"),
        (remove_part, "has no model-00002-of-00002.safetensors"),
        (lead_outside, "names a file '../step8/config.json' outside its folder"),
        (spoil_index, "is not an index of weights"),
        (
            lambda f: torch.save([1, 2], as_pickle(f)),
            "is not a mapping of tensors but list",
        ),
        (lambda f: torch.save({"x": 3}, as_pickle(f)), "'x' is not a tensor but int"),
        (lambda f: as_pickle(f).write_bytes(b""), "is not a complete file"),
        (
            lambda f: as_pickle(f).write_bytes(b"PK\x03\x04 cut"),
            "is not a complete file",
        ),
        (lambda f: as_pickle(f).write_bytes(b"rubbish"), "is not a complete file"),
    ],
)
def test_what_is_wrong_with_weights_is_said(folder, damage, says):
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        weight_files.read(folder)


def test_a_format_that_is_whole_stands_in_for_one_that_is_not(folder):
    tensors = load_file(folder / "model.safetensors")
    remove_part(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    assert [path.name for path in weight_files.find(folder)] == ["pytorch_model.bin"]
