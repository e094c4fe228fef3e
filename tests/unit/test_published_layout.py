"""Files as the hub has them of old models: half precision, masks and angles beside the weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.runs import quiet
from support.trajectories import as_pickle, as_published, write_trajectory

from cntbench.models import named_weights
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import make_plan
from cntbench.runs.run import run

STEPS = (0, 1, 64, 512, 1000, 8000, 36000, 143000)


def publish(folder: Path, architecture: str, *, steps: tuple[int, ...]) -> None:
    """Write revisions of the old layout, every second one pickled, step 1 equal to step 0."""
    write_trajectory(folder, steps=steps, architecture=architecture)
    if {0, 1} <= {*steps}:
        shutil.rmtree(folder / "step1")
        shutil.copytree(folder / "step0", folder / "step1")
    for index, step in enumerate(steps):
        as_published(folder / f"step{step}")
        if index % 2:
            as_pickle(folder / f"step{step}")


def test_the_smoke_study_measures_all_checkpoints_of_published_files(hub, tmp_path):
    for folder in hub.folder.iterdir():
        shutil.rmtree(folder)
    hub.repository = "EleutherAI/pythia-14m"
    publish(hub.folder, "gpt_neox", steps=STEPS)
    catalogue = load_catalogue()
    changes = {"prompts": 2, "untrained": 0, "null_draws": 0, "planted": False}
    study = catalogue.amend(catalogue.study("pythia-14m-smoke"), changes)
    outcome = run(make_plan(catalogue, study, quiet), tmp_path / "run", jobs=1, progress=quiet)
    assert outcome.failed == {}
    status = outcome.tree["status"].isel(task=0, ablation=0)
    result = dict(zip(status["checkpoint"].values, status.values, strict=True))
    assert result == {f"step{step}": "duplicate" if step == 1 else "ok" for step in STEPS}
    assert outcome.tree["status_reason"].sel(checkpoint="step1")[0, 0] == "same weights as step0"
    assert "unused_tensors" not in outcome.tree.attrs
    assert torch.tensor(outcome.tree["influence"].values).isfinite().sum() == 2 * 8 * 9


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama", "mistral", "qwen2"])
def test_published_files_of_every_family_are_read(hub, tmp_path, architecture):
    publish(hub.folder, architecture, steps=(0, 8))
    plain = tmp_path / "plain"
    write_trajectory(plain, steps=(0, 8), architecture=architecture)
    trajectory = open_trajectory("hub:lab/tiny@step0,step8", quiet)
    for checkpoint in trajectory.checkpoints:
        room = trajectory.fetch(checkpoint, tmp_path / checkpoint.name)
        read, _ = trajectory.read(checkpoint, room)
        weights = load_file(plain / checkpoint.name / "model.safetensors")
        halves = {name: tensor.half() for name, tensor in weights.items()}
        assert read.revision == named_weights.revision(halves)
        assert read.unused == ()
