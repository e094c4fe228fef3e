"""Runs hold their first checkpoint to transformers, and give no numbers if it differs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from support.mistaken import mistaken
from support.models import ARCHITECTURES, random_model
from support.runs import plan_for, quiet
from support.trajectories import as_pickle, in_parts, run_cli, write_trajectory
from transformers import AutoModelForCausalLM

from cntbench.comparison.trained import measure_trained
from cntbench.errors import ParityError
from cntbench.models import parity
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.executors import dask, processes
from cntbench.runs.folder import RunFolder
from cntbench.runs.merge import merge
from cntbench.runs.run import run, run_shard
from cntbench.runs.shard import Shard


@pytest.fixture
def checkpoints(tmp_path):
    return write_trajectory(tmp_path / "checkpoints", steps=(0, 8))


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "olmoe"])
def test_decoders_of_files_agree_with_transformers(tmp_path, architecture, stored):
    random_model(architecture).to(stored).save_pretrained(tmp_path / "step1")
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    [checkpoint] = trajectory.checkpoints
    state = torch.random.get_rng_state()
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        read, model, held = trajectory.verified(checkpoint, tmp_path / "step1", dtype)
        assert (read, model.dtype) == (checkpoint, dtype)
        assert 0 < held.difference < 1e-4 * held.scale
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("parts", [True, False])
def test_other_formats_are_held_to_transformers_too(tmp_path, parts):
    write_trajectory(tmp_path, steps=(1,))
    if parts:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "step1")
        (tmp_path / "step1" / "model.safetensors").unlink()
        model.save_pretrained(tmp_path / "step1", max_shard_size="8KB")
        assert (tmp_path / "step1" / "model.safetensors.index.json").is_file()
    else:
        as_pickle(tmp_path / "step1")
    (tmp_path / "step1" / "generation_config.json").write_text("[")
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    *_, held = trajectory.verified(trajectory.checkpoints[0], tmp_path / "step1")
    assert held.difference < 1e-4 * held.scale


def test_what_transformers_does_not_load_is_said_and_measured(tmp_path):
    write_trajectory(tmp_path / "in", steps=(1,))
    in_parts(tmp_path / "in" / "step1")
    (tmp_path / "in" / "step1" / "model.safetensors.index.json").unlink()
    tree = run(plan_for(tmp_path / "in"), tmp_path / "out", jobs=1, progress=quiet).tree
    recorded = json.loads(tree.attrs["parity"])
    assert recorded["difference"] is None
    assert recorded["problem"].startswith("transformers fails: ")
    assert (tree["status"] == "ok").all()


def test_the_result_says_it_of_the_first_checkpoint_however_it_was_measured(checkpoints, tmp_path):
    plan = plan_for(checkpoints)
    whole = run(plan, tmp_path / "whole", jobs=2, progress=quiet)
    recorded = json.loads(whole.tree.attrs["parity"])
    assert recorded["checkpoint"] == "step0"
    assert recorded["difference"] < 1e-4 * recorded["scale"]
    assert recorded["transformers"] == parity.TRANSFORMERS
    (tmp_path / "whole" / "checkpoints" / "step0.nc").unlink()
    again = run(plan, tmp_path / "whole", jobs=1, progress=quiet)
    shards = [tmp_path / "1", tmp_path / "2"]
    for number, folder in enumerate(shards, start=1):
        run_shard(plan, RunFolder(folder, Shard(number, 2)), jobs=1, progress=quiet)
    merged = merge(load_catalogue(), shards, tmp_path / "merged", jobs=1, progress=quiet)
    for other in (again, merged):
        assert other.tree.attrs["parity"] == whole.tree.attrs["parity"]


@pytest.mark.parametrize(
    ("changed", "compared"),
    [
        ({}, ["step0"]),
        ({"_name_or_path": "here", "transformers_version": "4.0", "dtype": "bfloat16"}, ["step0"]),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, ["step0", "step8"]),
        ({"layer_norm_eps": 0.1}, ["step0", "step8"]),
    ],
)
def test_a_checkpoint_with_a_config_of_its_own_is_compared_too(
    checkpoints, tmp_path, monkeypatch, changed, compared
):
    write_trajectory(checkpoints, steps=(0, 8, 9))
    path = checkpoints / "step8" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    names = []

    def of_folder(name, folder, decoder):
        names.append(name)
        return own(name, folder, decoder)

    own = parity.of_folder
    monkeypatch.setattr(parity, "of_folder", of_folder)
    run(plan_for(checkpoints, untrained=1), tmp_path / "run", jobs=1, progress=quiet)
    assert names == compared


@pytest.mark.parametrize(
    ("execute", "jobs"),
    [
        (processes.execute, 1),
        (processes.execute, 2),
        (partial(dask.execute, scheduler=None), 1),
    ],
    ids=["serial", "processes", "dask"],
)
@pytest.mark.usefixtures("forked_workers")
def test_a_model_that_is_computed_wrongly_stops_the_run(checkpoints, tmp_path, execute, jobs):
    plan = plan_for(checkpoints, blocks=2)
    wrong = replace(plan, trajectory=mistaken(plan.trajectory))
    with pytest.raises(ParityError, match=r"differ by up to .* Results of .* would be wrong") as no:
        run(wrong, tmp_path / "run", jobs=jobs, execute=execute, progress=quiet)
    assert f"dir:{checkpoints}" in no.value.where
    assert not list((tmp_path / "run").rglob("*.nc"))
    assert run(plan, tmp_path / "run", jobs=1, progress=quiet).measured == 2


def test_every_share_holds_its_own_first_checkpoint(checkpoints, tmp_path):
    plan = plan_for(checkpoints)
    wrong = replace(plan, trajectory=mistaken(plan.trajectory))
    for number in (1, 2):
        with pytest.raises(ParityError):
            run_shard(wrong, RunFolder(tmp_path / "run", Shard(number, 2)), jobs=1, progress=quiet)
    assert not list((tmp_path / "run").rglob("*.nc"))


def test_the_command_ends_with_one_message(checkpoints, tmp_path, monkeypatch, capsys):
    loaded = parity._loaded_logits
    monkeypatch.setattr(parity, "_loaded_logits", lambda *given: loaded(*given) * 1.01)
    options = ["--trajectory", f"dir:{checkpoints}", "--tasks", "induction", "-j", 1]
    code, out, err = run_cli(monkeypatch, capsys, "run", *options, "-o", tmp_path / "run")
    assert code == 2, err
    assert "differ by up to" in " ".join(err.split())
    assert "Traceback" not in err
    assert not out
    with pytest.raises(ParityError):
        measure_trained(plan_for(checkpoints), checkpoints=1, progress=quiet)
    assert not list((tmp_path / "run").rglob("*.nc"))


def test_a_diverged_checkpoint_is_no_mismatch(tmp_path):
    from safetensors.torch import load_file, save_file

    write_trajectory(tmp_path, steps=(1,))
    path = tmp_path / "step1" / "model.safetensors"
    tensors = {name: tensor * 1e30 for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    *_, held = trajectory.verified(trajectory.checkpoints[0], path.parent)
    assert (held.difference, held.problem) == (None, "the model's own logits are not finite")
