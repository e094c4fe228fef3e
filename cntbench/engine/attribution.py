"""Gradient estimates of the effects of single edges on the readout: EAP and EAP-IG.

Edge attribution patching (Syed et al. 2023, arXiv 2310.10348) puts the first-order term in place of
a patched run: for the edge from source s to target k of stage t

    δ_s · ∂m / ∂(input of k),        summed over positions and the stream's width,

where δ_s is replaced minus clean contribution of the source, m the readout, and the input of k the
stream that k alone reads: the gradient goes through its own queries, keys and values together and
through the real LayerNorm. As δ_s points from clean to replaced, the estimate approximates patched
minus clean, the sign of every effect here. It is exact where m depends linearly on the input of k.

EAP with integrated gradients (Hanna et al. 2024, arXiv 2403.17806) takes the mean of the gradients
at points j = 1 … n on the line from the embeddings r of the reference prompt to the clean ones z,

    1/n Σ_j  ∂m / ∂(input of k)  at  r + j/n (z − r),

so that one step is EAP.

Gradients are taken stage by stage, from the end: with G_{t+1} = ∂m/∂x_{t+1},

    g_k = (∂c_k/∂x_t)ᵀ G_{t+1},        G_t = G_{t+1} + Σ_k g_k,

one vector-Jacobian product for each stage, its targets side by side as runs. No graph outlives a
stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.engine.arrays import Array, to_array
from cntbench.engine.departures import Perturbations
from cntbench.engine.positions import Positions
from cntbench.engine.readouts import Answers, gradient
from cntbench.engine.replacing import token_tensor
from cntbench.engine.request import Request
from cntbench.models.blocks import Block
from cntbench.models.decoder import Decoder
from cntbench.models.products import widened
from cntbench.plugins import find


def estimate_edges(
    request: Request, departures: Perturbations, ablation: Ablation, rule: int, edge: Array
) -> None:
    """Estimate the effect of every edge on the first readout asked for, which has a gradient.

    Parameters
    ----------
    request, departures
        What was run.
    ablation, rule
        The method, and which of the departures it takes.
    edge
        Filled, dims ``source, target, prompt``: an estimate of patched minus clean.
    """
    model, prompts = request.model, request.prompts
    tokens = token_tensor(prompts.tokens, departures.changes.device)
    start, steps = model.embed(tokens), ablation.steps or 1
    origin = start
    if steps > 1:
        assert prompts.reference is not None
        origin = model.embed(token_tensor(prompts.reference, tokens.device))
    changes = departures.changes[rule]
    for step in request.each(range(1, steps + 1), lambda _: "a gradient"):
        point = torch.lerp(origin, start, step / steps)
        # What inference mode made cannot be differentiated through.
        with torch.inference_mode(False), torch.enable_grad():
            for nodes, gradients in input_gradients(request, point.clone(), departures.streams[-1]):
                sources = list(departures.reaching(nodes))
                if not sources and nodes.start:
                    break  # nothing is upstream of this stage, nor of earlier ones
                if sources and request.watched(nodes):
                    moved, slopes = widened(changes[: len(sources)]), widened(gradients)
                    found = torch.einsum("sipw,tipw->sti", moved, slopes)
                    into = sources, slice(nodes.start, nodes.stop)
                    before = edge[into] if step > 1 else 0
                    edge[into] = before + to_array(found.double()) / steps
                if request.targets is not None and nodes.start <= request.targets[0]:
                    break  # no target lies in earlier stages


def input_gradients(
    request: Request, start: Tensor, clean: Tensor
) -> Iterator[tuple[range, Tensor]]:
    """Yield the gradient of a readout in the input of each component, from the last stage on.

    Parameters
    ----------
    request
        Names the model, the prompts, and as the first of its effects the readout.
    start
        Embeddings, dims ``prompt, position, hidden``.
    clean
        Final stream of the clean run, the same dims.

    Yields
    ------
    range
        The components of a stage.
    Tensor
        Their gradients, dims ``component, prompt, position, hidden``, for each prompt those of its
        own readout.
    """
    model = request.model
    streams = _streams(model, start)
    gradient = _final_gradient(request, streams[-1], clean)
    for index in reversed(range(len(model.stages))):
        stage, read = model.stages[index], streams[index]
        parts = [
            request.once(("gradient", type(block)), _through, stage.norm, block, read, gradient)
            for block in stage.blocks
        ]
        of_inputs = torch.cat(parts)
        places = model.places[index]
        yield range(places[0].nodes.start, places[-1].nodes.stop), of_inputs
        gradient = gradient + of_inputs.sum(dim=0)


@torch.no_grad()
def _streams(model: Decoder, start: Tensor) -> list[Tensor]:
    """Return what each stage reads, and the final stream, dims ``prompt, position, hidden``."""
    stream = start[None].clone()
    found = [start]
    for stage in model.stages:
        normed = stage.norm(stream)
        for block in stage.blocks:
            block.write(block.states(normed), stream)
        found.append(stream[0].clone())
    return found


def _through(
    norm: Callable[[Tensor], Tensor], block: Block, read: Tensor, gradient: Tensor
) -> Tensor:
    """Return the gradient in what each component of a block reads, given that in what it writes."""
    streams = read.expand(block.n_components, *read.shape).clone().requires_grad_()
    states = block.states(norm(streams))
    # Run k is read by component k alone.
    own = states.diagonal(dim1=0, dim2=3).movedim(-1, -2)
    written = block.contributions(own)
    (found,) = torch.autograd.grad(written, streams, gradient.expand_as(written))
    return found


def _final_gradient(request: Request, final: Tensor, clean: Tensor) -> Tensor:
    """Return the gradient of the readout in the final stream, dims ``prompt, position, hidden``."""
    model, prompts, name = request.model, request.prompts, request.effects[0]
    at = Positions.scored(prompts, final.device)
    stream = final[None].clone().requires_grad_()
    normed = model.final_norm(widened(at.choose(stream)))
    answers = Answers.of(prompts, final.device)
    with torch.no_grad():
        start = None
        if "divergence" in find("readout", name).READS:
            start = model.final_norm(widened(at.choose(clean[None])))
        of_normed = gradient(model, normed, answers, name, start)
    (of_stream,) = torch.autograd.grad(normed, stream, of_normed)
    return of_stream[0]
