"""What is known of a model without its weights: its config, and from that its sizes.

Configs of the Pythia models come with cntbench (``pythia.toml``), so that nothing has to be asked
for; of any other model there is the config.
"""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cntbench.models.architectures import adapter
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign

TABLE = Path(__file__).with_name("pythia.toml")
_PREFIX = "EleutherAI/pythia-"


@dataclass(frozen=True)
class Outline:
    """A model without weights.

    Parameters
    ----------
    config
        Of transformers.
    mask_bytes
        What a checkpoint's file holds beside parameters [bytes].
    """

    config: Any
    mask_bytes: int = 0

    @cached_property
    def _skeleton(self) -> Any:
        problem = "transformers makes no model of it"
        with foreign(problem, self.config.name_or_path), torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                copy.deepcopy(self.config), dtype=torch.float32, trust_remote_code=False
            )

    @property
    def parameters(self) -> int:
        """Number of parameters; what is tied counts once."""
        return sum(parameter.numel() for parameter in self._skeleton.parameters())

    @property
    def stored_type(self) -> torch.dtype:
        """Floating-point type of the stored weights, as the config says; else float32."""
        found = getattr(self.config, "dtype", None)
        return found if isinstance(found, torch.dtype) else torch.float32

    @property
    def stored_bytes(self) -> int:
        """Size of a checkpoint's weights on disk, as the config has it [bytes]."""
        return self.parameters * self.stored_type.itemsize + self.mask_bytes

    def decoder(self, dtype: torch.dtype) -> Decoder:
        """Return the decoder on torch's meta device: shapes, but no numbers and no memory."""
        tensors = {name: value.to(dtype) for name, value in self._skeleton.state_dict().items()}
        with foreign("is not a model config", self.config.name_or_path):
            made: Decoder = adapter(self.config.model_type).decoder(self.config, tensors)
            return made


def shipped(repository: str) -> Outline | None:
    """Return the outline of a model whose config comes with cntbench, None of any other."""
    return pythia().get(repository)


@cache
def pythia() -> dict[str, Outline]:
    """Return the outlines of the Pythia models by their repositories, by rising size."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    stored = table["stored"]
    dtype = {2: torch.float16, 4: torch.float32}[stored["bytes_per_parameter"]]
    found = {}
    for name, sizes in table["models"].items():
        deduped = sizes.pop("deduped", False)
        config = AutoConfig.for_model(**{**table["common"], "dtype": dtype, **sizes})
        masks = config.num_hidden_layers * stored["bytes_per_layer"]
        for suffix in ("", "-deduped") if deduped else ("",):
            found[f"{_PREFIX}{name}{suffix}"] = Outline(config, masks)
    return found
