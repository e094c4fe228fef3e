"""What a call of the engine computes: layer-tokens where blocks run, FLOPs where operators do."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from cntbench.influence import influence
from cntbench.models.blocks import MLP, Attention


def _in_place(into, left, right, **_):
    return 2 * left[0] * left[1] * right[1]


def counted(*arguments: object, **options: object) -> tuple[int, int, int]:
    """Call the engine; returns attention tokens, MLP tokens and FLOPs of matrix products.

    Those of attention's own two products are among them only if it runs on the MATH backend.
    """
    tokens = {Attention: 0, MLP: 0}

    def counting(block: type) -> object:
        compute: Callable[..., torch.Tensor] = block.states

        def states(self, normed, *rest):
            tokens[block] += normed.shape[:-1].numel()
            return compute(self, normed, *rest)

        return patch.object(block, "states", states)

    # torch counts addmm, and leaves out its in-place form.
    flops = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _in_place})
    # inference_mode hides composite operators from the counter; the engine's numbers stay.
    call = influence.__wrapped__
    with torch.no_grad(), counting(Attention), counting(MLP), flops:
        call(*arguments, **options)
    return tokens[Attention], tokens[MLP], flops.get_total_flops()
