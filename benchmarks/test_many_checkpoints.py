"""A long trajectory of Pythia-14M's shape: time outside the engine, and memory.

Quick mode has three checkpoints and half of the prompts, full mode the 143 of the published study;
the task is induction under zero ablation, with 64 prompts of a block of 25 tokens twice.
"""

from __future__ import annotations

import sys
import time
import weakref
from pathlib import Path

import pytest
from safetensors.torch import save_file
from support.runs import quiet

from benchmarks.resident import peak
from benchmarks.workloads import PYTHIA_14M
from cntbench.runs import measurer as cells
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.folder import RunFolder
from cntbench.runs.plan import make_plan
from cntbench.runs.run import run_shard
from cntbench.runs.shard import Shard

TASK = """version = 1
summary = "A block of 25 tokens, repeated."
generator = "repeated_block"
learnt = "Accuracy near 1."
not_learnt = "Accuracy near 0."

[parameters]
block = 25
"""
STUDY = """version = 1
summary = "A long trajectory."
trajectory = "dir:{folder}"
tasks = ["long_block"]
ablations = ["zero"]
prompts = {prompts}
untrained = 0
"""
#: Prompts of the task; the engine's time grows in proportion to them.
PROMPTS = 64


@pytest.fixture
def count(full) -> int:
    return 143 if full else 3


@pytest.fixture
def prompts(full) -> int:
    return PROMPTS if full else PROMPTS // 2


@pytest.fixture
def specs(tmp_path, count, prompts) -> Path:
    """A folder of specs with the study ``many``, and its checkpoints beside it."""
    weights = PYTHIA_14M.tensors()
    for step in range(count):
        folder = tmp_path / "checkpoints" / f"step{step}"
        PYTHIA_14M.config().save_pretrained(folder)
        other = {name: tensor * (1 + 1e-3 * step) for name, tensor in weights.items()}
        save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    studies = tmp_path / "specs" / "studies"
    studies.mkdir(parents=True)
    (studies.parent / "long_block.toml").write_text(TASK, encoding="utf-8")
    study = STUDY.format(folder=tmp_path / "checkpoints", prompts=prompts)
    (studies / "many.toml").write_text(study, encoding="utf-8")
    return studies.parent


def test_most_of_the_time_is_the_engines(
    specs, tmp_path, monkeypatch, record_property, count, prompts
):
    """Opening, loading, hashing, scheduling and writing take at most a quarter of engine time.

    That is the time for all prompts, of which quick mode measures half.

    The models of earlier checkpoints are not kept.
    """
    engine, seconds, models, held = cells.influence, [], weakref.WeakSet(), []

    def timed(request):
        models.add(request.model)
        held.append(len(models))
        start = time.perf_counter()
        result = engine(request)
        seconds.append(time.perf_counter() - start)
        return result

    monkeypatch.setattr(cells, "influence", timed)
    catalogue = load_catalogue([specs])
    make_plan(catalogue, catalogue.study("many"), quiet)  # so that imports are not timed
    start = time.perf_counter()
    plan = make_plan(catalogue, catalogue.study("many"), quiet)
    outcome = run_shard(plan, RunFolder(tmp_path / "run", Shard(1, 1)), jobs=1, progress=quiet)
    total = time.perf_counter() - start
    assert (outcome.measured, outcome.failed) == (count, {})
    overhead = (total - sum(seconds)) / (sum(seconds) * PROMPTS / prompts)
    record_property("race", f"{count} checkpoints: {overhead:.0%} beside the engine's own time")
    assert overhead <= 0.25
    assert len(held) == count
    assert max(held) <= 2  # the next model is read while one is measured


def test_memory_does_not_grow_with_checkpoints(specs, full, tmp_path, record_property, count):
    """Each process needs less than 2 GiB for any number of checkpoints."""
    if not full:
        pytest.skip("the full mode only: quick mode counts the models that a run holds")
    run = "from cntbench.cli.main import main; main()"
    options = ["run", "many", "--specs", str(specs), "-o", str(tmp_path / "run"), "--jobs", "2"]
    usage = peak([sys.executable, "-c", run, *options])
    record_property("race", f"{count} checkpoints: largest process {usage.largest:.0f} MiB")
    assert usage.code == 0
    assert usage.largest < 2048
