"""Effects of single edges: on targets, and on the readout; chunk by chunk, in one pass for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cntbench.ablations.ablation import Ablation, rules
from cntbench.engine.arrays import Array
from cntbench.engine.attribution import estimate_edges
from cntbench.engine.chunking import chunking, pieces
from cntbench.engine.departures import Perturbations, depart
from cntbench.engine.direct import change_readouts, change_targets
from cntbench.engine.patching import patch_edges
from cntbench.engine.positions import Positions
from cntbench.engine.replacing import Statistics
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts


@dataclass(frozen=True)
class Effects:
    """What some ablations change, prompt by prompt.

    Parameters
    ----------
    change
        Changes of targets, dims ``ablation, source, target, prompt``; NaN where the readout is
        observed.
    edge
        Changes of the readout, the same dims; NaN where targets are observed.
    effect
        Changes of readouts, dims ``ablation, readout, source, prompt``; with direct scope, over the
        edge to the unembedding.
    """

    change: Array
    edge: Array
    effect: Array

    @classmethod
    def undefined(cls, ablations: int, components: int, prompts: int) -> Effects:
        """Return effects that wait to be measured: NaN."""
        edges = (ablations, components, components, prompts)
        return cls(
            np.full(edges, np.nan),
            np.full(edges, np.nan),
            np.full((ablations, len(known_readouts()), components, prompts), np.nan),
        )

    def of(self, ablation: int, prompts: slice) -> Effects:
        """Return the effects of one ablation on some prompts, as views."""
        return Effects(
            self.change[ablation, ..., prompts],
            self.edge[ablation, ..., prompts],
            self.effect[ablation, ..., prompts],
        )


def measure_edges(request: Request, statistics: Statistics) -> Effects:
    """Measure all ablations of direct scope; they share the clean run and replaced states.

    Parameters
    ----------
    request
        What to measure.
    statistics
        What replacement rules take from all prompts.
    """
    ablations, n = request.of_scope("direct"), len(request.model.components)
    measured = Effects.undefined(len(ablations), n, len(request.prompts))
    distinct, rule = rules(ablations)
    for rows, part in pieces(request, chunking(request, "direct")):
        departures = depart(part, distinct, statistics)
        device = departures.changes.device
        at = (
            Positions.everywhere(part.prompts, device)
            if request.observe_all
            else Positions.scored(part.prompts, device)
        )
        for i, ablation in enumerate(ablations):
            _measure(part, departures, ablation, rule[i], at, measured.of(i, rows))
    return measured


def _measure(
    request: Request,
    departures: Perturbations,
    ablation: Ablation,
    rule: int,
    at: Positions | None,
    measured: Effects,
) -> None:
    if request.effects:
        change_readouts(request, departures, rule, measured.effect)
    if ablation.observable == "target":
        change_targets(request, departures, ablation, rule, at, measured.change)
    elif ablation.estimator == "exact":
        patch_edges(request, departures, ablation, rule, measured.edge)
    else:
        estimate_edges(request, departures, ablation, rule, measured.edge)
