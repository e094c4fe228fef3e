"""Changes of targets at single positions, summed over prompts and draws as they are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.engine.arrays import Array, measured_change
from cntbench.prompts import Tokens


def changes_at_positions(
    measure: Callable[[Tensor, Tensor], Tensor] | None, clean: Tensor, ablated: Tensor
) -> Tensor:
    """Return the changes of targets at each position, summed over prompts, on the device.

    Takes arguments as `cntbench.engine.arrays.measured_change`; returns dims ``run, component,
    position``.
    """
    changes = [
        measured_change(measure, clean[:, at : at + 1], ablated[:, :, at : at + 1])
        for at in range(clean.shape[1])
    ]
    return torch.stack([change.sum(dim=-1) for change in changes], dim=-1)


class PositionSums:
    """Sums of changes over all draws of ablations, dims ``ablation, source, target, position``."""

    def __init__(self, ablations: Sequence[Ablation], components: int, positions: int) -> None:
        self.ablations = ablations
        self.total = np.zeros((len(ablations), components, components, positions))
        names = [(draw.name, i) for i, a in enumerate(ablations) for draw in a.each_draw]
        self._index = dict(names)

    def add(
        self, ablations: Sequence[Ablation], sources: Sequence[int], nodes: range, sums: Array
    ) -> None:
        """Add what `changes_at_positions` returns for a block's targets.

        Takes the ablation and the source of each run.
        """
        targets, count = slice(nodes.start, nodes.stop), sums.shape[-1]
        for ablation, source, changes in zip(ablations, sources, sums, strict=True):
            self.total[self._index[ablation.name], source, targets, :count] += changes

    def means(self, influence: Array, prompts_at: Tokens) -> Array:
        """Return means over draws and prompts; NaN where the influence is.

        Takes the influence, dims ``ablation, source, target``, and the number of prompts that have
        each position.
        """
        draws = np.array([ablation.draws for ablation in self.ablations])
        with np.errstate(invalid="ignore"):  # no prompt has a position: 0 / 0
            means = self.total / (draws[:, None, None, None] * prompts_at)
        observed = np.array([ablation.observable == "target" for ablation in self.ablations])
        means[np.isnan(influence) | ~observed[:, None, None]] = np.nan
        return means
