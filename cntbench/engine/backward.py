"""Several backward passes through a model at once: the full one, and one that bypasses each layer.

The latter are GradDrop's (`cntbench.estimators.atp_star`). A pass that bypasses layer l follows the
residual stream alone there: with G_{t+1} = ∂m/∂x_{t+1},

    G_t = G_{t+1} + Σ_k g_k        at stages of other layers,
    G_t = G_{t+1}                  at those of layer l.

Above layer l it equals the full pass, so it is computed from layer l on.
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


class ReachedStage(NamedTuple):
    """A stage that the backward passes have reached, and its components.

    ``outputs`` are gradients with respect to what the stage writes, dims ``pass, prompt, position,
    hidden``. The full pass comes first; then, for each later layer, the one that bypasses it.
    """

    stage: int
    nodes: range
    outputs: Tensor


def backward_passes(edges: Edges) -> Iterator[ReachedStage]:
    """Yield the stages, from the last to the first one with a requested edge."""
    return differentiated(_backward_passes(edges))


def _backward_passes(edges: Edges) -> Iterator[ReachedStage]:
    request, model, clean = edges.request, edges.model, edges.perturbations.streams
    final = clean[-1].clone()
    gradients = final_gradient(request, final, clean[-1], Rules())[None]
    layer, bypass = edges.layer(len(model.stages) - 1), gradients[0]
    for index, placed in reversed([*enumerate(model.walk)]):
        if edges.layer(index) != layer:
            gradients = torch.cat([gradients, bypass[None]])
            layer, bypass = edges.layer(index), gradients[0]
        reached = ReachedStage(index, placed.nodes, gradients)
        yield reached
        if edges.ends_with(reached.nodes):
            return
        gradients = gradients + back_through(edges, Rules(), reached).sum(dim=1)


def back_through(edges: Edges, rules: Rules, reached: ReachedStage) -> Tensor:
    """Return gradients with respect to what each component of a stage reads.

    Dims ``pass, component, prompt, position, hidden``.
    """
    stage, read = edges.model.stages[reached.stage], edges.perturbations.streams[reached.stage]
    with torch.inference_mode(False), torch.enable_grad():
        gradients = [
            edges.request.once(
                (rules, type(block)), through_rules, rules, stage.norm, block, read, output
            )
            for output in reached.outputs
            for block in stage.blocks
        ]
    return torch.cat(gradients).unflatten(0, (len(reached.outputs), -1))


def along_attention(edges: Edges, reached: ReachedStage, block: Attention) -> Tensor:
    """Return changes of attention weights times their gradients: Σ_ij Δa_ij ∂m/∂a_ij.

    The changes are those where queries alone, and where keys alone, see a source. With
    z_i = Σ_j a_ij v_j it is Σ_i Δz_i · ∂m/∂z_i. Dims ``pass, source, component, prompt``.
    """
    stage, streams = edges.model.stages[reached.stage], edges.perturbations.streams
    scores, value = block.attending.scores, block.parts(stage.norm(streams[reached.stage][None]))[2]
    slopes = torch.einsum("wpih,kdh->wpkid", widened(reached.outputs), widened(block.output))
    count, (prompts, length) = len(edges.reaching(reached.nodes)), edges.changes.shape[1:3]
    effects = slopes.new_empty(len(slopes), count, block.n_components, prompts)
    height = max(1, WEIGHTS_AT_ONCE // (prompts * block.n_components * length**2))
    parts = [slice(low, min(low + height, count)) for low in range(0, count, height)]
    for part in edges.request.each(parts, lambda part: part.stop - part.start):
        runs = edges.perturbations.runs(reached.stage, edges.changes[part])
        query, key, _ = block.parts(stage.norm(runs))
        clean = scores(query[:1], key[:1]).softmax(dim=-1)
        by_query = scores(query[1:], key[:1]).softmax(dim=-1)
        by_key = scores(query[:1], key[1:]).softmax(dim=-1)
        moved = (by_query - clean + (by_key - clean)) @ value
        effects[:, part] = torch.einsum("spkid,wpkid->wskp", moved, slopes)
    return effects
