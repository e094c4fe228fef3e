"""The input of estimators of edge effects, and the backward pass that most of them use.

Gradients of a readout m with respect to what each component k of stage t reads are computed stage
by stage, from the last one: with G_{t+1} = ∂m/∂x_{t+1},

    g_k = (∂c_k/∂x_t)ᵀ G_{t+1},        G_t = G_{t+1} + Σ_k g_k,

one vector-Jacobian product for each stage, its targets side by side as runs. No graph outlives a
stage.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.engine.arrays import measured_change, to_array
from cntbench.engine.perturbations import Perturbations, perturb
from cntbench.engine.position_sums import changes_at_positions
from cntbench.engine.positions import Positions
from cntbench.engine.readouts import Answers, gradient
from cntbench.engine.replacing import Statistics, token_tensor
from cntbench.engine.request import Request, among
from cntbench.engine.rules import Rules
from cntbench.models.blocks import Attention, Block
from cntbench.models.decoder import Decoder, Place
from cntbench.models.experts import Experts
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import Norm
from cntbench.models.products import widened
from cntbench.plugins import find
from cntbench.prompts import Prompts

Step = TypeVar("Step")


class StreamChange(NamedTuple):
    """The change of the final stream, from which readouts follow, by an estimator of total effects.

    Of some sources, dims ``source, prompt, position, hidden``.
    """

    sources: Sequence[int]
    values: Tensor


class Estimate(NamedTuple):
    """Estimated effects of the edges between some sources and targets, which are component indices.

    Values have dims ``source, target, prompt``; values for the same edge are added.
    """

    sources: Sequence[int]
    targets: Sequence[int]
    values: Tensor


@dataclass(frozen=True)
class Edges:
    """Edges on some prompts, with the runs from which an ablation's effects are estimated.

    Parameters
    ----------
    request, perturbations
        What is measured, and the clean run with the changes that replacements make.
    ablation
        The method.
    rule
        Index of its replacement rule among those of the changes.
    statistics
        What replacement rules take from all prompts.
    """

    request: Request
    perturbations: Perturbations
    ablation: Ablation
    rule: int
    statistics: Statistics

    @property
    def model(self) -> Decoder:
        """The model."""
        return self.request.model

    @property
    def prompts(self) -> Prompts:
        """The prompts, of one length."""
        return self.request.prompts

    @property
    def changes(self) -> Tensor:
        """δ, replaced minus clean contributions, dims ``source, prompt, position, hidden``."""
        return self.perturbations.changes[self.rule]

    @property
    def observed(self) -> Positions | None:
        """The positions at which targets are observed; None for all."""
        choose = Positions.everywhere if self.request.observe_all else Positions.scored
        return choose(self.prompts, self.changes.device)

    def reaching(self, nodes: range) -> Sequence[int]:
        """Return the ablated components that some components of a stage read.

        They come first in `changes`.
        """
        ablated = self.request.ablated
        return ablated[: bisect_left(ablated, nodes.start)]

    def embeddings(self, share: float = 1.0) -> Tensor:
        """Return embeddings on the line from the reference prompts (0) to the clean ones (1).

        Dims ``prompt, position, hidden``.
        """
        device = self.perturbations.changes.device
        clean = self.model.embed(token_tensor(self.prompts.tokens, device))
        origin = clean
        if share < 1:
            assert self.prompts.reference is not None
            origin = self.model.embed(token_tensor(self.prompts.reference, device))
        return torch.lerp(origin, clean, share)

    def change_of(self, nodes: range) -> Tensor:
        """Return the change of the stream if all components of a block are replaced.

        Also where only some of them are ablated. Dims ``prompt, position, hidden``.
        """
        if len(among(self.request.ablated, nodes)) == len(nodes):
            first = bisect_left(self.request.ablated, nodes.start)
            return self.changes[first : first + len(nodes)].sum(dim=0)
        request = replace(self.request, sources=nodes)
        return perturb(request, [self.ablation], self.statistics).changes[0].sum(dim=0)

    def gradients(
        self, start: Tensor | None = None, rules: Rules | None = None, first: int = 0
    ) -> Iterator[tuple[range, Tensor]]:
        """Yield gradients of the task's first readout, from the last stage to the first.

        Parameters
        ----------
        start
            Where to take them: what stage ``first`` reads, dims ``prompt, position, hidden``; by
            default the embeddings of the clean prompts.
        rules
            Rules that replace the gradients of parts of the model.
        first
            The first stage of interest.

        Yields
        ------
        range
            Targets: the components of a stage that read ablated components and are watched.
        Tensor
            For each target, the gradient with respect to the stream that it alone reads, dims
            ``target, prompt, position, hidden``.
        """
        start = self.embeddings() if start is None else start
        clean = self.perturbations.streams[-1]
        stages = input_gradients(self.request, start, clean, rules, first)
        for nodes, gradients in differentiated(stages):
            if self.requested(nodes):
                yield nodes, gradients
            if self.ends_with(nodes):
                return

    def layer(self, stage: int) -> int:
        """Return the layer that a stage belongs to."""
        return self.model.components[self.model.walk[stage].nodes.start].layer

    def requested(self, nodes: range) -> bool:
        """Return whether components of a stage read ablated components, and some are watched."""
        return bool(self.reaching(nodes) and self.request.watched(nodes))

    def ends_with(self, nodes: range) -> bool:
        """Return whether no stage before that of some components has a requested edge."""
        before = (stage.nodes for stage in self.model.walk if stage.nodes.start < nodes.start)
        return not any(map(self.requested, before))

    def along(self, targets: range, gradients: Tensor) -> Estimate:
        """Return the product of the sources' changes and gradients: δ · g.

        Takes the components of a stage and the gradients with respect to what they read, dims
        ``target, prompt, position, hidden``; with ``pass`` first, there are values for each pass.
        """
        sources = self.reaching(targets)
        moved, slopes = widened(self.changes[: len(sources)]), widened(gradients)
        return Estimate(sources, targets, torch.einsum("sipw,...tipw->...sti", moved, slopes))

    def moved(self, place: Place, sources: Sequence[int], clean: Tensor, moved: Tensor) -> Estimate:
        """Measure the change of targets, at the positions where they are observed.

        Takes the targets' block, and their clean and moved states, dims ``1 | source, prompt,
        position, component, width``.
        """
        images, at = place.block.image(torch.cat([widened(clean), moved])), self.observed
        images = images if at is None else at.choose(images)
        measure, methods = self.ablation.measure, [self.ablation] * len(sources)
        if self.request.sums is not None:
            sums = to_array(changes_at_positions(measure, images[0], images[1:]))
            self.request.sums.add(methods, sources, place.nodes, sums)
        return Estimate(sources, place.nodes, measured_change(measure, images[0], images[1:]))


def differentiated(steps: Iterator[Step]) -> Iterator[Step]:
    """Run each step of a computation with gradients enabled.

    Tensors that were made in inference mode have none.
    """
    while True:
        with torch.inference_mode(False), torch.enable_grad():
            step = next(steps, None)
        if step is None:
            return
        yield step


def input_gradients(
    request: Request, start: Tensor, clean: Tensor, rules: Rules | None = None, first: int = 0
) -> Iterator[tuple[range, Tensor]]:
    """Yield the components of each stage, from the last one, and the gradients of their inputs.

    Parameters
    ----------
    request
        Has the model, the prompts, and the readout: the first of its effects.
    start
        What stage ``first`` reads, dims ``prompt, position, hidden``.
    clean
        Final stream of the clean run, the same dims.
    rules
        Rules that replace gradients.
    first
        The stage to start at, and to go back to.

    Yields
    ------
    range, Tensor
        Gradients have dims ``component, prompt, position, hidden``, for each prompt those of its
        own readout.
    """
    model, walk = request.model, request.model.walk
    streams = clean_streams(model, start.clone(), first)
    gradient = final_gradient(request, streams[-1], clean, rules or Rules())
    for index in reversed(range(first, len(model.stages))):
        stage, read = model.stages[index], streams[index - first]
        parts = [
            request.once(("gradient", type(block)), _through, stage.norm, block, read, gradient)
            if rules is None
            else request.once(
                (rules, type(block)), through_rules, rules, stage.norm, block, read, gradient
            )
            for block in stage.blocks
        ]
        of_inputs = torch.cat(parts)
        yield walk[index].nodes, of_inputs
        gradient = gradient + of_inputs.sum(dim=0)


@torch.no_grad()
def clean_streams(model: Decoder, start: Tensor, first: int = 0) -> list[Tensor]:
    """Return what each stage from ``first`` on reads, and the final stream.

    Dims ``prompt, position, hidden``.
    """
    stream = start[None].clone()
    streams = [start]
    for stage in model.stages[first:]:
        normed = stage.norm(stream)
        for block in stage.blocks:
            block.write(block.states(normed), stream)
        streams.append(stream[0].clone())
    return streams


def _through(norm: Norm, block: Block, read: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradients of what a block's components read, given that of what it writes."""
    streams = read.expand(block.n_components, *read.shape).clone().requires_grad_()
    if isinstance(block, Experts):
        states = block.states_apart(norm(streams)[None])[0]
    else:
        # Run k is read by component k alone.
        states = block.states(norm(streams)).diagonal(dim1=0, dim2=3).movedim(-1, -2)
    written = block.contributions(states)
    (of_inputs,) = torch.autograd.grad(written, streams, gradient.expand_as(written))
    return of_inputs


def through_rules(rules: Rules, norm: Norm, block: Block, read: Tensor, gradient: Tensor) -> Tensor:
    """Return the same gradients by rules; each head computes only its own query, key and value."""
    streams = read.expand(block.n_components, *read.shape).clone().requires_grad_()
    normed = rules.norm(norm, streams)
    if isinstance(block, Attention):
        states = rules.attention(*block.own_parts(normed, rules.norm), block.attending)
        states = states.to(gradient.dtype).movedim(0, -2)
        if block.divisor is not None:
            every = rules.attention(*block.parts(normed, rules.norm), block.attending)
            inverse = block.divisor.inverse(every.transpose(2, 3).to(gradient.dtype))
            # That of the stream that each head reads.
            states = rules.divided(states, inverse[..., 0].movedim(0, -2))
    elif isinstance(block, Experts):
        states = rules.experts(block).states_apart(normed[None])[0]
    else:
        assert isinstance(block, MLP)
        plain = replace(rules.mlp(block), after=None)
        states = rules.written(block, plain.states(normed)[0])
        states = states if block.after is None else rules.norm(block.after, states)
    written = block.contributions(states)
    (of_inputs,) = torch.autograd.grad(written, streams, gradient.expand_as(written))
    return of_inputs


def final_gradient(request: Request, final: Tensor, clean: Tensor, rules: Rules) -> Tensor:
    """Return the readout's gradient in the final stream, dims ``prompt, position, hidden``."""
    model, prompts, name = request.model, request.prompts, request.effects[0]
    at = Positions.scored(prompts, final.device)
    stream = final[None].clone().requires_grad_()
    normed = rules.norm(model.final_norm, widened(at.choose(stream)))
    answers = Answers.of(prompts, final.device)
    with torch.no_grad():
        start = None
        if "divergence" in find("readout", name).READS:
            start = model.final_norm(widened(at.choose(clean[None])))
        of_normed = gradient(model, normed, answers, name, start)
    (of_stream,) = torch.autograd.grad(normed, stream, of_normed)
    return of_stream[0]
