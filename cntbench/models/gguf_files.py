"""Checkpoints in one GGUF file, the format of llama.cpp, read by transformers and its extras.

Quantised weights are unpacked to float32. A file is refused if transformers would lose part of it:
transformers makes a config of its own and drops tensors that its model does not have.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from cntbench.errors import CheckpointError
from cntbench.models.foreign import foreign, silenced, transformers_lock

#: Packages that transformers needs to read such files.
PACKAGES = ("gguf", "accelerate")
UNREADABLE = "is not a GGUF file that transformers can read"
_USE_ORIGINAL = "Use the checkpoint that it was converted from: config.json and safetensors."


def find(folder: Path) -> Path | None:
    """Return a checkpoint's GGUF file, if it is the only file of weights in its folder."""
    files = list(folder.glob("*.gguf"))
    others = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return files[0] if len(files) == 1 and not others else None


def read_config(path: Path) -> Any:
    """Return the config that transformers makes of a file's metadata.

    Raises a `CheckpointError` if a package is missing, the file cannot be read, or transformers
    would ignore part of it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise CheckpointError(
            f"a GGUF file cannot be read without {' and '.join(missing)}",
            where=str(path),
            hint="pip install 'cntbench[gguf]'",
        )
    names, metadata = _contents(path)
    scaling = [key for key in metadata if ".rope.scaling." in key]
    if scaling or "rope_freqs.weight" in names:
        raise CheckpointError(
            f"scaled rotary angles ({', '.join(scaling) or 'rope_freqs.weight'}) are lost when "
            "transformers reads a GGUF file",
            where=str(path),
            hint=_USE_ORIGINAL,
        )
    with transformers_lock, foreign(UNREADABLE, path), silenced():
        return AutoConfig.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors, under the names of transformers, in float32.

    Raises a `CheckpointError` if the file lacks a tensor of the model, or has one that the model
    does not have.
    """
    with transformers_lock, foreign(UNREADABLE, path), silenced():
        model, report = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    tied = set(model.all_tied_weights_keys)
    tensors = {name: t for name, t in model.state_dict().items() if name not in tied}
    missing = sorted(set(report["missing_keys"]) - tied)
    if missing:
        raise CheckpointError(f"has no tensor {missing[0]!r}", where=str(path))
    names, _ = _contents(path)
    if len(names) != len(tensors):
        raise CheckpointError(
            f"has {len(names)} tensors, and a {model.config.model_type!r} model of transformers "
            f"has {len(tensors)}",
            where=str(path),
            hint=_USE_ORIGINAL,
        )
    return tensors


def _contents(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of tensors and the keys of metadata."""
    from gguf import GGUFReader

    with foreign(UNREADABLE, path):
        reader = GGUFReader(path)
        return [tensor.name for tensor in reader.tensors], list(reader.fields)
