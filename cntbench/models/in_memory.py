"""Models in memory, as a trajectory of one checkpoint."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from cntbench.errors import CheckpointError, shown
from cntbench.models import parity
from cntbench.models.adapters import adapter
from cntbench.models.adapters._base import Shape
from cntbench.models.checkpoint_files import Tensors, shape_of
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign
from cntbench.models.named_weights import TYPES, check_finite, revision
from cntbench.models.origin import Origin
from cntbench.models.parity import Parity
from cntbench.models.precision import converted
from cntbench.models.products import wide
from cntbench.models.tokenizer import TokenizerObject
from cntbench.models.trajectory import Checkpoint, Trajectory

#: Name of the one checkpoint.
NAME = "model"
#: Likely reasons why a model's forward pass does not follow from its config and its tensors.
USUAL = (
    "cntbench reads the config and the tensors. Usual causes: a replaced module or activation, a "
    "value such as eps that was changed after the model was made, hooks, adapters such as LoRA "
    "(merge them into the weights), an attention implementation of your own."
)


@dataclass(frozen=True)
class Memory(Origin):
    """The origin of a model that has no files; ``what`` describes the model in messages."""

    what: str

    def __str__(self) -> str:
        return self.what

    def fetch(self, room: Path | None = None) -> Path:
        """Raise a `CheckpointError`: there is nothing to fetch."""
        raise CheckpointError("is in memory and has no files", where=self.what)


def read_model(
    model: Any, tokenizer: Any = None, dtype: torch.dtype = torch.float32, experts: bool = False
) -> tuple[Trajectory, Decoder, Parity | None]:
    """Return a model as a trajectory of one checkpoint, and as the engine's decoder.

    Raises a `CheckpointError` if the model is of another type, its architecture is not supported,
    or its weights are not in memory, quantised, or not finite; or if the tokenizer is of another
    type. A `ParityError` if its forward pass differs from its config and tensors.

    Parameters
    ----------
    model
        A causal language model of transformers, or a `cntbench.models.decoder.Decoder`. It is not
        changed. A model of transformers is read by its config and tensors; its own forward pass,
        hooks included, has to give the same logits for a few tokens.
    tokenizer
        Its tokenizer, from transformers or tokenizers, or None.
    dtype
        Floating-point type to compute in.
    experts
        Whether each expert of a mixture is a component; a `SpecError` if the model has none.

    Returns
    -------
    Trajectory
        Its checkpoint ``model``, at step 0. The revision is the SHA-256 of the model's tensors, of
        which tied ones count once; it is empty for a decoder, whose tensors have no names.
    Decoder
        The model.
    Parity or None
        How well the two agree; None for a decoder.
    """
    what = type(model).__name__
    if isinstance(model, Decoder):
        shape = Shape(model.components, model.vocabulary, model.context, experts=model.experts)
        identity, decoder, held = "", converted(model, dtype), None
    else:
        shape, identity, decoder, held = _read(model, what, dtype)
    trajectory = Trajectory(
        identity=f"memory:{what}",
        shape=shape,
        checkpoints=(Checkpoint(NAME, 0, identity, Memory(what)),),
        tokenizer=None if tokenizer is None else TokenizerObject.of(tokenizer),
        initialisable=False,
    )
    if experts:
        return trajectory.by_experts(where=f"{what}: experts"), decoder.by_experts(), held
    return trajectory, decoder, held


def at_step(trajectory: Trajectory, step: Any, where: str) -> Trajectory:
    """Return a trajectory of one checkpoint, at a training step and named after it.

    Raises a `CheckpointError` if the step is not a whole number, 0 or more.
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63 or isinstance(step, bool):
        raise CheckpointError(
            f"step = {shown(step)} is not allowed",
            where=where,
            hint="Allowed: a whole number, the model's training step.",
        )
    [checkpoint] = trajectory.checkpoints
    name = f"step{number}" if number else NAME
    return replace(trajectory, checkpoints=(replace(checkpoint, name=name, step=number),))


def _read(model: Any, what: str, dtype: torch.dtype) -> tuple[Shape, str, Decoder, Parity]:
    """Return a model's sizes, the hash of its tensors, its decoder, and their parity."""
    if not isinstance(model, PreTrainedModel):
        raise CheckpointError(
            "is not a model that can be measured",
            where=what,
            hint="Pass a causal language model of transformers, such as GPT2LMHeadModel, as it was "
            "loaded, without a wrapper by torch.compile, DataParallel or PEFT.",
        )
    config: Any = model.config
    architecture = adapter(config.model_type, where=what)
    if model.get_output_embeddings() is None:
        raise CheckpointError(
            "has no unembedding",
            where=what,
            hint="Pass the causal language model: AutoModelForCausalLM loads it.",
        )
    shape = shape_of(config, what)
    tensors = _tensors(model, what)
    check_finite(tensors, where=what)
    floats = Tensors(tensors, what).wide(dtype)
    try:
        with foreign("config and tensors do not fit each other", what):
            decoder: Decoder = architecture.decoder(config, floats)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=what, hint=error.hint or USUAL) from None
    own_logits = parity.own_logits(model, parity.probe(decoder), floats, wide(dtype), where=what)
    held = parity.compare(NAME, own_logits, decoder, where=what, hint=USUAL)
    return shape, revision(tensors), converted(decoder, dtype), held


def _tensors(model: Any, what: str) -> dict[str, Tensor]:
    """Return a model's tensors on the CPU, tied ones once."""
    tensors: dict[str, Tensor] = model.state_dict()
    unusual = [name for name, value in tensors.items() if type(value) not in (Tensor, Parameter)]
    unusual += [name for name, value in model.named_parameters() if value.dtype not in TYPES]
    if unusual:
        raise CheckpointError(
            f"{unusual[0]!r} is not a plain tensor: quantised or distributed weights are not "
            "supported",
            where=what,
            hint="Load the model with dtype=torch.float32, without quantization_config.",
        )
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(
                f"tensor {name!r} is not in memory",
                where=what,
                hint="Load the model without a device_map.",
            )
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    ties = model.all_tied_weights_keys if model.config.tie_word_embeddings else {}
    # The head may have been replaced since the config tied it.
    tied = {
        name
        for name, source in ties.items()
        if name in tensors and source in tensors and torch.equal(tensors[name], tensors[source])
    }
    return {name: tensor for name, tensor in tensors.items() if name not in tied}
