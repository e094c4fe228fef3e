"""Workloads: a model's shape, prompts, ablations and readouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GPTNeoXConfig

from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, resample, zero
from cntbench.engine.influence import Ablation
from cntbench.models.adapters import adapter
from cntbench.models.decoder import Decoder
from cntbench.prompts import Language, Prompts, generate
from cntbench.prompts.generators import repeated_block

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, GPT-NeoX unless a subclass overrides it."""

    layers: int
    heads: int
    hidden: int
    mlp: int
    vocabulary: int
    rotary: float = 0.25

    @property
    def products(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's maps."""
        hidden = self.hidden
        return [(hidden, 3 * hidden), (hidden, hidden), (hidden, self.mlp), (self.mlp, hidden)]

    def config(self) -> PreTrainedConfig:
        """Return the model's config."""
        return GPTNeoXConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.mlp,
            max_position_embeddings=2048,
            rotary_pct=self.rotary,
            bos_token_id=None,
            eos_token_id=None,
        )

    def tensors(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """Return random weights of standard deviation 0.08, with perturbed biases and norms."""
        normal = _normal(seed)
        tensors = {
            "gpt_neox.embed_in.weight": normal(self.vocabulary, self.hidden),
            "gpt_neox.final_layer_norm.weight": normal(self.hidden, mean=1.0),
            "gpt_neox.final_layer_norm.bias": normal(self.hidden),
            "embed_out.weight": normal(self.vocabulary, self.hidden),
        }
        maps = {
            "attention.query_key_value": (3 * self.hidden, self.hidden),
            "attention.dense": (self.hidden, self.hidden),
            "mlp.dense_h_to_4h": (self.mlp, self.hidden),
            "mlp.dense_4h_to_h": (self.hidden, self.mlp),
        }
        for layer in range(self.layers):
            prefix = f"gpt_neox.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{prefix}{norm}.weight"] = normal(self.hidden, mean=1.0)
                tensors[f"{prefix}{norm}.bias"] = normal(self.hidden)
            for name, size in maps.items():
                tensors[f"{prefix}{name}.weight"] = normal(*size)
                tensors[f"{prefix}{name}.bias"] = normal(size[0])
        return tensors


@dataclass(frozen=True)
class LlamaShape(Shape):
    """Sizes of a Llama model with tied embeddings."""

    key_heads: int = 1

    @property
    def products(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's maps."""
        hidden, mlp = self.hidden, self.mlp
        outputs = hidden + 2 * hidden // self.heads * self.key_heads
        return [(hidden, outputs), (hidden, hidden), (hidden, mlp), (hidden, mlp), (mlp, hidden)]

    def config(self) -> PreTrainedConfig:
        """Return the model's config."""
        from transformers import LlamaConfig  # it imports SymPy, which other shapes do without

        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            intermediate_size=self.mlp,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )

    def tensors(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """Return random weights of standard deviation 0.04, with perturbed norms."""
        normal = _normal(seed)
        keys = self.hidden // self.heads * self.key_heads
        tensors = {
            "model.embed_tokens.weight": normal(self.vocabulary, self.hidden, std=0.04),
            "model.norm.weight": normal(self.hidden, mean=1.0),
        }
        maps = {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (keys, self.hidden),
            "self_attn.v_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.mlp, self.hidden),
            "mlp.up_proj": (self.mlp, self.hidden),
            "mlp.down_proj": (self.hidden, self.mlp),
        }
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{prefix}{norm}.weight"] = normal(self.hidden, mean=1.0)
            for name, size in maps.items():
                tensors[f"{prefix}{name}.weight"] = normal(*size, std=0.04)
        return tensors


def _normal(seed: int) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int, mean: float = 0.0, std: float = 0.08) -> torch.Tensor:
        return torch.empty(size).normal_(mean, std, generator=generator)

    return normal


NANO = Shape(3, 4, 64, 256, 32)
PYTHIA_14M = Shape(6, 4, 128, 512, 50304)
PYTHIA_160M = Shape(12, 12, 768, 3072, 50304)
SMOLLM2_135M = LlamaShape(30, 9, 576, 1536, 49152, key_heads=3)


_RESAMPLE = resample.Parameters(donor="reference")
_ON_TARGETS = {"measure": relative_l2.measure}
_ON_READOUT: dict[str, Any] = {"scope": "direct", "observable": "readout"}

#: Ablations of workloads; changes of targets are measured by the relative L2 norm.
METHODS: Mapping[str, Ablation] = {
    "zero": Ablation("", zero.Parameters(), **_ON_TARGETS),
    "mean": Ablation("", mean.Parameters(population="reference", over=("prompt",)), **_ON_TARGETS),
    "resample": Ablation("", _RESAMPLE, **_ON_TARGETS),
    "zero, direct": Ablation("", zero.Parameters(), scope="direct", **_ON_TARGETS),
    "resample, readout edges": Ablation("", _RESAMPLE, **_ON_READOUT),
    "resample, eap": Ablation("", _RESAMPLE, estimator="eap", **_ON_READOUT),
}


@dataclass(frozen=True)
class Workload:
    """One call of the engine: a model, prompts that repeat a random block, ablations, readouts."""

    shape: Shape
    prompts: int
    block: int
    ablations: tuple[str, ...] = ("zero",)
    effects: tuple[str, ...] = ("logit_difference",)
    observe_all: bool = False
    seed: int = field(default=0, repr=False)

    def but(self, **changes: Any) -> Workload:
        """Return the workload with changes."""
        return replace(self, **changes)

    def make_prompts(self) -> Prompts:
        """Return the prompts: a block of random tokens twice, scored on the second half."""
        language = Language(np.arange(self.shape.vocabulary))
        generator = repeated_block.Parameters(block=self.block)
        return generate(
            generator.make, language, n_prompts=self.prompts, seed=self.seed, stream="benchmark"
        )

    def make_ablations(self) -> list[Ablation]:
        """Return the ablations, total effects by default: see `METHODS`."""
        return [replace(METHODS[name], name=name) for name in self.ablations]


#: The workload of the speed targets: Pythia-14M's shape, 64 prompts of 25 random tokens twice.
W = Workload(PYTHIA_14M, prompts=64, block=25)
W_CROSS_ENTROPY = Workload(
    PYTHIA_14M, prompts=64, block=25, effects=("cross_entropy", "logit_difference")
)
#: Targets at all positions, not only at the scored second half.
W_EVERYWHERE = W.but(observe_all=True)
#: One task of one checkpoint of the default study.
N = Workload(NANO, prompts=32, block=16, ablations=("zero", "mean", "resample"))
L = Workload(PYTHIA_160M, prompts=8, block=25)
#: 300 components, grouped-query attention and SwiGLU.
S = Workload(SMOLLM2_135M, prompts=4, block=25)

#: Small enough to race in seconds.
TINY = Workload(NANO, prompts=4, block=8)

WORKLOADS: Mapping[str, Workload] = {
    "tiny": TINY,
    "W": W,
    "W-cross-entropy": W_CROSS_ENTROPY,
    "W-everywhere": W_EVERYWHERE,
    "nano": N,
    "160M": L,
    "SmolLM2-135M": S,
}


@cache
def weights(shape: Shape) -> dict[str, torch.Tensor]:
    """Return a shape's random weights, which all contenders share."""
    return shape.tensors()


@cache
def decoder(shape: Shape) -> Decoder:
    """Return the decoder of a shape."""
    config = shape.config()
    decoder: Decoder = adapter(config.model_type).decoder(config, weights(shape))
    return decoder
