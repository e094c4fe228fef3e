"""Changes of targets at single positions, summed over prompts and draws as they are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.engine.arrays import Array, target_change
from cntbench.prompts import Tokens


class PositionSums:
    """Sums of changes, dims ``ablation, source, target, position``.

    Parameters
    ----------
    ablations
        The ablations, each with all its draws.
    components, positions
        Their numbers.
    """

    def __init__(self, ablations: Sequence[Ablation], components: int, positions: int) -> None:
        self.ablations = ablations
        self.total = np.zeros((len(ablations), components, components, positions))
        names = [(draw.name, i) for i, a in enumerate(ablations) for draw in a.each_draw]
        self._index = dict(names)

    def add(
        self,
        ablation: Ablation,
        sources: Sequence[int],
        nodes: range,
        clean: Tensor,
        ablated: Tensor,
    ) -> None:
        """Add the changes of a block's targets, in one run for each source.

        ``clean`` and ``ablated`` are as in `cntbench.engine.arrays.target_change`.
        """
        count = clean.shape[1]
        changes = [
            target_change(ablation.measure, clean[:, at : at + 1], ablated[:, :, at : at + 1])
            for at in range(count)
        ]
        sums = np.stack([change.sum(axis=-1) for change in changes], axis=-1)
        self.total[self._index[ablation.name], sources, nodes.start : nodes.stop, :count] += sums

    def means(self, influence: Array, prompts_at: Tokens) -> Array:
        """Return means over draws and prompts; NaN where the influence is.

        Parameters
        ----------
        influence
            Dims ``ablation, source, target``.
        prompts_at
            Number of prompts that have each position, dims ``position``.
        """
        draws = np.array([ablation.draws for ablation in self.ablations])
        with np.errstate(invalid="ignore"):  # no prompt has a position: 0 / 0
            means = self.total / (draws[:, None, None, None] * prompts_at)
        observed = np.array([ablation.observable == "target" for ablation in self.ablations])
        means[np.isnan(influence) | ~observed[:, None, None]] = np.nan
        return means
