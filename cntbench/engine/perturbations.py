"""The clean run and the change that each source's replacement makes: the basis of direct effects.

Let x_t be the clean residual stream that stage t reads, and δ_s = r_s − c_s(x) the change of the
stream when the replacement is swapped in for the clean contribution of source s. A target of stage
t for which only source s is replaced reads x_t + δ_s. Direct effects, patched edges and gradient
estimates need only these streams and changes.
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
    """The clean run of the prompts, and the changes that the replacements of sources make.

    ``streams`` are x_t for each stage, and the final stream, dims ``prompt, position, hidden``;
    ``changes`` are δ of all ablated components, dims ``rule, source, prompt, position, hidden``.
    """

    streams: Sequence[Tensor]
    changes: Tensor

    def runs(self, stage: int, changes: Tensor) -> Tensor:
        """Return what a stage reads in the clean run and in the changed runs, dims ``run, …``."""
        clean = self.streams[stage]
        return torch.cat([clean[None], clean + changes])


def perturb(
    request: Request, ablations: Sequence[Ablation], statistics: Statistics
) -> Perturbations:
    """Run the clean prompts and donors through the model, and replace every source.

    Takes one ablation for each replacement rule.
    """
    model, prompts, sources = request.model, request.prompts, request.ablated
    device = model.unembed.weight.device
    corpora = donors(ablations)
    tokens = [token_tensor(corpus_tokens(prompts, *corpus), device) for corpus in corpora]
    streams = torch.stack([model.embed(corpus) for corpus in tokens])
    replacer = Replacer(prompts, corpora, statistics, request.seed)
    clean = [streams[0].clone()]
    changes = streams.new_empty((len(ablations), len(sources), *streams.shape[1:]))
    for stage, places, _ in model.walk:
        normed = stage.norm(streams)
        for block, number, nodes in places:
            states = block.states(normed)
            chosen = among(sources, nodes)
            if chosen:
                local = within(chosen, nodes)
                first = bisect_left(sources, nodes.start)
                rows = slice(first, first + len(chosen))
                for index, ablation in enumerate(ablations):
                    change = replacer.changes(ablation, states, number)
                    changes[index, rows] = block.contributions(change)[local]
            block.write(states, streams)
        clean.append(streams[0].clone())
    return Perturbations(clean, changes)
