"""Whether a decoder computes what the model does, by their logits of a few tokens.

Rounding is no difference: how much of one it makes is seen from the decoder itself, whose embedding
is changed by a little more than rounding does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

from cntbench.errors import CheckpointError, ParityError
from cntbench.models import gguf_files
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import explained, transformers_lock
from cntbench.models.products import wide

#: Tokens of a prompt, at most; there are two.
LENGTH = 16
TRANSFORMERS = version("transformers")
#: What rounding may do, relative to the largest logit, in single precision.
RELATIVE = 2.0**-15
#: And as a multiple of the resolution of a narrower type.
_NARROW = 16.0


@dataclass(frozen=True)
class Parity:
    """How far a decoder's logits lie from the model's own.

    Parameters
    ----------
    checkpoint
        Of which the logits are.
    difference
        The largest one, without its sign; None if there is nothing to compare with.
    scale
        The largest logit, without its sign.
    transformers
        Version of the library that computed the model's own.
    problem
        Why there is nothing to compare with; else empty.
    """

    checkpoint: str
    difference: float | None
    scale: float | None
    transformers: str = TRANSFORMERS
    problem: str = ""

    def to_json(self) -> str:
        """Return it as it stands in a result."""
        return json.dumps({key: value for key, value in asdict(self).items() if value != ""})


def probe(decoder: Decoder) -> Tensor:
    """Return two prompts, the first and the last token of the vocabulary among them."""
    length = min(LENGTH, decoder.context)
    spread = torch.arange(2 * length) * (decoder.vocabulary - 1) // (2 * length - 1)
    return torch.stack([spread[::2], spread[1::2].flip(0)])


@torch.no_grad()
def compare(name: str, expected: Tensor, decoder: Decoder, *, where: str, hint: str) -> Parity:
    """Hold a decoder to the logits that the model itself gives for the `probe`.

    Parameters
    ----------
    name
        The checkpoint's.
    expected
        The model's own logits, dims ``prompt, position, token``, in the type that they were
        computed in.
    decoder
        In single precision at least.
    where, hint
        Of the error.

    Raises
    ------
    ParityError
        If they differ by more than rounding does.
    """
    resolution = torch.finfo(expected.dtype).eps
    expected = expected.double()
    if not expected.isfinite().all():
        return Parity(name, None, None, problem="the model's own logits are not finite")
    relative = max(RELATIVE, _NARROW * resolution)
    tokens = probe(decoder)
    found = decoder.logits(tokens).double()
    if found.shape != expected.shape:
        raise ParityError(
            f"cntbench computes logits of {found.shape[-1]} tokens, and the model itself of "
            f"{expected.shape[-1]}",
            where=where,
            hint=hint,
        )
    moved = _moved(decoder, relative).logits(tokens).double()
    difference, rounding = ((one - found).abs().max().item() for one in (expected, moved))
    scale = expected.abs().max().item()
    if not difference <= relative * scale + rounding:  # nor if it is undefined
        raise ParityError(
            f"logits that cntbench computes differ by up to {difference:.2g} from the model's own, "
            f"of which the largest is {scale:.2g}",
            where=where,
            hint=hint,
        )
    return Parity(name, float(f"{difference:.1e}"), float(f"{scale:.1e}"))


def of_folder(name: str, folder: Path, decoder: Decoder) -> Parity:
    """Hold a decoder, in single precision at least, to what transformers loads from a folder.

    Raises
    ------
    ParityError
        If their logits differ by more than rounding does.
    """
    try:
        expected = _loaded_logits(folder, probe(decoder), decoder.dtype)
    except Exception as error:  # whatever transformers does not expect, and cntbench reads
        return Parity(name, None, None, problem=f"transformers fails: {explained(error)}")
    hint = (
        "No number of this model would be right, so none is measured. Try another version of "
        f"transformers than {TRANSFORMERS}, or report it with the checkpoint's config.json."
    )
    return compare(name, expected, decoder, where=str(folder), hint=hint)


@torch.no_grad()
def _loaded_logits(folder: Path, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the logits of the model that transformers loads; it is gone when they are there."""
    packed = gguf_files.find(folder)
    with transformers_lock, silent(), torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            generation_config=GenerationConfig(),  # the checkpoint's is not looked at
            **({"gguf_file": packed.name} if packed else {}),
        )
        logits: Tensor = model(tokens, use_cache=False, return_dict=True).logits
    return logits


@contextmanager
def silent() -> Iterator[None]:
    """Keep transformers from reporting what it loads."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        # GGUF has a bar that cannot be turned off.
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _moved(decoder: Decoder, relative: float) -> Decoder:
    """Return a decoder whose embedding is changed, every second number up and the others down."""

    def embed(tokens: Tensor) -> Tensor:
        stream = decoder.embed(tokens)
        stream[..., ::2] *= 1 + relative
        stream[..., 1::2] *= 1 - relative
        return stream

    return replace(decoder, embed=embed)


def own_logits(
    model: Any, tokens: Tensor, tensors: Mapping[str, Tensor], dtype: torch.dtype, *, where: str
) -> Tensor:
    """Return a model's own logits, computed with its weights in a wider type if that can be.

    The model is left as it is, in training or not, and so are torch's random numbers.

    Parameters
    ----------
    model
        Of transformers.
    tokens
        Dims ``prompt, position``.
    tensors
        Those of its weights that are in the wider type on the CPU anyway.
    dtype
        The wider type.
    where
        The model, for errors.

    Raises
    ------
    CheckpointError
        If it gives none.
    """
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    wider = {
        name: tensors[name] if name in tensors else _widened(value, dtype)
        for name, value in named.items()
    }
    wider |= _angles(model, named, dtype)
    given = {"use_cache": False, "return_dict": True}
    with _at_rest(model):
        try:
            found = functional_call(model, wider, (tokens,), given)
        except Exception:  # some modules compute in one type alone, or on one device
            try:
                found = model(tokens.to(model.device), **given)
            except Exception as error:
                raise CheckpointError(
                    f"the model's own forward pass fails on a few tokens: {explained(error)}",
                    where=where,
                    hint="What is measured has to run by itself: model(input_ids).logits.",
                ) from None
    logits: Tensor = found.logits.detach().cpu()
    return logits


def _widened(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype)


def _angles(model: Any, named: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the frequencies of rotary embeddings as they are before they are rounded.

    ``model.half()`` rounds them too, which is no other model; what is no rounding of them is left.
    """
    found = {}
    for prefix, module in model.named_modules():
        name = f"{prefix}.inv_freq"
        if name not in named or named[name].dtype == wide(named[name].dtype):
            continue
        try:
            exact: Tensor = type(module)(model.config).inv_freq
        except Exception:  # a user's own module, made in another way
            continue
        if torch.equal(exact.to(named[name].dtype), named[name].cpu()):
            found[name] = exact.to(wide(exact.dtype))
    return found


@contextmanager
def _at_rest(model: Any) -> Iterator[None]:
    """Have a model in evaluation, by its flags alone: ``eval()`` merges some adapters' weights."""
    training = {module: module.training for module in model.modules()}
    on_gpu = [model.device] if model.device.type == "cuda" else []
    try:
        for module in training:
            module.training = False
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=on_gpu),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        for module, flag in training.items():
            module.training = flag
