"""Random models of every architecture, and random prompts, for tests."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from cntbench.models.adapters import adapter
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompt, Prompts, batch
from support.families import FAMILIES, family_config, precise

#: Architectures, each with what it has and others have not; see `random_model`.
ARCHITECTURES = ("gpt_neox", "gpt_neox, sequential", "gpt2", "llama", "mistral", "qwen2")


def random_model(
    architecture: str,
    *,
    layers: int = 2,
    heads: int = 2,
    key_heads: int | None = None,
    width: int = 8,
    mlp: int = 24,
    vocabulary: int = 17,
    rotary: float = 0.5,
    context: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: object,
) -> PreTrainedModel:
    """A model whose every parameter, norms and biases too, is random.

    ``options`` are further ones of the transformers config. Sizes that an architecture does not
    have do not count: ``key_heads`` but in Llama's family, where heads share one key each two by
    two if it is not given, ``rotary`` but in GPT-NeoX.
    """
    name, _, sequential = architecture.partition(", ")
    shared = {"vocab_size": vocabulary, "eos_token_id": None}
    options = {"bos_token_id": None, **options}
    sizes = {
        "hidden_size": heads * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": mlp,
        "max_position_embeddings": context,
    }
    config: PreTrainedConfig
    if name == "gpt2":
        sizes = {"n_embd": heads * width, "n_layer": layers, "n_head": heads, "n_inner": mlp}
        config = GPT2Config(**sizes, n_positions=context, **shared, **options)
    elif name == "gpt_neox":
        parallel = {"use_parallel_residual": not sequential, "rotary_pct": rotary}
        config = GPTNeoXConfig(**sizes, **shared, **(parallel | options))
    elif name in FAMILIES:
        sizes["num_key_value_heads"] = key_heads or (heads if heads % 2 else heads // 2)
        sizes |= {"head_dim": width, **shared}
        config = family_config(name, sizes, options)
    else:
        family = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config}
        sizes["num_key_value_heads"] = key_heads or (heads if heads % 2 else heads // 2)
        config = family[name](**sizes, **shared, **options)
    return randomised(config, seed=seed, dtype=dtype)


def randomised(
    config: PreTrainedConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A model of a config, every parameter random."""
    implementation = {"attn_implementation": config._attn_implementation}
    model = AutoModelForCausalLM.from_config(
        config, **{k: v for k, v in implementation.items() if v}
    )
    # The other implementations want single precision and aligned sizes.
    model.config._experts_implementation = "eager"
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))
            is_scale &= not config.model_type.startswith("gemma")  # which add 1 themselves
            parameter.copy_(1 + 0.2 * noise if is_scale else 0.4 * noise)
    return precise(model.to(dtype).eval())


def random_gpt_neox(*, parallel: bool = True, **options: object) -> PreTrainedModel:
    """A random GPT-NeoX model."""
    return random_model("gpt_neox" if parallel else "gpt_neox, sequential", **options)


def decoder(model: PreTrainedModel) -> Decoder:
    """The engine's view of a model."""
    return adapter(model.config.model_type).decoder(model.config, model.state_dict())


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


def ragged_prompts(
    *, count: int = 4, longest: int = 9, vocabulary: int = 17, seed: int = 0
) -> Prompts:
    """Prompts of random tokens, lengths and scored positions."""
    rng = np.random.default_rng(seed)

    def prompt(length):
        scored = np.sort(rng.permutation(length)[: rng.integers(1, length + 1)])
        clean, twin, targets, decoys = (
            rng.integers(0, vocabulary, size) for size in (length, length, *2 * (len(scored),))
        )
        return Prompt(clean, scored, targets, decoys, twin)

    return batch([prompt(length) for length in rng.integers(1, longest + 1, count)])
