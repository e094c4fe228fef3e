"""Models of every architecture, drawn at random by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from transformers import PreTrainedModel

from support.models import ARCHITECTURES, random_model

#: Heads of Llama's family, and how many keys they share.
SHARING = [(2, 1), (1, 1), (3, 3), (4, 2), (3, 1)]
SIZES = {
    "layers": st.integers(1, 3),
    "heads": st.integers(1, 3),
    "width": st.integers(2, 9),
    "mlp": st.integers(1, 20),
    "vocabulary": st.integers(2, 30),
}


@st.composite
def models(
    draw: st.DrawFn,
    *,
    dtype: torch.dtype = torch.float64,
    architectures: tuple[str, ...] = ARCHITECTURES,
    sharing: Sequence[tuple[int, int]] = SHARING,
    **sizes: st.SearchStrategy[int],
) -> PreTrainedModel:
    """A random model; ``sizes`` stand in place of `SIZES`, as ``sharing`` of `SHARING`."""
    architecture = draw(st.sampled_from(architectures), label="architecture")
    chosen: dict[str, object] = {
        name: draw(size, label=name) for name, size in (SIZES | sizes).items()
    }
    width = int(str(chosen["width"]))
    if architecture.startswith("gpt_neox"):
        # Two dims at least are rotated in every model that transformers can run.
        half = 0.5 if width % 4 == 0 else 1 - width % 2 / width
        chosen["rotary"] = draw(st.sampled_from([2 / width, half]))
    elif architecture == "gpt2":
        chosen["scale_attn_by_inverse_layer_idx"] = draw(st.booleans())
    else:
        chosen["width"] = width + width % 2
        chosen["heads"], chosen["key_heads"] = draw(st.sampled_from(sharing), label="sharing")
        if architecture == "llama":
            chosen["attention_bias"] = chosen["mlp_bias"] = draw(st.booleans())
    return random_model(architecture, **chosen, seed=draw(st.integers(0, 2**16)), dtype=dtype)
