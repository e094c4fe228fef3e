"""Models that are objects of this process: a user's own, as a trajectory of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from cntbench.errors import CheckpointError
from cntbench.models.adapters._base import Shape
from cntbench.models.architectures import adapter
from cntbench.models.checkpoint_files import Tensors, check_finite, revision
from cntbench.models.decoder import Decoder
from cntbench.models.precision import converted
from cntbench.models.products import wide
from cntbench.models.tokenizer import TokenizerObject
from cntbench.models.trajectory import Checkpoint, Trajectory

#: What the one checkpoint is called.
NAME = "model"


@dataclass(frozen=True)
class Memory:
    """The origin of a model that has no files.

    Parameters
    ----------
    what
        What the model is, for messages.
    """

    what: str

    def __str__(self) -> str:
        return self.what

    @property
    def identity(self) -> str:
        """Nothing but the weights fixes it."""
        return ""

    def fetch(self, room: Path | None = None) -> Path:
        """Raise an error: there is nothing to fetch."""
        raise CheckpointError("is in memory and has no files", where=self.what)

    def at(self, identity: str) -> Memory:
        """Return itself."""
        return self


def read_model(
    model: Any, tokenizer: Any = None, dtype: torch.dtype = torch.float32
) -> tuple[Trajectory, Decoder]:
    """Return a model as a trajectory of one checkpoint, and as the engine's decoder.

    Parameters
    ----------
    model
        A causal language model of transformers, or a `cntbench.models.decoder.Decoder`. It is not
        changed. Of the first its config and its tensors count; hooks are not run.
    tokenizer
        Its tokenizer, of transformers or tokenizers, or None.
    dtype
        Floating-point type to compute in.

    Returns
    -------
    Trajectory
        Its checkpoint ``model``, at step 0, has the SHA-256 of the model's tensors as revision, of
        those that are tied to others only the first. It is empty for a decoder, whose tensors have
        no names.
    Decoder
        The model.

    Raises
    ------
    CheckpointError
        If the model is no such thing, of an architecture that is not supported, not in memory, or
        not finite; or the tokenizer is none.
    """
    what = type(model).__name__
    if isinstance(model, Decoder):
        shape, known = Shape(model.components, model.vocabulary, model.context), ""
        made = model if model.dtype == dtype else converted(model, dtype)
    else:
        shape, known, made = _read(model, what, dtype)
    trajectory = Trajectory(
        identity=f"memory:{what}",
        shape=shape,
        checkpoints=(Checkpoint(NAME, 0, known, Memory(what)),),
        tokenizer=None if tokenizer is None else TokenizerObject.of(tokenizer),
        initialisable=False,
    )
    return trajectory, made


def _read(model: Any, what: str, dtype: torch.dtype) -> tuple[Shape, str, Decoder]:
    """Return a transformers model's sizes, the hash of its tensors, and its decoder."""
    if not isinstance(model, PreTrainedModel):
        raise CheckpointError(
            "is not a model that can be measured",
            where=what,
            hint="Give a causal language model of transformers, such as GPT2LMHeadModel, as it is "
            "loaded: unwrap what torch.compile, DataParallel or PEFT have made of it.",
        )
    config: Any = model.config
    architecture = adapter(config.model_type, where=what)
    if model.get_output_embeddings() is None:
        raise CheckpointError(
            "has no unembedding",
            where=what,
            hint="Give the causal language model: AutoModelForCausalLM loads it.",
        )
    try:
        shape: Shape = replace(architecture.shape(config), beginning=config.bos_token_id)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=what, hint=error.hint) from None
    tied = set(model.all_tied_weights_keys)
    tensors = {name: t for name, t in model.state_dict().items() if name not in tied}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(
                f"tensor {name!r} is not in memory",
                where=what,
                hint="Load the model without a device_map.",
            )
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    check_finite(tensors, where=what)
    exact = wide(dtype)
    floats = {name: t.to(exact) if t.is_floating_point() else t for name, t in tensors.items()}
    made: Decoder = architecture.decoder(config, Tensors(floats, what))
    return shape, revision(tensors), made if dtype == exact else converted(made, dtype)
