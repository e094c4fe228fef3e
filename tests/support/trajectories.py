"""Small trajectories on disk, and the command line in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from cntbench import cli
from support.models import random_model

#: Names of rising length: a shard's labels must not cut those of the next.
STEPS = (0, 8, 100)


def write_trajectory(
    folder: Path,
    *,
    steps: tuple[int, ...] = STEPS,
    architecture: str = "gpt_neox",
    **model: object,
) -> Path:
    """Write random checkpoints ``step{N}`` as transformers does."""
    shape = {"layers": 2, "heads": 2, "width": 8, "mlp": 24, "vocabulary": 40, **model}
    for seed, step in enumerate(steps):
        random_model(architecture, seed=seed, **shape).save_pretrained(folder / f"step{step}")
    return folder


def spoil(folder: Path) -> None:
    """Put a NaN into a checkpoint."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["gpt_neox.final_layer_norm.bias"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run a command line in this process; returns exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["cntbench", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "100")
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err
