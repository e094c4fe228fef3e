"""Direct effects: the effect of a source on a target over the one edge between them.

The target k of stage t reads the clean stream with the source's contribution swapped for its
replacement, everything else clean, through the real LayerNorm and the real attention:

    c_k(x_t)  →  c_k(x_t + δ_s).

Queries, keys and values all see the change, at all positions, unless the ablation names only some
of them. This is path patching of the single edge (Goldowsky-Dill et al. 2023, arXiv 2304.05969;
Wang et al. 2022, arXiv 2211.00593). The unembedding is a target like the others: it gives the
direct effect on the readouts, x_end → x_end + δ_s through the final LayerNorm.

All sources pass through a target's stage in one batch; each costs one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from cntbench.engine.arrays import Array, Arrivals, measured_change, to_array
from cntbench.engine.attribution import Edges
from cntbench.engine.position_sums import changes_at_positions
from cntbench.engine.positions import Positions, states_at
from cntbench.engine.readouts import Answers, readout
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts


def change_targets(edges: Edges, change: Array) -> None:
    """Measure the direct effects on targets.

    Fills ``change``, dims ``source, target, prompt``.
    """
    request, ablation, measure = edges.request, edges.ablation, edges.ablation.measure
    at, arrivals = edges.observed, Arrivals(edges.changes.device)
    for index, (stage, places, nodes_of_stage) in enumerate(request.model.walk):
        sources = edges.reaching(nodes_of_stage)
        watched = [place for place in places if request.watched(place.nodes)]
        if not (sources and watched):
            continue
        normed = stage.norm(edges.perturbations.runs(index, edges.changes[: len(sources)]))
        for block, _, nodes in watched:
            image = block.image(states_at(block, normed, at, ablation.through))
            cells = list(sources), slice(nodes.start, nodes.stop)
            change_here = measured_change(measure, image[0], image[1:])
            arrivals.add(change_here, partial(change.__setitem__, cells))
            if request.sums is not None:
                add = partial(request.sums.add, [ablation] * len(sources), list(sources), nodes)
                arrivals.add(changes_at_positions(measure, image[0], image[1:]), add)
    arrivals.bring()


def change_readouts(
    request: Request, clean: Tensor, sources: Sequence[int], changes: Tensor, effect: Array
) -> None:
    """Measure the effect of changes of the final stream on the readouts.

    Takes the final stream of the clean run, dims ``prompt, position, hidden``, and its changes,
    ``source`` first. Fills ``effect``, dims ``readout, source, prompt``: ablated minus clean.
    """
    at = Positions.scored(request.prompts, clean.device)
    final = at.choose(clean[None])
    streams = torch.cat([final, final + at.choose(changes)])
    for name, change in read_changes(request, streams, request.effects).items():
        effect[known_readouts().index(name), list(sources)] = to_array(change)


def read_changes(request: Request, streams: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return readouts minus those of run 0, dims ``run, prompt``, without run 0.

    Takes final streams at the scored positions, dims ``run, prompt, scored, hidden``.
    """
    values = readout(request.model, streams, Answers.of(request.prompts, streams.device), names)
    return {name: value[1:] - value[0] for name, value in values.items()}
