"""Whether a decoder computes what its model does, judged by their logits for a few tokens.

Rounding does not count as a difference. Its size is estimated with the decoder itself, by changing
its embedding a little more than rounding does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import AutoModelForCausalLM, GenerationConfig

from cntbench.errors import CheckpointError, ParityError
from cntbench.models import gguf_files
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import explained, made, silenced
from cntbench.models.products import wide

#: Largest length of the two prompts [tokens].
LENGTH = 16
TRANSFORMERS = version("transformers")
#: Tolerated difference, relative to the largest logit, in single precision.
RELATIVE = 2.0**-15
#: Tolerated relative difference in a narrower type, as a multiple of its resolution.
_NARROW = 16.0
#: Endings of the names of buffers that follow from the config alone: frequencies and angles, and
#: the factor of Gemma's embedding.
_FACTOR = "embed_scale"
_CONSTANTS = ("inv_freq", "embed_positions", _FACTOR)
#: Types to which conversions of a model round them.
_NARROW_TYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Parity:
    """How much a decoder's logits differ from the model's own.

    Parameters
    ----------
    checkpoint
        Name of the checkpoint.
    difference
        Largest absolute difference; None if the model's own logits are not available.
    scale
        Largest absolute logit.
    transformers
        Version of the library that computed the model's own logits.
    problem
        Why the model's own logits are not available, or empty.
    """

    checkpoint: str
    difference: float | None
    scale: float | None
    transformers: str = TRANSFORMERS
    problem: str = ""

    def to_json(self) -> str:
        """Return the JSON that a result stores."""
        return json.dumps({key: value for key, value in asdict(self).items() if value != ""})


def probe(decoder: Decoder) -> Tensor:
    """Return two prompts, which include the first and the last token of the vocabulary."""
    length = min(LENGTH, decoder.context)
    spread = torch.arange(2 * length) * (decoder.vocabulary - 1) // (2 * length - 1)
    return torch.stack([spread[::2], spread[1::2].flip(0)])


@torch.no_grad()
def compare(name: str, expected: Tensor, decoder: Decoder, *, where: str, hint: str) -> Parity:
    """Compare a decoder with the model's own logits for the `probe`.

    Takes the logits, dims ``prompt, position, token``, in the type that they were computed in, and
    a decoder in single precision at least. Raises a `ParityError` if they differ by more than
    rounding.
    """
    resolution = torch.finfo(expected.dtype).eps
    expected = expected.double()
    if not expected.isfinite().all():
        return Parity(name, None, None, problem="the model's own logits are not finite")
    relative = max(RELATIVE, _NARROW * resolution)
    tokens = probe(decoder)
    logits = decoder.logits(tokens).double()
    if logits.shape != expected.shape:
        raise ParityError(
            f"cntbench computes logits for {logits.shape[-1]} tokens, the model itself for "
            f"{expected.shape[-1]}",
            where=where,
            hint=hint,
        )
    moved = _moved(decoder, relative).logits(tokens).double()
    difference, rounding = ((other - logits).abs().max().item() for other in (expected, moved))
    scale = expected.abs().max().item()
    if not difference <= relative * scale + rounding:  # also if it is NaN
        raise ParityError(
            f"logits computed by cntbench differ by up to {difference:.2g} from the model's own, "
            f"the largest of which is {scale:.2g}",
            where=where,
            hint=hint,
        )
    return Parity(name, float(f"{difference:.1e}"), float(f"{scale:.1e}"))


def of_folder(name: str, folder: Path, decoder: Decoder) -> Parity:
    """Compare a decoder with the model that transformers loads from a folder.

    The decoder is in single precision at least. Raises a `ParityError` if their logits differ by
    more than rounding.
    """
    try:
        expected = _loaded_logits(folder, probe(decoder), decoder.dtype)
    except Exception as error:  # transformers may fail on files that cntbench can read
        return Parity(name, None, None, problem=f"transformers fails: {explained(error)}")
    hint = (
        "Results of this model would be wrong, so it is not measured. Try another version of "
        f"transformers than {TRANSFORMERS}, or report this with the checkpoint's config.json."
    )
    return compare(name, expected, decoder, where=str(folder), hint=hint)


@torch.no_grad()
def _loaded_logits(folder: Path, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the logits of the model that transformers loads, without keeping the model."""
    packed = gguf_files.find(folder)
    with made(), silenced(), torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            generation_config=GenerationConfig(),  # ignore the checkpoint's
            **({"gguf_file": packed.name} if packed else {}),
        )
        # Other ways to compute experts do not know every type.
        model.config._experts_implementation = "eager"
        logits: Tensor = model(tokens, use_cache=False, return_dict=True).logits
    return logits


def _moved(decoder: Decoder, relative: float) -> Decoder:
    """Return a decoder with every second number of its embedding raised, the others lowered."""

    def embed(tokens: Tensor) -> Tensor:
        stream = decoder.embed(tokens)
        stream[..., ::2] *= 1 + relative
        stream[..., 1::2] *= 1 - relative
        return stream

    return replace(decoder, embed=embed)


def own_logits(
    model: Any, tokens: Tensor, tensors: Mapping[str, Tensor], dtype: torch.dtype, *, where: str
) -> Tensor:
    """Return a model's own logits, computed with its weights in a wider type if possible.

    The model and torch's random numbers are left unchanged. Takes tokens, dims ``prompt,
    position``, and the weights that are already in the wider type on the CPU. Raises a
    `CheckpointError` if its forward pass fails.
    """
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    wider = {
        name: tensors[name] if name in tensors else _widened(value, dtype)
        for name, value in named.items()
    }
    wider |= _constants(model)
    options = {"use_cache": False, "return_dict": True}
    with _at_rest(model):
        try:
            output = functional_call(model, wider, (tokens,), options)
        except Exception:  # some modules compute in one type or on one device only
            try:
                output = model(tokens.to(model.device), **options)
            except Exception as error:
                raise CheckpointError(
                    f"the model's own forward pass fails on a few tokens: {explained(error)}",
                    where=where,
                    hint="The model has to run by itself: model(input_ids).logits.",
                ) from None
    logits: Tensor = output.logits.detach().cpu()
    return logits


def _widened(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype)


def _constants(model: Any) -> dict[str, Tensor]:
    """Return the buffers that follow from the config before they were rounded.

    ``model.half()`` rounds them too, which does not make a different model, nor does
    ``model.float()`` after it. Buffers that differ by more than rounding are left out.
    """
    constants = {}
    for prefix, module in model.named_modules():
        for buffer, value in module.named_buffers(recurse=False):
            if not buffer.endswith(_CONSTANTS):
                continue
            try:
                exact = _exact(module, buffer, model.config)
            except Exception:  # a user's own module, with other arguments
                continue
            own = value.cpu().to(exact.dtype)
            if any(torch.equal(exact.to(kind).to(exact.dtype), own) for kind in _NARROW_TYPES):
                constants[f"{prefix}.{buffer}"] = exact.to(wide(exact.dtype))
    return constants


def _exact(module: Any, buffer: str, config: Any) -> Tensor:
    """Return a module's buffer as its class computes it."""
    if buffer == _FACTOR:
        return torch.tensor(module.scalar_embed_scale)
    exact: Tensor = getattr(type(module)(config), buffer)
    return exact


@contextmanager
def _at_rest(model: Any) -> Iterator[None]:
    """Set a model's evaluation flags without ``eval()``, which merges some adapters' weights."""
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
