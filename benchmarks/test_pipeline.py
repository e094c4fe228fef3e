"""The code around the engine: files, checkpoints, and a whole run.

On a film of the default study's shape: 7 tasks, 3 ablations, 143 checkpoints, 15 components.
"""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from support.runs import plan_for, quiet
from transformers import GPTNeoXForCausalLM

from benchmarks.films import CHECKPOINTS, study_film
from benchmarks.timing import ratio, turns
from benchmarks.workloads import NANO
from cntbench.analysis.derived import NullDraws, derived
from cntbench.components import components
from cntbench.estimate.result_size import result_bytes
from cntbench.models.trajectory import open_trajectory
from cntbench.plugins import room
from cntbench.results.difference import moves, report
from cntbench.results.film import Axes
from cntbench.results.storage import open_results, write_results
from cntbench.runs.run import run

GOLDEN = Path(__file__).parents[1] / "golden" / "nano"


@pytest.fixture(scope="module")
def film(full) -> xr.Dataset:
    return study_film(full)


@pytest.fixture(scope="module")
def result(film) -> xr.DataTree:
    groups = derived(film, None, NullDraws(0, 0, 1, quiet))
    return xr.DataTree.from_dict({"/": film, **groups})


def test_a_result_is_written(result, benchmark, tmp_path):
    path = tmp_path / "results.nc"
    benchmark.pedantic(write_results, args=(result, path), rounds=1)
    root = result.to_dataset(inherit=False)
    nodes = components(NANO.layers, NANO.heads, parallel=True)
    axes = Axes(nodes, list(root["task"].values), list(root["ablation"].values))
    numbers = result_bytes(axes, CHECKPOINTS, untrained=0, null_draws=0, tests=())
    counted = sum(
        variable.nbytes
        for group in result.subtree
        for variable in group.to_dataset(inherit=False).data_vars.values()
        if variable.dtype.kind == "f"
    )
    written = path.stat().st_size
    benchmark.extra_info |= {"bytes": written, "bytes_of_numbers": numbers}
    assert counted == numbers
    # Random numbers hardly compress, but more than half of the edges are not feasible.
    assert numbers / 5 < written < numbers


def test_a_result_is_read(result, benchmark, tmp_path):
    path = tmp_path / "results.nc"
    write_results(result, path)
    back = benchmark.pedantic(open_results, args=(path,), rounds=1)
    for name in ("influence", "readout_effect", "edge_effect"):
        np.testing.assert_array_equal(back[name], result[name])
    assert set(back["metrics"].data_vars) == set(room("metric"))


def test_a_checkpoint_is_loaded(benchmark):
    trajectory = open_trajectory(f"dir:{GOLDEN / 'trajectory'}", quiet)
    checkpoint = trajectory.checkpoints[-1]

    def opponent():
        return GPTNeoXForCausalLM.from_pretrained(checkpoint.origin.fetch(), dtype=torch.float32)

    def load():
        return trajectory.load(checkpoint)

    model, other = load(), opponent()
    unembedding = other.get_output_embeddings().weight.detach()
    torch.testing.assert_close(model.unembed.weight, unembedding)
    contenders = {"load": load, "opponent": opponent}
    seconds = turns(contenders, rounds=5, clock=time.process_time, least=0.5)
    faster = ratio(seconds["load"], seconds["opponent"])
    benchmark.extra_info |= {"opponent": "transformers, from_pretrained", "ratio": faster}
    benchmark.pedantic(load, rounds=3)
    assert faster >= 1


def test_a_study_from_end_to_end(benchmark, tmp_path):
    steps = ("step0", "step1112")
    for step in steps:
        shutil.copytree(GOLDEN / "trajectory" / step, tmp_path / "checkpoints" / step)
    ablations = ("zero", "mean", "resample")
    plan = plan_for(tmp_path / "checkpoints", ablations=ablations, prompts=8, null_draws=10)
    folders = (tmp_path / f"run{i}" for i in itertools.count())

    def whole():
        return run(plan, next(folders), jobs=1, progress=quiet)

    outcome = benchmark.pedantic(whole, rounds=1)
    assert (outcome.measured, outcome.failed) == (2, {})
    dataset = open_results(outcome.path).to_dataset()
    benchmark.extra_info["bytes"] = outcome.path.stat().st_size
    for name in ablations:
        golden = open_results(GOLDEN / f"induction.{name}.nc").to_dataset()
        moved = moves(golden.sel(checkpoint=list(steps)), dataset.sel(ablation=[name]))
        assert not moved, report(moved)
