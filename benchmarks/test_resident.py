"""Memory of whole commands; in full mode, of a run on a model of 135 M parameters."""

from __future__ import annotations

import sys

import pytest
from safetensors.torch import save_file

from benchmarks.resident import peak
from benchmarks.workloads import SMOLLM2_135M

#: Code that holds so much memory [MiB], and then runs more code.
HOLD = "held = b'1' * ({} * 2**20); import subprocess, sys, time; {}"


def test_children_are_counted():
    child = HOLD.format(200, "time.sleep(1)")
    parent = HOLD.format(100, f"subprocess.run([sys.executable, '-c', {child!r}])")
    usage = peak([sys.executable, "-c", parent])
    assert usage.code == 0
    assert 200 < usage.largest < 250  # of one process, however many share its libraries
    assert 300 < usage.total < 350


def test_a_command_that_fails_is_told():
    assert peak([sys.executable, "-c", "raise SystemExit(3)"]).code == 3


STUDY = """version = 1
summary = "A model of 300 components."
trajectory = "dir:{folder}"
tasks = ["induction"]
ablations = ["zero", "mean", "resample"]
prompts = 32
untrained = 0
"""


def test_a_model_of_300_components_takes_less_than_4_gib(full, tmp_path, record_property):
    if not full:
        pytest.skip("the full mode only: it takes about twenty minutes")
    folder = tmp_path / "checkpoints" / "step0"
    SMOLLM2_135M.config().save_pretrained(folder)
    save_file(SMOLLM2_135M.tensors(), folder / "model.safetensors", metadata={"format": "pt"})
    study = tmp_path / "specs" / "studies" / "large.toml"
    study.parent.mkdir(parents=True)
    study.write_text(STUDY.format(folder=folder.parent), encoding="utf-8")
    run = "from cntbench.cli.main import main; main()"
    options = ["run", "large", "--specs", str(study.parents[1]), "-o", str(tmp_path / "run")]
    usage = peak([sys.executable, "-c", run, *options])
    record_property("race", f"SmolLM2-135M, 300 components: {usage.total:.0f} MiB")
    assert usage.code == 0
    assert usage.total < 4096
