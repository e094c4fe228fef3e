"""What is known of a model without its weights: its config, and the sizes that follow from it.

The configs of the Pythia models come with cntbench (``pythia.toml``), so that none of them has to
be downloaded.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cntbench.models.adapters import adapter
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign, made

TABLE = Path(__file__).with_name("pythia.toml")
_PREFIX = "EleutherAI/pythia-"


@dataclass(frozen=True)
class Outline:
    """A model without weights, by its config in transformers.

    ``mask_bytes`` is the size of what a checkpoint's file holds besides parameters [bytes].
    """

    config: Any
    mask_bytes: int = 0

    @cached_property
    def _skeleton(self) -> Any:
        problem = "transformers cannot make the model"
        where = self.config.name_or_path
        with made(), foreign(problem, where), torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                copy.deepcopy(self.config), dtype=torch.float32, trust_remote_code=False
            )

    @property
    def parameters(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self._skeleton.parameters())

    @property
    def stored_type(self) -> torch.dtype:
        """Floating-point type of the stored weights by the config, else float32."""
        dtype = getattr(self.config, "dtype", None)
        return dtype if isinstance(dtype, torch.dtype) else torch.float32

    @property
    def stored_bytes(self) -> int:
        """Size of a checkpoint's weights on disk by the config [bytes]."""
        return self.parameters * self.stored_type.itemsize + self.mask_bytes

    def decoder(self, dtype: torch.dtype) -> Decoder:
        """Return the decoder on torch's meta device, where tensors have shapes but no memory."""
        tensors = {name: value.to(dtype) for name, value in self._skeleton.state_dict().items()}
        with foreign("is not a model config", self.config.name_or_path):
            decoder: Decoder = adapter(self.config.model_type).decoder(self.config, tensors)
            return decoder


@dataclass(frozen=True)
class Parameters:
    """The parameters of the model that transformers makes from a config: their shapes by name.

    ``tied`` has the parameter that a tied one equals, by the name of the tied one; ``prefix`` is
    that of the names of the base model, without its dot.
    """

    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str]
    prefix: str

    @cached_property
    def modules(self) -> frozenset[str]:
        """Modules that have parameters: children of the base model, and the head."""
        return frozenset(self.module(name) for name in self.shapes)

    def module(self, name: str) -> str:
        """Return the module that a named parameter belongs to."""
        return ".".join(name.split(".")[: 2 if self.is_of_base(name) else 1])

    def is_of_base(self, name: str) -> bool:
        """Return whether a name is one of the base model."""
        return name.startswith(f"{self.prefix}.")


#: Parameters by config; all checkpoints of a trajectory share one config.
_PARAMETERS: dict[str, Parameters] = {}


def parameters(config: Any) -> Parameters:
    """Return the parameters that a config implies."""
    text = config.to_json_string(use_diff=False)
    known = _PARAMETERS.get(text)
    if known is not None:
        return known
    skeleton = Outline(config)._skeleton
    shapes = {name: tuple(value.shape) for name, value in skeleton.state_dict().items()}
    tied = dict(skeleton.all_tied_weights_keys)
    return _PARAMETERS.setdefault(text, Parameters(shapes, tied, skeleton.base_model_prefix))


@cache
def pythia() -> dict[str, Outline]:
    """Return the outlines of the Pythia models by repository, in order of size."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    stored = table["stored"]
    dtype = {2: torch.float16, 4: torch.float32}[stored["bytes_per_parameter"]]
    outlines = {}
    for name, sizes in table["models"].items():
        deduped = sizes.pop("deduped", False)
        config = AutoConfig.for_model(**{**table["common"], "dtype": dtype, **sizes})
        masks = config.num_hidden_layers * stored["bytes_per_layer"]
        for suffix in ("", "-deduped") if deduped else ("",):
            outlines[f"{_PREFIX}{name}{suffix}"] = Outline(config, masks)
    return outlines
