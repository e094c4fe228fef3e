"""Small trajectories on disk, and the command line in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor

from cntbench.cli.main import main
from support.models import random_model

#: Names of rising length: a checkpoint file's labels must not cut those of the next.
STEPS = (0, 8, 100)


def write_trajectory(
    folder: Path,
    *,
    steps: tuple[int, ...] = STEPS,
    first_seed: int = 0,
    architecture: str = "gpt_neox",
    **model: object,
) -> Path:
    """Write random checkpoints ``step{N}`` as transformers does."""
    shape = {"layers": 2, "heads": 2, "width": 8, "mlp": 24, "vocabulary": 40, **model}
    for seed, step in enumerate(steps, start=first_seed):
        path = folder / f"step{step}"
        path.mkdir(parents=True, exist_ok=True)
        for name, content in _saved(architecture, seed, tuple(shape.items())).items():
            (path / name).write_bytes(content)
    return folder


@lru_cache(maxsize=64)
def _saved(architecture: str, seed: int, shape: tuple[tuple[str, object], ...]) -> dict[str, bytes]:
    """The files of a random checkpoint, which are the same every time."""
    with TemporaryDirectory() as folder:
        random_model(architecture, seed=seed, **dict(shape)).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def as_pickle(folder: Path) -> Path:
    """Replace a checkpoint's safetensors by what torch.save makes of them."""
    from safetensors.torch import load_file

    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path)
    (folder / "model.safetensors").unlink()
    return path


def in_parts(folder: Path) -> None:
    """Split a checkpoint's safetensors in two, with an index, as transformers does."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "model.safetensors").unlink()


def die(*_: object) -> None:
    """End this process as a lack of memory does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Trap:
    """Something that runs code when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.canary,))


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
    code = _exit_code(monkeypatch, arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_cli_in(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Run a command line in a folder, as `run_cli`, where a fixture of a module needs it."""
    with (
        pytest.MonkeyPatch.context() as patched,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        patched.chdir(folder)
        code = _exit_code(patched, arguments)
    return code, out.getvalue(), err.getvalue()


def _exit_code(patched: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> int:
    patched.setattr(sys, "argv", ["cntbench", *map(str, arguments)])
    patched.setenv("COLUMNS", "100")
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def edit_tensors(
    folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Replace a checkpoint's tensors, in safetensors, by what is made of them; returns those."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = edit(load_file(path))
    save_file(tensors, path, metadata={"format": "pt"})
    return tensors


def edit_config(folder: Path, **values: object) -> None:
    """Change values of a checkpoint's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def legacy_buffers(model_type: str, *, layers: int = 2, context: int = 64) -> dict[str, Tensor]:
    """The buffers that old files of an architecture hold beside the weights, in half precision.

    The large negative number of masked scores is infinite there.
    """
    mask = torch.ones(1, 1, context, context).tril()
    masked, angles = torch.tensor(-1e9).half(), torch.rand(2).half()
    by_type = {
        "gpt_neox": {
            "gpt_neox.layers.{}.attention.bias": mask.to(torch.uint8),
            "gpt_neox.layers.{}.attention.masked_bias": masked,
            "gpt_neox.layers.{}.attention.rotary_emb.inv_freq": angles,
        },
        "gpt2": {
            "transformer.h.{}.attn.bias": mask.bool(),
            "transformer.h.{}.attn.masked_bias": masked,
        },
    }
    llama = {"model.layers.{}.self_attn.rotary_emb.inv_freq": angles / 0}
    buffers = by_type.get(model_type, llama).items()
    return {name.format(i): tensor.clone() for name, tensor in buffers for i in range(layers)}


def as_published(folder: Path) -> None:
    """Make a checkpoint's file one of the old ones: half precision, and the buffers of old."""
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    edit_tensors(
        folder,
        lambda tensors: (
            {name: tensor.half() for name, tensor in tensors.items()} | legacy_buffers(model_type)
        ),
    )
