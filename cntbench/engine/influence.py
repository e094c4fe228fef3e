"""The engine: the causal influence of every component on every later one.

`cntbench.engine.sweep` holds the pass that measures total effects and its equations,
`cntbench.engine.edges` the effects of single edges; here sweeps are cut into chunks, and values
become means over draws, then means and standard errors over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cntbench.engine.ablation import Ablation, donors
from cntbench.engine.chunking import Chunking, chunking
from cntbench.engine.edges import Effects, measure_edges
from cntbench.engine.optimal_constants import optimal_constants
from cntbench.engine.replacing import corpus_tokens
from cntbench.engine.sweep import Array, Sweep, read_clean, spread
from cntbench.errors import CntbenchError
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts
from cntbench.replacements._base import Corpus, Spread
from cntbench.specs import READOUTS, Readout


@dataclass(frozen=True)
class Influence:
    """What one model does on one task, under some ablations.

    Parameters
    ----------
    influence, influence_se
        Mean over prompts and its standard error, dims ``ablation, source, target``; NaN where the
        edge is not feasible.
    readout_value, readout_se
        The clean model's readouts, dims ``readout`` in the order of `cntbench.specs.READOUTS`; NaN
        where not asked for.
    readout_effect, readout_effect_se
        Ablated minus clean, dims ``ablation, readout, source``; NaN where not asked for. With
        direct scope, what reaches the unembedding over the one edge from the source.
    edge_effect, edge_effect_se
        Change of the first readout asked for through an edge, ablated minus clean, dims as
        ``influence``; NaN for ablations that observe targets. For the others, ``influence`` is
        its absolute value.
    prefix_matching, previous_token
        Attention scores, dims ``source``; NaN for MLPs.
    """

    influence: Array
    influence_se: Array
    readout_value: Array
    readout_se: Array
    readout_effect: Array
    readout_effect_se: Array
    edge_effect: Array
    edge_effect_se: Array
    prefix_matching: Array
    previous_token: Array


@torch.inference_mode()
def influence(
    model: Decoder,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    *,
    sources: range | None = None,
    observe_all: bool = False,
    effects: Sequence[Readout] = ("logit_difference",),
    readouts: Sequence[Readout] = READOUTS,
    seed: int = 0,
    memory_budget: int = 2**30,
) -> Influence:
    """Measure the effect of every component on every later one and on the readouts.

    Parameters
    ----------
    model
        The decoder to measure.
    prompts
        Clean prompts with what their replacements draw on.
    ablations
        Methods to apply. Those of total scope share the clean run and every matrix product, those
        of direct scope the clean run and the states that they replace by.
    sources
        Components to ablate, as indices in causal order; by default all. For the others, effects
        are NaN.
    observe_all
        Measure the change of targets at all positions, not only at the scored ones.
    effects
        Readouts whose change is computed for every source, and the first of them for every edge if
        an ablation observes the readout.
    readouts
        Readouts of the clean model to compute; cross-entropy and accuracy take all its logits.
    seed
        Seed of the replacements' random draws.
    memory_budget
        Memory to use beyond the model's own [bytes]; does not change the numbers.

    Raises
    ------
    CntbenchError
        If the prompts are longer than the model's context or use tokens that it does not have, if
        an ablation needs reference prompts and there are none, or more other prompts than there
        are, or observes a readout that is not asked for or has no gradient.
    """
    _check(model, prompts, ablations, effects)
    most = max((a.draws for a in ablations if a.replacement.donor_corpus == "other"), default=1)
    if most > 1:
        prompts = prompts.with_draws(most)
    drawn = [one for ablation in ablations for one in ablation.each_draw]
    populations = {a.replacement.population_corpus for a in drawn} - {None}
    in_total = [ablation for ablation in drawn if ablation.scope == "total"]
    in_direct = [ablation for ablation in drawn if ablation.scope == "direct"]
    ablated = range(len(model.components)) if sources is None else sources
    sizes = chunking(
        model,
        sources=len(ablated),
        n_prompts=len(prompts),
        length=prompts.tokens.shape[1],
        base=len(donors(in_total)),
        ablations=len(in_total),
        populations=len(populations),
        memory_budget=memory_budget,
        tiled=True,
    )
    spreads = {
        corpus: spread(model, corpus_tokens(prompts, corpus), sizes.prompts)
        for corpus in populations
        if corpus is not None
    }
    constants = {
        steps: optimal_constants(model, prompts, steps=steps, memory_budget=memory_budget)
        for steps in {ablation.replacement.fitting_steps for ablation in drawn} - {0}
    }
    found, value, scores = _total(
        model,
        prompts,
        in_total,
        spreads,
        constants,
        sizes,
        sources=ablated,
        observe_all=observe_all,
        effects=effects,
        readouts=readouts,
        seed=seed,
    )
    if in_direct:
        single = measure_edges(
            model,
            prompts,
            in_direct,
            spreads,
            constants,
            sources=ablated,
            observe_all=observe_all,
            effects=effects,
            seed=seed,
            memory_budget=memory_budget,
        )
        found = _interleaved([a.scope == "total" for a in drawn], found, single)
    return _summary(ablations, found, value, scores)


def _total(
    model: Decoder,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    spreads: dict[Corpus, list[Spread]],
    constants: dict[int, list[Tensor]],
    sizes: Chunking,
    *,
    sources: range,
    observe_all: bool,
    effects: Sequence[Readout],
    readouts: Sequence[Readout],
    seed: int,
) -> tuple[Effects, Array, Array]:
    """Measure total effects, and beside them the clean model.

    Returns
    -------
    Effects
        Prompt by prompt.
    Array
        The clean readouts, dims ``readout, prompt``.
    Array
        Prefix matching and previous token, dims ``score, component, prompt``.
    """
    n, count = len(model.components), len(prompts)
    found = Effects.undefined(len(ablations), n, count)
    scores = np.full((2, n, count), np.nan)
    final: list[torch.Tensor] = []
    beside = donors(ablations)
    for start in range(0, count, sizes.prompts):
        rows = slice(start, min(start + sizes.prompts, count))
        for first in range(0, len(sources), sizes.sources):
            sweep = Sweep(
                model,
                prompts.take(rows),
                ablations,
                beside,
                spreads,
                constants,
                sources[first : first + sizes.sources],
                observe_all=observe_all,
                seed=seed,
                runs_at_once=sizes.runs,
            )
            sweep.run(found.change[..., rows], scores[..., rows])
            sweep.read(effects, found.effect[..., rows])
        final.append(sweep.final.clone())
    return found, read_clean(model, prompts, torch.cat(final), readouts), scores


def _interleaved(total: Sequence[bool], one: Effects, other: Effects) -> Effects:
    """Put effects of total and of direct scope into the order of the ablations."""
    chosen = np.array(total)

    def whole(a: Array, b: Array) -> Array:
        joined = np.empty((len(chosen), *a.shape[1:]))
        joined[chosen], joined[~chosen] = a, b
        return joined

    return Effects(
        whole(one.change, other.change),
        whole(one.edge, other.edge),
        whole(one.effect, other.effect),
    )


def _summary(
    ablations: Sequence[Ablation], found: Effects, value: Array, scores: Array
) -> Influence:
    """Take means over draws, then means and standard errors over prompts."""
    draws = [ablation.draws for ablation in ablations]
    influence, influence_se = _mean_and_error(_over_draws(found.change, draws))
    edge_effect, edge_effect_se = _mean_and_error(_over_draws(found.edge, draws))
    readout_effect, readout_effect_se = _mean_and_error(_over_draws(found.effect, draws))
    readout_value, readout_se = _mean_and_error(value)
    for i, ablation in enumerate(ablations):
        if ablation.observable == "readout":
            influence[i], influence_se[i] = abs(edge_effect[i]), edge_effect_se[i]
    return Influence(
        influence=influence,
        influence_se=influence_se,
        readout_value=readout_value,
        readout_se=readout_se,
        readout_effect=readout_effect,
        readout_effect_se=readout_effect_se,
        edge_effect=edge_effect,
        edge_effect_se=edge_effect_se,
        prefix_matching=_mean_of_defined(scores[0]),
        previous_token=_mean_of_defined(scores[1]),
    )


def _check(
    model: Decoder,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    effects: Sequence[Readout],
) -> None:
    length, largest = prompts.tokens.shape[1], int(prompts.tokens.max())
    if length > model.context:
        raise CntbenchError(
            f"prompts of {length} tokens are longer than the model's context of {model.context}"
        )
    if largest >= model.vocabulary:
        raise CntbenchError(f"token {largest} is outside the vocabulary of {model.vocabulary}")
    for ablation in ablations:
        if prompts.reference is None and "reference" in ablation.corpora:
            raise CntbenchError(
                f"ablation {ablation.name!r} needs reference prompts, and the task has none"
            )
        problem = ablation.unreadable(effects)
        if problem:
            raise CntbenchError(f"ablation {ablation.name!r} {problem}")


def _over_draws(values: Array, draws: Sequence[int]) -> Array:
    """Return means over the draws of each ablation, along the first dim."""
    if len(values) == len(draws):
        return values
    ends = np.cumsum(draws)
    return np.stack([part.mean(axis=0) for part in np.split(values, ends[:-1])])


def _mean_and_error(values: Array) -> tuple[Array, Array]:
    """Return mean and standard error over prompts, the last axis; one prompt has no error."""
    mean = values.mean(axis=-1)
    if values.shape[-1] < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def _mean_of_defined(values: Array) -> Array:
    """Return the mean over the prompts that have a value, NaN where none has."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
