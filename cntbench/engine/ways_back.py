"""Several backward passes through a model at once: the whole one, and one around each layer.

Those around a layer are GradDrop's (`cntbench.estimators.atp_star`). A way back around layer l goes
down the residual stream alone there: with G_{t+1} = ∂m/∂x_{t+1},

    G_t = G_{t+1} + Σ_k g_k        at stages of other layers,
    G_t = G_{t+1}                  at those of layer l.

Down to the top of layer l it is the whole way, so that it counts from there on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cntbench.engine.attribution import Edges, differentiated, final_gradient, through_rules
from cntbench.engine.rules import Rules
from cntbench.models.blocks import Attention
from cntbench.models.products import widened

#: Attention weights of sources that are held at once.
WEIGHTS_AT_ONCE = 2**21


class Back(NamedTuple):
    """A stage that ways back have come to, and its components.

    ``outputs`` are gradients in what the stage writes, dims ``way, prompt, position, hidden``. The
    first way is the whole one; one for each later layer follows, around it.
    """

    stage: int
    nodes: range
    outputs: Tensor


def ways_back(edges: Edges) -> Iterator[Back]:
    """Yield the stages from the last to the first that is asked for."""
    return differentiated(_ways_back(edges))


def _ways_back(edges: Edges) -> Iterator[Back]:
    request, model, clean = edges.request, edges.model, edges.perturbations.streams
    final = clean[-1].clone()
    ways = final_gradient(request, final, clean[-1], Rules())[None]
    layer, around = edges.layer(len(model.stages) - 1), ways[0]
    for index in reversed(range(len(model.stages))):
        if edges.layer(index) != layer:
            ways = torch.cat([ways, around[None]])
            layer, around = edges.layer(index), ways[0]
        places = model.places[index]
        back = Back(index, range(places[0].nodes.start, places[-1].nodes.stop), ways)
        yield back
        if edges.ends_with(back.nodes):
            return
        ways = ways + back_through(edges, Rules(), back).sum(dim=1)


def back_through(edges: Edges, rules: Rules, back: Back) -> Tensor:
    """Return gradients in what each component of a stage reads.

    Dims ``way, component, prompt, position, hidden``.
    """
    stage, read = edges.model.stages[back.stage], edges.perturbations.streams[back.stage]
    with torch.inference_mode(False), torch.enable_grad():
        gradients = [
            edges.request.once(
                (rules, type(block)), through_rules, rules, stage.norm, block, read, way
            )
            for way in back.outputs
            for block in stage.blocks
        ]
    return torch.cat(gradients).unflatten(0, (len(back.outputs), -1))


def along_attention(edges: Edges, back: Back, block: Attention) -> Tensor:
    """Return what changes of attention weights do along gradients in them, Σ_ij Δa_ij ∂m/∂a_ij.

    The changes are those where queries alone, and where keys alone, see a source. With
    z_i = Σ_j a_ij v_j it is Σ_i Δz_i · ∂m/∂z_i. Dims ``way, source, component, prompt``.
    """
    stage, streams = edges.model.stages[back.stage], edges.perturbations.streams
    scores, value = block.attending.scores, block.parts(stage.norm(streams[back.stage][None]))[2]
    slopes = torch.einsum("wpih,kdh->wpkid", widened(back.outputs), widened(block.output))
    count, (prompts, length) = len(edges.reaching(back.nodes)), edges.changes.shape[1:3]
    effects = slopes.new_empty(len(slopes), count, block.n_components, prompts)
    height = max(1, WEIGHTS_AT_ONCE // (prompts * block.n_components * length**2))
    parts = [slice(low, min(low + height, count)) for low in range(0, count, height)]
    for part in edges.request.each(parts, lambda part: part.stop - part.start):
        runs = edges.perturbations.runs(back.stage, edges.changes[part])
        query, key, _ = block.parts(stage.norm(runs))
        clean = scores(query[:1], key[:1]).softmax(dim=-1)
        by_query = scores(query[1:], key[:1]).softmax(dim=-1)
        by_key = scores(query[:1], key[1:]).softmax(dim=-1)
        moved = (by_query - clean + (by_key - clean)) @ value
        effects[:, part] = torch.einsum("spkid,wpkid->wskp", moved, slopes)
    return effects
