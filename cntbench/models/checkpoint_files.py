"""Checkpoints on disk, in the format of Hugging Face: a config and weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from cntbench.errors import CheckpointError, CntbenchNote, in_file, warn
from cntbench.files.parsing import parse_json
from cntbench.models import gguf_files, weight_files
from cntbench.models.adapters import adapter
from cntbench.models.adapters._base import Shape
from cntbench.models.config_values import beginning, check_values
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign, made, silenced, transformers_lock
from cntbench.models.named_weights import Weights, select
from cntbench.models.precision import converted
from cntbench.models.products import wide

#: The file that describes an adapter of peft, which transformers applies to the model beside it.
ADAPTER = "adapter_config.json"


#: Keys of a config that say nothing of what its model computes.
_BOOKKEEPING = {"_name_or_path", "architectures", "dtype", "transformers_version", "use_cache"}


class Tensors(dict[str, Tensor]):
    """The tensors of a checkpoint; a missing one is reported as an error of the checkpoint."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        super().__init__(tensors)
        self.where = where

    def __missing__(self, name: str) -> Tensor:
        raise CheckpointError(f"has no tensor {name!r}", where=self.where)

    def wide(self, dtype: torch.dtype) -> Tensors:
        """Return the tensors in a floating-point type, or in single precision if it is narrower."""
        exact = wide(dtype)
        floats = {n: t.to(exact) if t.is_floating_point() else t for n, t in self.items()}
        return Tensors(floats, self.where)


def is_checkpoint(folder: Path) -> bool:
    """Return whether a folder has a config and weights, without reading them."""
    if gguf_files.find(folder) is not None:
        return True
    weights = (path for end in ("safetensors", "bin") for path in folder.glob(f"*.{end}"))
    return (folder / "config.json").is_file() and any(weights)


def read_config(folder: Path) -> Any:
    """Read a checkpoint's config, or raise a `CheckpointError`, also if it has no adapter."""
    packed = gguf_files.find(folder)
    if packed is not None:
        config = gguf_files.read_config(packed)
        adapter(config.model_type, where=str(packed))
        return config
    path = folder / "config.json"
    if (folder / ADAPTER).is_file():
        raise CheckpointError(
            "holds an adapter, such as LoRA, which changes a model",
            where=str(folder),
            hint="Merge it into the weights: AutoPeftModelForCausalLM.from_pretrained(FOLDER)."
            f"merge_and_unload().save_pretrained(OTHER), a folder without {ADAPTER}.",
        )
    with foreign("is not a model config", path):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CheckpointError("no such file", where=str(path)) from None
        return copy.deepcopy(_config(path, text))  # transformers changes what it makes models of


@lru_cache(maxsize=16)
def _config(path: Path, text: str) -> Any:
    """Return the config in a file with a text: transformers takes milliseconds to check it."""
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    adapter(str(content.get("model_type")), where=f"{path}: model_type")
    with transformers_lock, silenced(stderr=False):  # it warns of tokens that nothing here uses
        return AutoConfig.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )


def note_own_code(folder: Path, where: object) -> None:
    """Note that code which the config of a trajectory, ``where``, names is not executed."""
    config = read_config(folder)
    named = getattr(config, "auto_map", None)
    code = named.get("AutoModelForCausalLM") if isinstance(named, dict) else None
    if code:
        warn(
            f"{where}: the model's own code ({code}) is never executed; it is measured as "
            f"{config.model_type!r} of transformers.",
            CntbenchNote,
        )


def config_identity(folder: Path) -> str:
    """Return, as JSON, what a checkpoint's config says of what its model computes."""
    values = read_config(folder).to_dict()
    kept = {key: value for key, value in values.items() if key not in _BOOKKEEPING}
    return json.dumps(kept, sort_keys=True, default=str)


def read_shape(folder: Path) -> Shape:
    """Read a model's sizes from its config."""
    return shape_of(read_config(folder), gguf_files.find(folder) or folder / "config.json")


def shape_of(config: Any, where: object = None) -> Shape:
    """Return the sizes of the model that a transformers config describes.

    ``where`` is its file, for errors; by default the folder that it was read from. Raises a
    `CheckpointError` if no model can have these sizes, or the model is not supported.
    """
    source = str(where or config.name_or_path or "config")
    with in_file(source), foreign("is not a model config", source):
        check_values(config)
        shape: Shape = adapter(config.model_type).shape(config)
        return replace(shape, beginning=beginning(config))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint as they are stored.

    See `cntbench.models.weight_files` and `cntbench.models.gguf_files`.
    """
    packed = gguf_files.find(folder)
    return weight_files.read(folder) if packed is None else gguf_files.read_tensors(packed)


def read_weights(folder: Path) -> Weights:
    """Read the tensors of a checkpoint that its model uses.

    They are checked as `cntbench.models.named_weights` says.
    """
    return select(read_config(folder), read_tensors(folder), where=str(folder))


def initialise(folder: Path, seed: int) -> dict[str, Tensor]:
    """Draw initial weights for a checkpoint's config, as transformers does, in float32."""
    config = read_config(folder)
    errors = foreign("transformers cannot make the model", folder / "config.json")
    with made(), errors, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
    tensors: dict[str, Tensor] = model.state_dict()
    return tensors


def decoder(
    folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> Decoder:
    """Make the engine's decoder of a checkpoint in a floating-point type.

    Norms are folded into the maps that follow before weights are rounded to a type narrower than
    single precision.
    """
    config = read_config(folder)
    with foreign("config and weights do not fit each other", folder):
        floats = Tensors(tensors, str(folder)).wide(dtype)
        model: Decoder = adapter(config.model_type).decoder(config, floats)
        return converted(model, dtype)
