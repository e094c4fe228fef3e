"""Exact effects of single edges on the readout, by path patching.

For the edge from source s to target k of stage t, the target reads x_t + δ_s and everything else
reads what it does in the clean run. So the run of the edge leaves the clean one behind stage t, at

    x_{t+1} + c_k(x_t + δ_s) − c_k(x_t),

and everything downstream of the target is recomputed. The effect is the readout of that run minus
the clean one (Goldowsky-Dill et al. 2023, arXiv 2304.05969). It is what EAP estimates, and the
score that ACDC (Conmy et al. 2023, arXiv 2304.14997) prunes by, one edge at a time.

The outputs of all targets of a stage are computed once for each source; then the runs of the edges
go on in batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.engine.departures import Perturbations
from cntbench.engine.direct import read_changes
from cntbench.engine.positions import Positions, finish, last_attention, states_at
from cntbench.engine.request import Request, within


def patched_edges(
    request: Request, departures: Perturbations, ablation: Ablation, rule: int
) -> Iterator[tuple[Sequence[int], Sequence[int], Tensor]]:
    """Measure the effect of every edge on the first readout asked for.

    Parameters
    ----------
    request, departures
        What was run.
    ablation, rule
        The method, and which of the departures it takes.

    Yields
    ------
    sources, targets
        Indices of components.
    Tensor
        Patched minus clean of their edges, dims ``source, target, prompt``.
    """
    model = request.model
    at = Positions.scored(request.prompts, departures.changes.device)
    last = last_attention(model)
    at_once = departures.changes.shape[:2].numel()
    for index, (stage, places) in enumerate(zip(model.stages, model.places, strict=True)):
        sources = departures.reaching(places[0].nodes)
        # From the last attention on, nobody reads the positions that are not scored.
        here = at if index >= last else None
        after = departures.streams[index + 1][None]
        after = after if here is None else here.choose(after)
        for block, _, nodes in places:
            targets = request.watched(nodes)
            if not targets:
                continue
            height = max(1, at_once // len(targets))
            lows = range(0, len(sources), height)
            chosen = (range(low, min(low + height, len(sources))) for low in lows)
            for some in request.each(chosen, len):
                changes = departures.changes[rule, some.start : some.stop]
                normed = stage.norm(departures.runs(index, changes))
                states = states_at(block, normed, here, ablation.through)
                written = block.contributions((states[1:] - states[0]).flatten(0, 1))
                written = written[within(targets, nodes)]
                runs = written.unflatten(1, (len(changes), -1)).flatten(0, 1)
                ends = [
                    _read(request, torch.cat([after, after + part]), index + 1, at)
                    for part in runs.split(at_once)
                ]
                effect = torch.cat(ends).unflatten(0, (len(targets), len(changes)))
                yield [sources[i] for i in some], targets, effect.transpose(0, 1)


def _read(request: Request, streams: Tensor, first: int, at: Positions) -> Tensor:
    """Run streams to the end; returns how far their readout lies from that of the clean run 0."""
    name = request.effects[0]
    return read_changes(request, finish(request.model, streams, first, at), [name])[name]
