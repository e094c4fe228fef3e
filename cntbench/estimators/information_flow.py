"""Share of an edge in the information flow to the scored positions, without gradients.

If vectors z_1, z_2, … sum to y, the importance of each is its proximity to the sum,

    p(z, y) = max(‖y‖₁ − ‖z − y‖₁, 0),        share of z_j = p(z_j, y) / Σ_i p(z_i, y)

(information flow routes, Ferrando & Voita 2024, arXiv 2403.00824, from ALTI, Ferrando et al. 2022,
arXiv 2203.04212). Information is traced backwards. A flow of 1 leaves the final stream, divided
equally among the scored positions. At each position,

- the flow from a stream x_t is divided by share among everything written to it: the contributions
  c_s of all earlier components, and the rest, which is the embedding with biases;
- the flow from a head at position i is divided among positions j by the shares of a_ij v_j W_O in
  its output, with attention weights a and values v; the flow from an MLP stays at its position.

The score of the edge s → k is the flow into k times the share of s in the stream that k reads,
summed over positions. It lies between 0 and 1 and is not a change of a readout: it is the same for
every readout, and zero is the only replacement.

The paper traces a stream one block at a time and divides a layer's attention by head and position
together. The graph here has an edge for every pair, so each component reads everything written
before it, and each head's flow is divided by position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.engine.attribution import Edges, Estimate
    from cntbench.models.blocks import Attention, Block

OBSERVES = ("readout",)
USES = ("contributions",)
SIGNED = False
#: Largest number of values held at once when positions are compared.
NUMBERS_AT_ONCE = 2**21


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the share of every edge."""
    from cntbench.engine.attribution import Estimate
    from cntbench.models.blocks import Attention

    model, streams = edges.model, edges.perturbations.streams
    normed = [stage.norm(x[None]) for stage, x in zip(model.stages, streams[:-1], strict=True)]
    states = [
        block.states(normed[index])[0]
        for index, stage in enumerate(model.stages)
        for block in stage.blocks
    ]
    end = _at_scored_positions(edges, streams[-1])
    flow = end * _shares(model.blocks, states, streams[-1])
    for index, (_, places, nodes) in reversed([*enumerate(model.walk)]):
        flow_into = flow[nodes.start : nodes.stop].clone()
        for block, number, part in places:
            if isinstance(block, Attention):
                heads = slice(part.start - nodes.start, part.stop - nodes.start)
                flow_into[heads] = _by_position(
                    block, normed[index], states[number], flow_into[heads]
                )
        shares = _shares(model.blocks[: places[0].number], states, streams[index])
        if edges.requested(nodes):
            sources = list(edges.reaching(nodes))
            between = (shares[sources][:, None] * flow_into).sum(dim=-1)
            yield Estimate(sources, nodes, between)
        if edges.ends_with(nodes):
            return
        flow[: nodes.start] += flow_into.sum(dim=0) * shares


def _at_scored_positions(edges: Edges, stream: Tensor) -> Tensor:
    """Return a flow of 1 for each prompt, dims ``prompt, position``, float64."""
    from cntbench.engine.positions import Positions

    rows = Positions.scored(edges.prompts, stream.device).rows.expand(len(stream), -1)
    flow = stream.new_zeros(stream.shape[:2]).double()
    return flow.scatter_add(1, rows, flow.new_ones(rows.shape) / rows.shape[1])


def _proximity(parts: Tensor, total: Tensor) -> Tensor:
    """Return max(‖y‖₁ − ‖z − y‖₁, 0) over the last dim, float64."""
    distance = (parts - total).abs().double().sum(dim=-1)
    return (total.abs().double().sum(dim=-1) - distance).clamp(min=0)


def _shared(proximity: Tensor, dim: int, rest: Tensor | float = 0.0) -> Tensor:
    """Divide by the sum over ``dim`` plus ``rest``; 0 where that is 0."""
    total = proximity.sum(dim=dim, keepdim=True) + rest
    return proximity / total.masked_fill(total == 0, 1.0)


def _shares(blocks: list[Block], states: list[Tensor], stream: Tensor) -> Tensor:
    """Return the share of each component of the first blocks in a stream.

    Dims ``component, prompt, position``.
    """
    count = sum(block.n_components for block in blocks)
    proximity = stream.new_zeros(count, *stream.shape[:2]).double()
    rest, start = stream.double(), 0
    for block, state in zip(blocks, states, strict=False):
        written = block.contributions(state)
        proximity[start : start + len(written)] = _proximity(written, stream)
        rest = rest - written.double().sum(dim=0)
        start += len(written)
    return _shared(proximity, 0, _proximity(rest, stream.double()))


def _by_position(block: Attention, normed: Tensor, states: Tensor, flow: Tensor) -> Tensor:
    """Return the flow into each head at the positions that it reads.

    Takes their input, dims ``1, prompt, position, hidden``, their states, dims ``prompt, position,
    component, width``, and the flow from them, dims ``component, prompt, position``.
    """
    query, key, value = block.own_parts(normed.expand(block.n_components, *normed.shape[1:]))
    weights = block.attending.scores(query, key).softmax(dim=-1)
    if block.divisor is not None:
        weights = weights * block.divisor.inverse((weights @ value).movedim(0, -2))[..., 0, 0, None]
    read = block.contributions(value.to(states.dtype).movedim(0, -2))
    written, (heads, prompts, length, hidden) = block.contributions(states), read.shape
    height = max(1, NUMBERS_AT_ONCE // (heads * prompts * length * hidden))
    flow_into = flow.new_zeros(flow.shape)
    for low in range(0, length, height):
        rows = slice(low, low + height)
        parts = weights[:, :, rows, :, None] * read[:, :, None]
        shares = _shared(_proximity(parts, written[:, :, rows, None]), -1)
        flow_into += (flow[:, :, rows, None] * shares).sum(dim=-2)
    return flow_into
