"""What every direct effect starts from: the clean run, and how replacing a source departs from it.

Let x_t be the clean residual stream that stage t reads, and δ_s = r_s − c_s(x) the change of the
stream when the clean contribution of source s is swapped for its replacement. A target of stage t
that sees source s replaced, and nothing else, reads x_t + δ_s: the streams and the changes are all
that direct effects, patched edges and gradient estimates need.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation, donors
from cntbench.engine.replacing import Replacer, Statistics, corpus_tokens, token_tensor
from cntbench.engine.request import Request, among, within


@dataclass(frozen=True)
class Perturbations:
    """The clean run of some prompts, and the changes that some sources' replacements make.

    Parameters
    ----------
    streams
        x_t for each stage, and the final stream, dims ``prompt, position, hidden``.
    changes
        δ, dims ``rule, source, prompt, position, hidden``.
    sources
        Which sources, in causal order.
    """

    streams: Sequence[Tensor]
    changes: Tensor
    sources: Sequence[int]

    def reaching(self, nodes: range) -> Sequence[int]:
        """Return the sources of earlier stages than one, given the components of that stage."""
        return self.sources[: bisect_left(self.sources, nodes.start)]

    def runs(self, stage: int, changes: Tensor) -> Tensor:
        """Return what a stage reads in the clean run and in changed ones, dims ``run, …``."""
        clean = self.streams[stage]
        return torch.cat([clean[None], clean + changes])


def depart(
    request: Request, ablations: Sequence[Ablation], statistics: Statistics
) -> Perturbations:
    """Run the clean prompts and donors through the model, and replace every source.

    Parameters
    ----------
    request
        What to run.
    ablations
        One for each of the dims ``rule``.
    statistics
        What replacement rules take from all prompts.
    """
    model, prompts, sources = request.model, request.prompts, request.ablated
    device = model.unembed.weight.device
    beside = donors(ablations)
    tokens = [token_tensor(corpus_tokens(prompts, *donor), device) for donor in beside]
    streams = torch.stack([model.embed(each) for each in tokens])
    replacer = Replacer(prompts, beside, statistics, request.seed)
    clean = [streams[0].clone()]
    changes = streams.new_empty((len(ablations), len(sources), *streams.shape[1:]))
    for stage, places in zip(model.stages, model.places, strict=True):
        normed = stage.norm(streams)
        for block, number, nodes in places:
            states = block.states(normed)
            chosen = among(sources, nodes)
            if chosen:
                local = within(chosen, nodes)
                first = bisect_left(sources, nodes.start)
                into = slice(first, first + len(chosen))
                for index, ablation in enumerate(ablations):
                    moved = replacer.changes(ablation, states, number)
                    changes[index, into] = block.contributions(moved)[local]
            block.write(states, streams)
        clean.append(streams[0].clone())
    return Perturbations(clean, changes, sources)
