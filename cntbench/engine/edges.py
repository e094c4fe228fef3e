"""Effects of single edges: on targets, and on the readout; chunk by chunk, in one pass for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cntbench.engine.ablation import Ablation, donors
from cntbench.engine.attribution import estimate_edges
from cntbench.engine.chunking import chunking
from cntbench.engine.departures import Departures, depart, rules
from cntbench.engine.direct import change_readouts, change_targets
from cntbench.engine.patching import patch_edges
from cntbench.engine.positions import Positions
from cntbench.engine.sweep import Array
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts
from cntbench.replacements._base import Corpus, Spread
from cntbench.specs import READOUTS, Readout


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
            np.full((ablations, len(READOUTS), components, prompts), np.nan),
        )

    def of(self, prompts: slice) -> Effects:
        """Return the effects on some prompts, as views."""
        return Effects(
            self.change[..., prompts], self.edge[..., prompts], self.effect[..., prompts]
        )


def measure_edges(
    model: Decoder,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    spreads: Mapping[Corpus, Sequence[Spread]],
    constants: Mapping[int, Sequence[Tensor]],
    *,
    sources: range,
    observe_all: bool,
    effects: Sequence[Readout],
    seed: int,
    memory_budget: int,
) -> Effects:
    """Measure all ablations of direct scope; they share the clean run and replaced states.

    Parameters
    ----------
    model, prompts, ablations
        What to measure.
    spreads
        Statistics of every block's states over the corpora that replacements ask for.
    constants
        Fitted constants of every block, by the number of fitting steps.
    sources, observe_all, effects, seed, memory_budget
        As in `cntbench.engine.influence.influence`.
    """
    count = len(prompts)
    found = Effects.undefined(len(ablations), len(model.components), count)
    distinct, rule = rules(ablations)
    sizes = chunking(
        model,
        sources=len(sources),
        n_prompts=count,
        length=prompts.tokens.shape[1],
        base=len(donors(ablations)),
        ablations=len(distinct),
        populations=len(spreads),
        memory_budget=memory_budget,
        tiled=False,
    )
    for start in range(0, count, sizes.prompts):
        rows = slice(start, min(start + sizes.prompts, count))
        here = prompts.take(rows)
        for first in range(0, len(sources), sizes.sources):
            some = sources[first : first + sizes.sources]
            departures = depart(model, here, distinct, spreads, constants, some, seed=seed)
            _measure(model, departures, here, ablations, rule, observe_all, effects, found.of(rows))
    return found


def _measure(
    model: Decoder,
    departures: Departures,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    rule: Sequence[int],
    observe_all: bool,
    effects: Sequence[Readout],
    found: Effects,
) -> None:
    at = None if observe_all else Positions.scored(prompts, departures.changes.device)
    for i, (ablation, taken) in enumerate(zip(ablations, rule, strict=True)):
        if effects:
            change_readouts(model, departures, prompts, taken, effects, found.effect[i])
        if ablation.observable == "target":
            change_targets(model, departures, ablation, taken, at, found.change[i])
        elif ablation.estimator == "exact":
            patch_edges(model, departures, prompts, ablation, taken, effects[0], found.edge[i])
        else:
            estimate_edges(model, departures, prompts, ablation, taken, effects[0], found.edge[i])
