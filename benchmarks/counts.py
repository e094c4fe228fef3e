"""Exact counts of the engine's work: they depend on the code, not on the machine.

Layer-tokens are counted when blocks compute states; matrix-product FLOPs and bytes when operators
are dispatched. FLOPs are those of `torch.utils.flop_counter`, without the two products inside
attention, which CPUs fuse. Bytes are the sizes of all new tensors that operators return, a measure
of memory traffic.

    python -m benchmarks.counts            # rewrite benchmarks/counts.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.workloads import NANO, PYTHIA_14M, PYTHIA_160M, SMOLLM2_135M, Workload, decoder
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention
from cntbench.models.feed_forward import MLP
from cntbench.models.products import fused_is_available

FILE = Path(__file__).parent / "counts.json"
_N = Workload(NANO, prompts=4, block=16)
_P = Workload(PYTHIA_14M, prompts=2, block=8)

#: Workloads small enough to count in seconds; counts scale with the number of prompts.
COUNTED: Mapping[str, Workload] = {
    "nano, zero": _N,
    "nano, mean": _N.but(ablations=("mean",)),
    "nano, resample": _N.but(ablations=("resample",)),
    "nano, three ablations": _N.but(ablations=("zero", "mean", "resample")),
    "nano, all positions": _N.but(observe_all=True),
    "nano, cross-entropy": _N.but(effects=("cross_entropy",)),
    "nano, accuracy": _N.but(effects=("accuracy",)),
    "nano, direct": _N.but(ablations=("zero, direct",)),
    "nano, readout edges": _N.but(ablations=("resample, readout edges",)),
    "nano, eap": _N.but(ablations=("resample, eap",)),
    "Pythia-14M, logit difference": _P,
    "Pythia-14M, cross-entropy": _P.but(effects=("cross_entropy",)),
    "Pythia-160M, logit difference": Workload(PYTHIA_160M, prompts=1, block=4),
    "SmolLM2-135M, first 3 layers": Workload(replace(SMOLLM2_135M, layers=3), prompts=1, block=4),
}


class _Bytes(TorchDispatchMode):
    """Sums the bytes of the new tensors that operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {
            tensor.untyped_storage().data_ptr()
            for tensor in [*args, *(kwargs or {}).values()]
            if _is_counted(tensor)
        }
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if _is_counted(tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in inputs:
                    self.total += storage.nbytes()
        return result


def _is_counted(value: Any) -> bool:
    """Return whether a value is a tensor, and no weight in oneDNN's order, made once for all."""
    return isinstance(value, torch.Tensor) and not value.is_mkldnn


def _fused(rows: Any, weight: Any, *_: Any, **__: Any) -> int:
    return int(2 * math.prod(rows) * weight[0])


def count(workload: Workload) -> dict[str, int]:
    """Count the work of one call of the engine."""
    model, prompts = decoder(workload.shape), workload.make_prompts()
    tokens = {Attention: 0, MLP: 0}

    def counting(block: type) -> Any:
        compute = block.states

        def states(self: Any, normed: torch.Tensor, *rest: Any) -> torch.Tensor:
            tokens[block] += normed.shape[:-1].numel()
            return compute(self, normed, *rest)

        return patch.object(block, "states", states)

    # inference_mode hides composite operators from the counters; no_grad gives the same results.
    call = influence.__wrapped__  # type: ignore[attr-defined]
    # What is made once for a process must not count: the check of the operator, and constants.
    fused_is_available()
    for stage in model.stages:
        stage.norm(torch.zeros(model.hidden))
    # Torch does not count operators without a public name.
    flops = FlopCounterMode(
        display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _fused}
    )
    size = _Bytes()
    with torch.no_grad(), counting(Attention), counting(MLP), flops, size:
        call(
            Request(
                model,
                prompts,
                workload.make_ablations(),
                effects=workload.effects,
                observe_all=workload.observe_all,
            )
        )
    return {
        "attention_tokens": tokens[Attention],
        "mlp_tokens": tokens[MLP],
        "flops": flops.get_total_flops(),
        "bytes": size.total,
    }


def recorded() -> dict[str, dict[str, int]]:
    """Return the counts in the repository, which the engine must not exceed."""
    counts: dict[str, dict[str, int]] = json.loads(FILE.read_text())
    return counts


if __name__ == "__main__":
    counts = {name: count(workload) for name, workload in COUNTED.items()}
    FILE.write_text(json.dumps(counts, indent=2) + "\n")
    print(FILE.read_text())
