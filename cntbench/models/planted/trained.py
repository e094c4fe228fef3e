"""Trained models with known edges: the checkpoint beside the circuit's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from cntbench.errors import SpecError
from cntbench.models import checkpoint_files, named_weights
from cntbench.models.planted.blueprint import Blueprint

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def read(blueprint: Blueprint, folder: Path) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """Return the config and the tensors of a trained circuit, in float32.

    Raises
    ------
    SpecError
        If the components or tensors of the checkpoint differ from those in the circuit's file.
    CheckpointError
        If the checkpoint cannot be read.
    """
    assert blueprint.trained is not None, "a circuit that was not trained has no checkpoint"
    config: PretrainedConfig = checkpoint_files.read_config(folder)
    where = f"{blueprint.where}: trained.folder"
    shape, spec = checkpoint_files.shape_of(config, folder), blueprint.spec
    stated = {
        "components": (shape.components, blueprint.components),
        "vocabulary": (shape.vocabulary, spec.vocabulary),
        "context": (shape.context, spec.context),
    }
    for key, (actual, expected) in stated.items():
        if actual != expected:
            raise SpecError(f"the model in {folder} has other {key} than the file", where=where)
    stored = checkpoint_files.read_tensors(folder)
    if (revision := named_weights.revision(stored)) != blueprint.trained.revision:
        raise SpecError(
            f"the tensors in {folder} do not match the revision in the file",
            where=f"{blueprint.where}: trained.revision",
            hint=f"Their SHA-256 is {revision}.",
        )
    return config, {name: tensor.float() for name, tensor in stored.items()}
