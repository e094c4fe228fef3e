"""A checkpoint whose numbers are not finite is failed, and says so; the others are measured."""

from __future__ import annotations

import pytest
import torch
from distributed import LocalCluster
from support.models import random_model
from support.runs import plan_for, quiet
from support.trajectories import edit_config, edit_tensors, write_trajectory

import cntbench
from cntbench.errors import CheckpointError
from cntbench.runs.executors import dask, processes
from cntbench.runs.run import run

HEAD = "embed_out.weight"


def times(factor, *names):
    return lambda tensors: {
        name: tensor * (factor if not names or name in names else 1)
        for name, tensor in tensors.items()
    }


@pytest.fixture
def checkpoints(tmp_path):
    """Step 1 has good weights; the others are finite numbers that no number comes out of."""
    folder = write_trajectory(tmp_path / "checkpoints", steps=(1, 2, 3, 4, 5))
    edit_tensors(folder / "step2", times(1e30))
    edit_tensors(folder / "step3", times(1.4e38, HEAD))
    edit_config(folder / "step4", layer_norm_eps=float("nan"))
    rotary = {"rope_type": "default", "rope_theta": 0, "partial_rotary_factor": 0.5}
    edit_config(folder / "step5", rope_parameters=rotary)
    return folder


def on_dask(cells, ahead, jobs):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield from dask.execute(cells, ahead, jobs, scheduler=cluster.scheduler_address)


@pytest.mark.parametrize(
    ("execute", "jobs"),
    [(processes.execute, 1), (processes.execute, 2), (on_dask, 1)],
    ids=["serial", "processes", "dask"],
)
def test_what_is_not_finite_is_failed_on_every_executor(checkpoints, tmp_path, execute, jobs):
    outcome = run(
        plan_for(checkpoints), tmp_path / "run", jobs=jobs, progress=quiet, execute=execute
    )
    statuses = outcome.tree["status"].values.ravel().tolist()
    assert statuses == ["ok", "failed", "failed", "failed", "failed"]
    reasons = {name: failure.reason for name, failure in outcome.failed.items()}
    assert "influence of task 'induction' is not finite: 9 of 9 values" in reasons["step2"]
    told = "is not finite: 2 of 3 values (cross_entropy, logit_difference)"
    assert f"readout_value of task 'induction' {told}" in reasons["step3"]
    assert "layer_norm_eps" in reasons["step4"]
    assert "rope_theta" in reasons["step5"]
    assert outcome.tree["influence"].sel(checkpoint="step1").notnull().sum() == 9


def test_a_model_in_memory_that_has_diverged_is_refused():
    model = random_model("gpt2", vocabulary=40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)
    with pytest.raises(CheckpointError, match="influence of task 'induction' is not finite"):
        cntbench.influence(model, ablation="zero", prompts=2)
