"""Exact effects of single edges on the readout, by path patching.

For the edge from source s to target k of stage t, the target reads x_t + δ_s and every other
component of stage t reads the clean stream. The run of the edge therefore departs from the clean
run after stage t, at

    x_{t+1} + c_k(x_t + δ_s) − c_k(x_t),

and everything downstream of the target is recomputed. The effect is the readout of that run minus
the clean readout (Goldowsky-Dill et al. 2023, arXiv 2304.05969). EAP estimates this effect, and
ACDC (Conmy et al. 2023, arXiv 2304.14997) prunes one edge at a time by it.

The outputs of all targets of a stage are computed once for each source; the runs of the edges then
continue in batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cntbench.engine.attribution import Edges, Estimate
from cntbench.engine.direct import read_changes
from cntbench.engine.positions import Positions, finish, last_attention, states_at
from cntbench.engine.request import Request, within


def patched_edges(edges: Edges) -> Iterator[Estimate]:
    """Yield patched minus clean of the first requested readout, for some edges at a time."""
    request, perturbations, through = edges.request, edges.perturbations, edges.ablation.through
    model = request.model
    at = Positions.scored(request.prompts, edges.changes.device)
    last = last_attention(model)
    at_once = perturbations.changes.shape[:2].numel()
    for index, (stage, places, nodes_of_stage) in enumerate(model.walk):
        sources = edges.reaching(nodes_of_stage)
        # From the last attention on, nothing reads the positions that are not scored.
        stage_at = at if index >= last else None
        clean = perturbations.streams[index + 1][None]
        clean = clean if stage_at is None else stage_at.choose(clean)
        for block, _, nodes in places:
            targets = request.watched(nodes)
            if not targets:
                continue
            height = max(1, at_once // len(targets))
            starts = range(0, len(sources), height)
            batches = (range(start, min(start + height, len(sources))) for start in starts)
            for batch in request.each(batches, len):
                changes = edges.changes[batch.start : batch.stop]
                normed = stage.norm(perturbations.runs(index, changes))
                states = states_at(block, normed, stage_at, through)
                written = block.contributions((states[1:] - states[0]).flatten(0, 1))
                written = written[within(targets, nodes)]
                runs = written.unflatten(1, (len(changes), -1)).flatten(0, 1)
                effects = [
                    _read(request, torch.cat([clean, clean + part]), index + 1, at)
                    for part in runs.split(at_once)
                ]
                effect = torch.cat(effects).unflatten(0, (len(targets), len(changes)))
                yield Estimate([sources[i] for i in batch], targets, effect.transpose(0, 1))


def _read(request: Request, streams: Tensor, first: int, at: Positions) -> Tensor:
    """Run streams to the end and return their readout minus that of the clean run 0."""
    name = request.effects[0]
    return read_changes(request, finish(request.model, streams, first, at), [name])[name]
