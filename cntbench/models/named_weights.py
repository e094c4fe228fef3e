"""Which tensors of a checkpoint its model uses, checked against the config.

Files hold more than weights: masks and angles that older programs saved, heads for other purposes.
A model uses the parameters that transformers creates for its config. They may be stored under an
older name, without the prefix of the causal model (as a base model saves them), and only once for
two that are tied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cntbench.errors import CheckpointError, in_file, listed
from cntbench.models.adapters import adapter
from cntbench.models.outline import Parameters, parameters

#: Supported types of stored weights.
TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
#: Wrappers that prefix the names of a model's tensors, and how to save without them.
WRAPPERS = {
    "_orig_mod": "torch.compile: save model._orig_mod",
    "module": "DataParallel or DistributedDataParallel: save model.module",
    "_fsdp_wrapped_module": "FSDP: save its full state_dict",
    "_checkpoint_wrapped_module": "checkpoint_wrapper: save the model without it",
}
#: Suffixes of the tensors that unpack a quantised weight.
_QUANTISED = (
    *(".qweight", ".qzeros", ".g_idx", ".scales", ".weight_scale", ".weight_scale_inv", ".SCB"),
    *(".weight.absmax", ".weight.quant_map"),
)
#: Largest number of tensors named in an error.
_NAMED = 3
_PLAIN = "Allowed: float32, float16, bfloat16 or float64 weights, unpacked if they were quantised."


@dataclass(frozen=True)
class Weights:
    """The tensors that a checkpoint's model uses, by their names in the file and in transformers.

    Of two tied ones that are stored once, ``named`` has the embedding's. ``unused`` are names of
    tensors that are neither used nor known as buffers.
    """

    stored: Mapping[str, Tensor]
    named: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()

    @cached_property
    def revision(self) -> str:
        """The identity of the weights: `revision` of the used tensors."""
        return revision(self.stored)


def revision(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the names, types, shapes and bytes of stored tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raise a `CheckpointError` that names the first tensor with non-finite numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        lowest, highest = tensor.aminmax()  # NaN if any number is, and fast
        if not (lowest.isfinite() and highest.isfinite()):
            raise CheckpointError(f"tensor {name!r} has non-finite numbers", where=where)


def select(config: Any, tensors: Mapping[str, Tensor], *, where: str) -> Weights:
    """Select the tensors that a model of a config uses, from all tensors of a checkpoint's files.

    Raises a `CheckpointError` if a tensor is missing or its shape differs from the config's; if
    weights are quantised, prefixed by a wrapper, or left over, so that the model would differ from
    the saved one.
    """
    expected, files = parameters(config), adapter(config.model_type)
    if hasattr(files, "merged"):
        with in_file(where):
            tensors = files.merged(tensors)
    renamed: Mapping[str, str] = getattr(files, "RENAMED", {})
    names = {_full_name(name, expected, renamed): name for name in tensors}
    used = {full: names[full] for full in expected.shapes if full in names}
    for tied, source in expected.tied.items():
        if source not in used and tied in used:
            used[source] = used.pop(tied)
    missing = [full for full in expected.shapes if {full, expected.tied.get(full)}.isdisjoint(used)]
    surplus_names = sorted(set(tensors) - set(used.values()))
    buffers = tuple(f".{ending}" for ending in getattr(files, "BUFFERS", ()))
    unused = [name for name in surplus_names if not f".{name}".endswith(buffers)]
    if missing:
        raise _missing(missing, unused, expected, where)
    for full, name in used.items():
        _check(name, tensors[name], expected.shapes[full], where)
    surplus = [
        name
        for name in unused
        if tensors[name].is_floating_point()
        and expected.module(_full_name(name, expected, renamed)) in expected.modules
    ]
    if surplus:
        raise CheckpointError(
            f"has weights that a model of its config does not have: {_listed(surplus)}",
            where=where,
            hint="Without them it would be a different model. Use the config.json that was saved "
            "with the weights.",
        )
    stored = {name: tensors[name] for name in used.values()}
    return Weights(
        stored=stored,
        named={full: tensors[name] for full, name in used.items()},
        unused=tuple(unused),
    )


def _full_name(name: str, expected: Parameters, renamed: Mapping[str, str]) -> str:
    """Return the name of a stored tensor in transformers."""
    head, dot, rest = name.partition(".")
    if head in renamed:
        return renamed[head] + dot + rest
    prefixed = f"{expected.prefix}.{name}"
    return prefixed if expected.module(prefixed) in expected.modules else name


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], where: str) -> None:
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype not in TYPES:
        raise CheckpointError(
            f"tensor {name!r} has the type {kind}: quantised weights are not supported",
            where=where,
            hint=_PLAIN,
        )
    if tensor.layout is not torch.strided or tensor.is_meta:
        raise CheckpointError(f"tensor {name!r} has no numbers or is sparse", where=where)
    if tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"tensor {name!r} has the shape {tuple(tensor.shape)}, but the config implies {shape}",
            where=where,
            hint="Use the config.json that was saved with the weights.",
        )


def _missing(
    missing: list[str], unused: list[str], expected: Parameters, where: str
) -> CheckpointError:
    """Return the error for missing parameters, with the likely reason."""
    for wrapper, remedy in WRAPPERS.items():
        wrapped = [name for name in unused if wrapper in name.split(".")]
        plain = {".".join(part for part in n.split(".") if part not in WRAPPERS) for n in wrapped}
        if plain & ({*missing} | {full.removeprefix(f"{expected.prefix}.") for full in missing}):
            return CheckpointError(
                f"tensors are named with {wrapper + '.'!r}: {_listed(wrapped)}",
                where=where,
                hint=f"The prefix comes from {remedy}. Or save the tensors again without it.",
            )
    quantised = [name for name in unused if name.endswith(_QUANTISED)]
    if quantised:
        return CheckpointError(
            f"quantised weights are not supported: {_listed(quantised)}", where=where, hint=_PLAIN
        )
    message = f"has no tensor {missing[0]!r}"
    inner = [name.removesuffix(missing[0]) for name in unused if name.endswith(f".{missing[0]}")]
    if inner:
        return CheckpointError(
            f"{message}; tensors are named with the prefix {inner[0]!r}",
            where=where,
            hint="Save them again without it.",
        )
    hint = f"The model does not use {_listed(unused)}." if unused else None
    if not expected.is_of_base(missing[0]):
        hint = "This is a base model, without the map to logits. Save the causal language model."
    return CheckpointError(message, where=where, hint=hint)


def _listed(names: Sequence[str]) -> str:
    return listed([*map(repr, names)], _NAMED)
