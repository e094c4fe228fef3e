"""Random models and prompts for tests."""

from __future__ import annotations

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from cntbench.models.adapters import gpt_neox
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts


def random_gpt_neox(
    *,
    layers: int = 2,
    heads: int = 2,
    width: int = 8,
    mlp: int = 24,
    vocabulary: int = 17,
    parallel: bool = True,
    rotary: float = 0.5,
    context: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: object,
) -> GPTNeoXForCausalLM:
    """A GPT-NeoX model whose every parameter, norms and biases too, is random.

    ``options`` are further ones of the transformers config.
    """
    options = {"bos_token_id": None, **options}
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=heads * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        max_position_embeddings=context,
        use_parallel_residual=parallel,
        rotary_pct=rotary,
        eos_token_id=None,
        **options,
    )
    model = GPTNeoXForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = name.endswith("norm.weight")
            parameter.copy_(1 + 0.2 * noise if is_scale else 0.4 * noise)
    return model.to(dtype).eval()


def decoder(model: GPTNeoXForCausalLM) -> Decoder:
    """The engine's view of a model."""
    return gpt_neox.decoder(model.config, model.state_dict())


def random_prompts(
    *, count: int = 3, length: int = 7, scored: int = 3, vocabulary: int = 17, seed: int = 0
) -> Prompts:
    """Prompts of random tokens, scored at random positions."""
    rng = np.random.default_rng(seed)

    def tokens(size):
        return rng.integers(0, vocabulary, (count, size))

    clean = tokens(length)
    return Prompts(
        index=np.arange(count),
        tokens=clean,
        reference=tokens(length),
        other=np.roll(clean, -1, axis=0),
        scored=np.stack([np.sort(rng.permutation(length)[:scored]) for _ in range(count)]),
        targets=tokens(scored),
        decoys=tokens(scored),
    )
