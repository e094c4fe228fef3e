"""What a call of the engine computes: layer-tokens where blocks run, FLOPs where operators do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention
from cntbench.models.feed_forward import MLP
from cntbench.models.products import fused_is_available


class _Flops(TorchDispatchMode):
    """Adds up products; torch's `FlopCounterMode` tries to take each other operator apart, too."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.mkldnn._linear_pointwise.default:  # torch has no formula for it
            self.total += 2 * args[0].numel() * len(args[1])
        elif formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


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
    # inference_mode hides composite operators from the counter; the engine's numbers stay.
    call = influence.__wrapped__
    with torch.no_grad(), counting(Attention), counting(MLP), _Flops() as flops:
        call(request)
    return tokens[Attention], tokens[MLP], flops.total
