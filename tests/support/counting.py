"""What a call of the engine computes: layer-tokens where blocks run, FLOPs where operators do."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention
from cntbench.models.feed_forward import MLP
from cntbench.models.products import fused_is_available


def _fused(rows, weight, *_, **__):
    return 2 * math.prod(rows) * weight[0]


#: Methods of blocks that count, and the tokens that they compute.
COUNTED: dict[str, Callable[..., int]] = {
    "states": lambda block, normed, *_: normed.shape[:-1].numel(),
    "derivative": lambda block, normed, change: change.shape[:-1].numel(),
    # All heads read the stream of each, if they depend on each other.
    "own_parts": lambda block, normed, *_: normed.shape[not block.joint : -1].numel(),
}


def counted(request: Request) -> tuple[int, int, int]:
    """Measure a request; returns attention tokens, MLP tokens and FLOPs of matrix products.

    Those of attention's own two products are among them only if it runs on the MATH backend.
    """
    tokens = {Attention: 0, MLP: 0}

    def counting(block: type) -> object:
        stack = ExitStack()
        for name, of in COUNTED.items():
            if hasattr(block, name):
                compute: Callable[..., object] = getattr(block, name)

                def method(self, *given, compute=compute, of=of):
                    tokens[block] += of(self, *given)
                    return compute(self, *given)

                stack.enter_context(patch.object(block, name, method))
        return stack

    fused_is_available()  # finding out is a product too: not among those that count
    # torch counts no operators without a public name.
    flops = FlopCounterMode(
        display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _fused}
    )
    # inference_mode hides composite operators from the counter; the engine's numbers stay.
    call = influence.__wrapped__
    with torch.no_grad(), counting(Attention), counting(MLP), flops:
        call(request)
    return tokens[Attention], tokens[MLP], flops.get_total_flops()
