"""The constant for each component that raises the cross-entropy least, all sources in one batch.

For a component with clean state z, its optimal constant is

    a* = argmin_a  E_prompt E_scored position  cross_entropy(model with z replaced by a),

where a stands in at every position of the prompt and everything downstream is recomputed. Source:
Li & Janson 2024, "Optimal ablation for interpretability" (arXiv 2409.09951), equation of the total
effect under optimal ablation, with the loss of our tasks: that of the right next token at the
scored positions.

No prompt is judged by a constant that was fitted on it, because such a constant would look too
good: prompts at even places get the constant of those at odd places, and vice versa
(cross-fitting). Each constant is fitted on half of the prompts.

The loss is minimised in double precision by `cntbench.engine.descent`, in units of the component's
own standard deviation σ (one number: over prompts, positions and coordinates), from the mean, or
from zero if that is better, until the loss is flat or hardly falls. So on the prompts of the fit
the loss is never above that of the mean or of zero. A component that never varies (σ = 0) is its
own optimal constant: there is nothing to take from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.engine import chunking
from cntbench.engine.descent import Minima, minimise
from cntbench.engine.positions import last_attention
from cntbench.engine.readouts import Answers
from cntbench.engine.replacing import CrossFitted
from cntbench.engine.sweep import spread
from cntbench.errors import listed, warn
from cntbench.models.decoder import Decoder
from cntbench.models.heads import Queries
from cntbench.models.precision import in_double
from cntbench.prompts import PADDING, Prompts

#: A component varies if its standard deviation is above this share of its root mean square.
VARIES = 1e-6
#: A constant is optimal if the loss has no steeper slope [nats per standard deviation].
TOLERANCE = 1e-5
#: Or if the last evaluations contributed at most this share of the fit's gain.
SHARE = 1e-3
#: Evaluations until a fit has converged, for the count of work: a mean over components was 23, 20
#: and 17 on tasks of the golden model, 10 on a planted circuit.
TYPICAL_STEPS = 20


def optimal_constants(
    model: Decoder,
    prompts: Prompts,
    *,
    steps: int,
    sources: Sequence[int] | None = None,
    memory_budget: int = 2**30,
) -> CrossFitted:
    """Fit constants on each half of the prompts, for the other half.

    Parameters
    ----------
    model
        May have been made in inference mode.
    prompts
        At least two.
    steps
        Most evaluations of the loss and its gradient after the first ones. A warning names the
        components whose fit has not converged by then.
    sources
        Components to fit, as ascending indices; by default all.
    memory_budget
        Memory to use beyond the model's own and its copy in double precision [bytes]; does not
        change the numbers.
    """
    index, rank = np.unique(prompts.index, return_inverse=True)
    with torch.inference_mode(False), torch.enable_grad():
        exact = in_double(model)
        if exact.unembed.weight.is_meta:  # `cntbench.engine.meter` counts what the fits cost
            means, _, _ = _spread(exact, prompts, len(prompts))
            return CrossFitted(_by_block(exact, torch.stack([means, means])), index)
        halves, unsolved = [], set[int]()
        for half in (0, 1):
            losses = Losses(exact, prompts.take(rank % 2 != half), memory_budget, sources)
            constants, solved = fit(losses, steps)
            halves.append(constants)
            unsolved.update(torch.nonzero(~solved)[:, 0].tolist())
    if unsolved:
        names = [exact.components[source].name for source in sorted(unsolved)]
        warn(f"the optimal constants of {listed(names, 5)} have not converged in {steps} steps")
    return CrossFitted(_by_block(exact, torch.stack(halves)), index)


def _by_block(model: Decoder, constants: Tensor) -> list[Tensor]:
    """Return the constants of each block, dims ``half, component, width``."""
    return [
        constants[:, nodes.start : nodes.stop, : block.width] for block, _, nodes in model.places
    ]


def fit(losses: Losses, steps: int) -> Minima:
    """Fit one constant for each source on all prompts of the losses.

    Returns the constants, dims ``component, width``, and whether the fit of each has converged; 0
    and True for components that are not sources.
    """
    means, deviations, vary = _spread(losses.model, losses.prompts, losses.prompts_at_once)
    fitted, solved = torch.zeros_like(means), torch.ones_like(vary)
    for members in losses.groups:
        group = torch.tensor(members, device=means.device)
        zeros, units = torch.zeros_like(means[group]), deviations[group, None]
        hurts_less = losses.of(group, zeros) < losses.of(group, means[group])
        start = means[group].where(~(vary[group] & hurts_less)[:, None], 0.0)

        def evaluate(
            some: Tensor,
            moved: Tensor,
            group: Tensor = group,
            start: Tensor = start,
            units: Tensor = units,
        ) -> tuple[Tensor, Tensor]:
            constants = start[some] + units[some] * moved
            value, gradient = losses.with_gradient(group[some], constants)
            return value, units[some] * gradient

        minima = minimise(evaluate, zeros, steps=steps, tolerance=TOLERANCE, share=SHARE)
        fitted[group], solved[group] = start + units * minima.points, minima.solved
    return Minima(fitted, solved)


@dataclass(frozen=True)
class Losses:
    """Cross-entropy when components are replaced by constants, source by source.

    Constants have dims ``source, width``; those of narrower components end with unused numbers.
    """

    model: Decoder
    prompts: Prompts
    memory_budget: int
    sources: Sequence[int] | None = None

    @property
    def groups(self) -> list[Sequence[int]]:
        """Sources measured at once: all of them, unless one prompt exceeds the budget."""
        at_once = max(1, self.memory_budget // self._bytes_per_run - 1)
        sources = range(len(self.model.components)) if self.sources is None else self.sources
        return [sources[first : first + at_once] for first in range(0, len(sources), at_once)]

    @property
    def prompts_at_once(self) -> int:
        """Prompts measured at once with a group of sources."""
        runs = 1 + len(self.groups[0])
        affordable = self.memory_budget // (runs * self._bytes_per_run)
        in_cache = chunking.ROWS_AT_ONCE // (runs * self.prompts.tokens.shape[1])
        return max(1, min(affordable, in_cache, len(self.prompts)))

    @property
    def _bytes_per_run(self) -> int:
        """Memory that one run of one prompt takes for its gradient [bytes]."""
        length, scored = self.prompts.tokens.shape[1], self.prompts.scored.shape[1]
        layers = sum(4 * self.model.hidden + 2 * b.workspace for b in self.model.blocks)
        return 8 * (length * layers + 4 * scored * self.model.vocabulary)

    def of(self, sources: Tensor, constants: Tensor) -> Tensor:
        """Return the mean over prompts and scored positions [nats], dims ``source``.

        Takes the sources' ascending indices and the constant of each.
        """
        with torch.no_grad():
            parts = [self._summed(chunk, sources, constants) for chunk in self._chunks()]
        return torch.stack(parts).sum(dim=0) / len(self.prompts)

    def with_gradient(self, sources: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the gradient of each by its own constant."""
        leaf = constants.detach().requires_grad_()
        value = leaf.new_zeros(len(leaf))
        gradient = torch.zeros_like(leaf)
        for chunk in self._chunks():
            losses = self._summed(chunk, sources, leaf)
            value += losses.detach()
            gradient += torch.autograd.grad(losses.sum(), leaf)[0]
        return value / len(self.prompts), gradient / len(self.prompts)

    def _chunks(self) -> Iterator[Prompts]:
        for rows in self.prompts.groups():
            group = self.prompts.take(rows).cut(())
            for first in range(0, len(group), self.prompts_at_once):
                yield group.take(slice(first, first + self.prompts_at_once))

    def _summed(self, prompts: Prompts, sources: Tensor, constants: Tensor) -> Tensor:
        """Sum the losses over prompts; run 0 is the clean one, and each source joins in its turn.

        See `cntbench.engine.sweep` for the equations. From the queries of the last attention on,
        nothing reads the positions that are not scored.
        """
        model = self.model
        scored = torch.from_numpy(prompts.scored).to(constants.device)
        rows = torch.arange(len(prompts), device=constants.device)[:, None]
        streams = model.embed(torch.from_numpy(prompts.tokens).to(constants.device))[None]
        last = max(last_attention(model), 0)
        joined = 0
        for index, (stage, places, _) in enumerate(model.walk):
            normed = stage.norm(streams)
            queries = None
            if index == last:
                queries = Queries(normed, scored)
                normed, streams = normed[:, rows, scored], streams[:, rows, scored]
            after = streams.clone()
            joining = []
            for block, _, nodes in places:
                states = block.states(normed, queries)
                block.write(states, after)
                local = sources[(sources >= nodes.start) & (sources < nodes.stop)] - nodes.start
                replacements = constants[joined : joined + len(local), : block.width]
                joined += len(local)
                clean = states[0].detach()
                changes = torch.zeros_like(clean)
                changes[..., local, :] = replacements - clean[..., local, :]
                joining.append(block.contributions(changes)[local])
            clean = after[:1].detach()
            streams = torch.cat([after, *(clean + change for change in joining)])
        answers = Answers.of(prompts, constants.device)
        logits = model.unembed(model.final_norm(streams[1:]))
        return answers.combined(_cross_entropy(logits, answers.targets)).sum(dim=-1)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of targets, or of sets of them, dims ``run, prompt, scored``."""
    answers = targets.expand(len(logits), *targets.shape)
    if targets.dim() == 3:
        of_sets = logits.gather(-1, answers.clamp(min=0)).masked_fill(
            answers == PADDING, -torch.inf
        )
        return logits.logsumexp(dim=-1) - of_sets.logsumexp(dim=-1)
    losses = F.cross_entropy(logits.flatten(0, -2), answers.flatten(), reduction="none")
    return losses.view(answers.shape)


def _spread(model: Decoder, prompts: Prompts, at_once: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return each component's mean state, its standard deviation, and whether it varies."""
    widest = max(block.width for block in model.blocks)
    means, squares, variances = [], [], []
    for moments in spread(model, prompts, "clean", at_once):
        mean, square = moments.pooled.mean, moments.pooled.square
        means.append(F.pad(mean, (0, widest - mean.shape[1])))
        squares.append(square.mean(dim=1))
        variances.append((square - mean.square()).clamp(min=0).mean(dim=1))
    deviation, size = torch.cat(variances).sqrt(), torch.cat(squares).sqrt()
    return torch.cat(means), deviation, deviation > VARIES * size
