"""Models that are objects of this process: a user's own, as a trajectory of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from cntbench.errors import CheckpointError
from cntbench.models import parity
from cntbench.models.adapters._base import Shape
from cntbench.models.architectures import adapter
from cntbench.models.checkpoint_files import Tensors, shape_of
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign
from cntbench.models.named_weights import check_finite, revision
from cntbench.models.parity import Parity
from cntbench.models.precision import converted
from cntbench.models.products import wide
from cntbench.models.tokenizer import TokenizerObject
from cntbench.models.trajectory import Checkpoint, Trajectory

#: What the one checkpoint is called.
NAME = "model"
#: Types of weights that are what they say.
PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Why a model in memory does not compute what its config and its tensors say.
USUAL = (
    "cntbench reads the config and the tensors. Usual causes: a module or an activation that was "
    "replaced, a value such as eps that was changed after the model was made, hooks, adapters such "
    "as LoRA (merge them into the weights), an attention implementation of your own."
)


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
) -> tuple[Trajectory, Decoder, Parity | None]:
    """Return a model as a trajectory of one checkpoint, and as the engine's decoder.

    Parameters
    ----------
    model
        A causal language model of transformers, or a `cntbench.models.decoder.Decoder`. It is not
        changed. Of the first its config and its tensors are read; its own forward pass, hooks
        included, has to give the same logits of a few tokens.
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
    Parity or None
        How well the two agree; None of a decoder.

    Raises
    ------
    CheckpointError
        If the model is no such thing, of an architecture that is not supported, not in memory,
        quantised, or not finite; or the tokenizer is none. A `ParityError` if its forward pass does
        anything but what config and tensors say.
    """
    what = type(model).__name__
    held = None
    if isinstance(model, Decoder):
        shape, known = Shape(model.components, model.vocabulary, model.context), ""
        made = model if model.dtype == dtype else converted(model, dtype)
    else:
        shape, known, made, held = _read(model, what, dtype)
    trajectory = Trajectory(
        identity=f"memory:{what}",
        shape=shape,
        checkpoints=(Checkpoint(NAME, 0, known, Memory(what)),),
        tokenizer=None if tokenizer is None else TokenizerObject.of(tokenizer),
        initialisable=False,
    )
    return trajectory, made, held


def _read(model: Any, what: str, dtype: torch.dtype) -> tuple[Shape, str, Decoder, Parity]:
    """Return a model's sizes, the hash of its tensors, its decoder, and how well they agree."""
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
    shape = shape_of(config, what)
    tensors = _tensors(model, what)
    check_finite(tensors, where=what)
    exact = wide(dtype)
    floats = {name: t.to(exact) if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        with foreign("config and tensors do not fit each other", what):
            made: Decoder = architecture.decoder(config, Tensors(floats, what))
    except CheckpointError as error:
        raise CheckpointError(error.what, where=what, hint=error.hint or USUAL) from None
    own = parity.own_logits(model, parity.probe(made), floats, exact, where=what)
    held = parity.compare(NAME, own, made, where=what, hint=USUAL)
    return shape, revision(tensors), made if dtype == exact else converted(made, dtype), held


def _tensors(model: Any, what: str) -> dict[str, Tensor]:
    """Return a model's tensors on the CPU, those that are tied to others once."""
    tensors: dict[str, Tensor] = model.state_dict()
    unusual = [name for name, value in tensors.items() if type(value) not in (Tensor, Parameter)]
    unusual += [name for name, value in model.named_parameters() if value.dtype not in PLAIN]
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
    # What the config ties need not be tied any more: the head may have been replaced.
    tied = {
        name
        for name, source in ties.items()
        if name in tensors and source in tensors and torch.equal(tensors[name], tensors[source])
    }
    return {name: tensor for name, tensor in tensors.items() if name not in tied}
