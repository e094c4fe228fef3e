"""Peers: libraries for interventions, which compute all logits.

They run the same loop as the plain hooks (`benchmarks.opponents.hooks`: one forward pass per
source, all prompts in one batch) on the same weights. ``pip install '.[peers]'`` installs them; a
peer that is not installed is left out.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from benchmarks.opponents import Hooked, Unembedding, transformer
from benchmarks.workloads import Shape


class TransformerLens(Hooked):
    """TransformerLens's bridge: hooks by name, ``hook_z`` and ``hook_mlp_out``."""

    def attach(self) -> None:
        """Wrap the model."""
        from transformer_lens.model_bridge import TransformerBridge

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            self.model.config.save_pretrained(folder)  # the bridge reads the config from a folder
            self.bridge = TransformerBridge.boot_transformers(folder, hf_model=self.model)
        self.names: dict[str, Callable[..., Tensor | None]] = {}
        for layer in range(len(self.layers)):
            heads, mlp = partial(self._on_z, layer), partial(self._on_output, layer)
            self.names |= {f"blocks.{layer}.attn.hook_z": heads}
            self.names |= {f"blocks.{layer}.hook_mlp_out": mlp}

    def _on_z(self, layer: int, z: Tensor, hook: Any) -> Tensor | None:
        by_head = z if z.ndim == 4 else z.unflatten(-1, (self.heads, -1))
        new = self.see_heads(layer, by_head)
        return None if new is None else new.reshape(z.shape)

    def _on_output(self, layer: int, output: Tensor, hook: Any) -> Tensor | None:
        return self.see_mlp(layer, output)

    def run(self, tokens: Tensor, unembedding: Unembedding) -> Tensor:
        """Run the model; returns all logits."""
        self.seen = {}
        return self.bridge.run_with_hooks(tokens, fwd_hooks=list(self.names.items()))


class Nnsight(Hooked):
    """nnsight: a trace of the model that sets inputs and outputs of its modules."""

    def attach(self) -> None:
        """Wrap the model."""
        from nnsight import NNsight

        self.traced = NNsight(self.model)

    def run(self, tokens: Tensor, unembedding: Unembedding) -> Tensor:
        """Run the model; returns all logits."""
        self.seen = {}
        heads, see_heads, see_mlp = self.heads, self.see_heads, self.see_mlp
        model, layers = self.traced, self.traced.gpt_neox.layers
        with model.trace(tokens, use_cache=False):
            for index in range(len(layers)):
                dense = layers[index].attention.dense
                z = see_heads(index, dense.input.unflatten(-1, (heads, -1)))
                if z is not None:
                    dense.input = z.flatten(-2)
                output = see_mlp(index, layers[index].mlp.output)
                if output is not None:
                    layers[index].mlp.output = output
            logits = model.output.logits.save()
        return logits  # noqa: RET504 - a trace cannot be returned from


PEERS: Mapping[str, type[Hooked]] = {"transformer-lens": TransformerLens, "nnsight": Nnsight}


def missing(name: str) -> str | None:
    """Return the reason why a peer cannot take part, if there is one."""
    if find_spec(name.replace("-", "_")) is None:
        return f"{name} is not installed: pip install '.[peers]'"
    return None


@cache
def peer(name: str, shape: Shape) -> Hooked:
    """Return a peer with its own model and the weights that all contenders share."""
    return PEERS[name](transformer.__wrapped__(shape))
