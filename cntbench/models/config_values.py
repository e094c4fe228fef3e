"""Whether the numbers of a config can be those of a model, before anything is made of them."""

from __future__ import annotations

import math
from typing import Any

from cntbench.errors import CheckpointError

#: Largest sizes, by what transformers calls them in every architecture: an order of magnitude above
#: those of published models, and small enough that tables of that length can be had.
LARGEST = {
    "num_hidden_layers": 10_000,
    "num_attention_heads": 10_000,
    "num_key_value_heads": 10_000,
    "hidden_size": 2**20,
    "head_dim": 2**16,
    "intermediate_size": 2**24,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**22,
}
#: Most heads and MLPs together: a result holds the square of their number.
MOST_COMPONENTS = 100_000
#: Sizes that may be left out: they follow from others.
_OPTIONAL = ("num_key_value_heads", "head_dim", "intermediate_size")
_EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")


def check_values(config: Any) -> None:
    """Raise a `CheckpointError` that names a key whose value no model can have.

    Takes a config of transformers; what an architecture does not have is passed over.
    """
    value: Any
    for name, most in LARGEST.items():
        value = getattr(config, name, None)
        if value is None and (name in _OPTIONAL or not hasattr(config, name)):
            continue
        if not _is_whole(value) or not 1 <= value <= most:
            raise _refused(config, name, value, f"a whole number from 1 to {most}")
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if layers * (heads + 1) > MOST_COMPONENTS:
        raise CheckpointError(
            f"{layers} layers of {heads} heads are too many components",
            hint=f"Allowed: {MOST_COMPONENTS} heads and MLPs together.",
        )
    for name in _EPSILONS:
        value = getattr(config, name, 0.0)
        if not _is_number(value) or not 0 <= value < math.inf:
            raise _refused(config, name, value, "a number from 0 on")
    rotary = getattr(config, "rope_parameters", None) or {}
    if not isinstance(rotary, dict):
        raise _refused(config, "rope_parameters", rotary, "a table")
    base, share = rotary.get("rope_theta", 1.0), rotary.get("partial_rotary_factor", 1.0)
    if not _is_number(base) or not 0 < base < math.inf:
        raise _refused(config, "rope_parameters.rope_theta", base, "a number above 0")
    if not _is_number(share) or not 0 < share <= 1:
        raise _refused(
            config, "rope_parameters.partial_rotary_factor", share, "a number above 0, up to 1"
        )


def beginning(config: Any) -> int | None:
    """Return the token that begins every text, None if the config names none that there is."""
    token = config.bos_token_id
    return token if _is_whole(token) and 0 <= token < config.vocab_size else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(config: Any, name: str, value: object, allowed: str) -> CheckpointError:
    key = getattr(config, "attribute_map", {}).get(name, name)
    said = repr(value)
    return CheckpointError(
        f"{key} = {said if len(said) <= 60 else f'{said[:60]} …'} is not allowed",
        hint=f"Allowed: {allowed}.",
    )
