"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864).

Frequencies are those of transformers, whose functions compute them for all non-default types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cntbench.errors import CheckpointError, nearest
from cntbench.models.products import wide, widened

#: Types whose angles depend on the position only, not on the length of the prompt.
TYPES = ("default", "linear", "llama3", "yarn")
#: Suffixes of the buffers of angles that older programs saved; they follow from the config.
ROTARY_BUFFERS = tuple(f"rotary_emb.{name}" for name in ("inv_freq", "cos_cached", "sin_cached"))


def check_rotary(config: Any, types: Sequence[str] = TYPES) -> None:
    """Raise a `CheckpointError` if the type of rotary embedding is not one of those supported."""
    for parameters in rotary_parameters(config).values():
        kind = parameters["rope_type"]
        if kind not in types:
            raise CheckpointError(
                f"rotary embedding of type {kind!r} is not supported", hint=nearest(kind, types)
            )


def rotary_parameters(config: Any) -> dict[str | None, dict[str, Any]]:
    """Return the parameters of rotary embeddings by type of layer; one for all has None."""
    parameters = config.rope_parameters
    nested = {key: value for key, value in parameters.items() if isinstance(value, dict)}
    return nested or {None: parameters}


class Rotary:
    """Rotates the first dims of queries and keys by angles that depend on the position.

    The model rotates dims i and i + n/2 of the first n together. Here these pairs are adjacent,
    which changes no inner product of queries with keys, so that a rotation is one product of
    complex numbers; the other dims are rotated by 0.

    Parameters
    ----------
    config
        A config with ``rope_parameters`` that `check_rotary` accepts.
    width
        Width of a head.
    rotated
        Number of its dims that are rotated.
    like
        Any weight of the model: cosines and sines are rounded to its type, or to single precision
        if it is narrower.
    layer_type
        The type of layer, if the config has parameters for each.
    """

    def __init__(
        self, config: Any, width: int, rotated: int, like: Tensor, layer_type: str | None = None
    ) -> None:
        self.width = width
        parameters = rotary_parameters(config)[layer_type]
        if parameters["rope_type"] == "default":
            exponent = torch.arange(0, rotated, 2, dtype=torch.int64).float() / rotated
            frequency, length = 1.0 / parameters["rope_theta"] ** exponent, 1.0
        else:
            compute = ROPE_INIT_FUNCTIONS[parameters["rope_type"]]
            options = {} if layer_type is None else {"layer_type": layer_type}
            frequency, length = compute(config, device=None, **options)
        self.pairs = len(frequency)
        angle = torch.outer(torch.arange(config.max_position_embeddings).float(), frequency)
        still = (0, (width + 1) // 2 - self.pairs)
        # As real numbers, rounded to the model's type, as transformers does.
        kind = like.new_empty(0, dtype=wide(like.dtype))
        cosine = F.pad((angle.cos() * length).to(kind), still, value=1.0)
        sine = F.pad((angle.sin() * length).to(kind), still)
        #: Dims ``position, pair``.
        self.turn = torch.view_as_complex(torch.stack([cosine, sine], dim=-1))

    def arranged(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the rows of one map to queries, keys and values, with pairs adjacent.

        Takes the rows of each, dims ``head, width, …``.
        """
        parts = self.paired(query), self.paired(key), value
        together = torch.cat([part.flatten(0, 1) for part in parts])
        # A view as complex numbers needs an even number of real ones.
        return torch.cat([together, value.new_zeros((len(together) % 2, *value.shape[2:]))])

    def paired(self, rows: Tensor) -> Tensor:
        """Make heads' pairs adjacent, dims ``head, width, …``; an odd width is padded."""
        first = torch.arange(self.pairs, device=rows.device)
        unpaired = torch.arange(2 * self.pairs, self.width, device=rows.device)
        order = torch.cat([torch.stack([first, first + self.pairs], dim=1).flatten(), unpaired])
        missing = rows.new_zeros((len(rows), self.width % 2, *rows.shape[2:]))
        return torch.cat([rows[:, order], missing], dim=1)

    def __call__(self, vectors: Tensor, positions: Tensor | None) -> None:
        """Rotate vectors, dims ``run, prompt, position, component, width``, in place.

        Takes their positions, dims ``prompt, position``; None for all positions.
        """
        turn = self.turn[: vectors.shape[-3]] if positions is None else self.turn[positions]
        turn = turn.unsqueeze(-2).expand(*turn.shape[:-1], vectors.shape[-2], -1).contiguous()
        pairs = widened(vectors)
        torch.view_as_complex(pairs.unflatten(-1, (-1, 2))).mul_(turn)
        if pairs is not vectors:  # there is no complex type that narrow
            vectors.copy_(pairs)


class InterleavedRotary(Rotary):
    """The same where the model rotates dims 2 i and 2 i + 1 together: pairs are adjacent."""

    def paired(self, rows: Tensor) -> Tensor:
        """Return the rows, dims ``head, width, …``; an odd width is padded."""
        missing = rows.new_zeros((len(rows), self.width % 2, *rows.shape[2:]))
        return torch.cat([rows, missing], dim=1)
