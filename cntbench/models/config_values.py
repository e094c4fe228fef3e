"""Checks of the numbers in a model config, before a model is made from it."""

from __future__ import annotations

import math
from typing import Any

from cntbench.errors import CheckpointError

#: Largest sizes, by the names that transformers uses for every architecture: an order of magnitude
#: above those of published models, and small enough to allocate tables of that length.
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
#: Largest number of heads and MLPs together: a result holds the square of it.
MOST_COMPONENTS = 100_000
#: Sizes that may be missing because they follow from others.
_OPTIONAL = ("num_key_value_heads", "head_dim", "intermediate_size")
_EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")


def check_values(config: Any) -> None:
    """Raise a `CheckpointError` for the first key whose value no model can have.

    Takes a config of transformers; keys that an architecture does not have are ignored.
    """
    value: Any
    for name, most in LARGEST.items():
        value = getattr(config, name, None)
        if value is None and (name in _OPTIONAL or not hasattr(config, name)):
            continue
        least = 0 if name == "intermediate_size" else 1  # attention-only models
        if not _is_whole(value) or not least <= value <= most:
            raise _refused(config, name, value, f"a whole number from {least} to {most}")
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if layers * (heads + 1) > MOST_COMPONENTS:
        raise CheckpointError(
            f"{layers} layers of {heads} heads are too many components",
            hint=f"Allowed: {MOST_COMPONENTS} heads and MLPs together.",
        )
    for name in _EPSILONS:
        value = getattr(config, name, 0.0)
        if not _is_number(value) or not 0 <= value < math.inf:
            raise _refused(config, name, value, "a number, 0 or more")
    rotary = getattr(config, "rope_parameters", None) or {}
    if not isinstance(rotary, dict):
        raise _refused(config, "rope_parameters", rotary, "a table")
    by_layer = {f".{key}": value for key, value in rotary.items() if isinstance(value, dict)}
    for key, angles in (by_layer or {"": rotary}).items():
        base, share = angles.get("rope_theta", 1.0), angles.get("partial_rotary_factor", 1.0)
        path = f"rope_parameters{key}"
        if not _is_number(base) or not 0 < base < math.inf:
            raise _refused(config, f"{path}.rope_theta", base, "a number above 0")
        if not _is_number(share) or not 0 < share <= 1:
            allowed = "a number above 0, up to 1"
            raise _refused(config, f"{path}.partial_rotary_factor", share, allowed)
    window = getattr(config, "sliding_window", None)
    if window is not None and not (_is_whole(window) and window >= 1):
        raise _refused(config, "sliding_window", window, "a whole number, 1 or more")


def beginning(config: Any) -> int | None:
    """Return the token at the beginning of every text, or None if the config names no valid one."""
    token = config.bos_token_id
    return token if _is_whole(token) and 0 <= token < config.vocab_size else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(config: Any, name: str, value: object, allowed: str) -> CheckpointError:
    key = getattr(config, "attribute_map", {}).get(name, name)
    text = repr(value)
    return CheckpointError(
        f"{key} = {text if len(text) <= 60 else f'{text[:60]} …'} is not allowed",
        hint=f"Allowed: {allowed}.",
    )
