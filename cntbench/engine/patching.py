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

import torch
from torch import Tensor

from cntbench.engine.ablation import Ablation
from cntbench.engine.departures import Departures, stage_nodes
from cntbench.engine.direct import read_changes
from cntbench.engine.positions import Positions, finish, last_attention, states_at
from cntbench.engine.sweep import Array
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts
from cntbench.specs import Readout


def patch_edges(
    model: Decoder,
    departures: Departures,
    prompts: Prompts,
    ablation: Ablation,
    rule: int,
    name: Readout,
    edge: Array,
) -> None:
    """Measure the effect of every edge.

    Parameters
    ----------
    model, departures, prompts
        What was run.
    ablation, rule
        The method, and which of the departures it takes.
    name
        The readout.
    edge
        Filled, dims ``source, target, prompt``: patched minus clean.
    """
    at = Positions.scored(prompts, departures.changes.device)
    last = last_attention(model)
    at_once = departures.changes.shape[:2].numel()
    for index, (stage, nodes) in enumerate(zip(model.stages, stage_nodes(model), strict=True)):
        sources = departures.reaching(nodes)
        # From the last attention on, nobody reads the positions that are not scored.
        here = at if index >= last else None
        after = departures.streams[index + 1][None]
        after = after if here is None else here.choose(after)
        place = nodes.start
        for block in stage.blocks:
            targets = slice(place, place + block.n_components)
            place = targets.stop
            height = max(1, at_once // block.n_components)
            for first in range(sources.start, sources.stop, height):
                chosen = slice(
                    first - sources.start, min(first + height, sources.stop) - sources.start
                )
                changes = departures.changes[rule, chosen]
                normed = stage.norm(departures.runs(index, changes))
                states = states_at(block, normed, here, ablation.through)
                written = block.contributions((states[1:] - states[0]).flatten(0, 1))
                runs = written.unflatten(1, (len(changes), -1)).flatten(0, 1)
                ends = [
                    _read(model, torch.cat([after, after + part]), index + 1, at, prompts, name)
                    for part in runs.split(at_once)
                ]
                found = torch.cat(ends).unflatten(0, (block.n_components, len(changes)))
                edge[first : first + len(changes), targets] = found.transpose(0, 1).cpu().numpy()


def _read(
    model: Decoder, streams: Tensor, first: int, at: Positions, prompts: Prompts, name: Readout
) -> Tensor:
    """Run streams to the end; returns how far their readout lies from that of the clean run 0."""
    return read_changes(model, finish(model, streams, first, at), prompts, [name])[name]
