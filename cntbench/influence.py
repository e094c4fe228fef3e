"""The engine: the causal influence of every component on every later one, in one pass.

`cntbench.sweep` holds the pass itself and its equations; here a sweep is cut into chunks, and its
values become means and standard errors over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cntbench.ablation import Ablation
from cntbench.chunking import chunking
from cntbench.errors import CntbenchError
from cntbench.models.decoder import Decoder
from cntbench.optimal_constants import optimal_constants
from cntbench.prompts import Prompts
from cntbench.specs import READOUTS, Readout
from cntbench.sweep import Array, Sweep, corpora, corpus_tokens, read_clean, spread


@dataclass(frozen=True)
class Influence:
    """What one model does on one task, under some ablations.

    Parameters
    ----------
    influence, influence_se
        Mean over prompts and its standard error, dims ``ablation, source, target``; NaN where the
        edge is not feasible.
    readout_value, readout_se
        The clean model's readouts, dims ``readout`` in the order of `cntbench.specs.READOUTS`.
    readout_effect, readout_effect_se
        Ablated minus clean, dims ``ablation, readout, source``; NaN where not asked for.
    prefix_matching, previous_token
        Attention scores, dims ``source``; NaN for MLPs.
    """

    influence: Array
    influence_se: Array
    readout_value: Array
    readout_se: Array
    readout_effect: Array
    readout_effect_se: Array
    prefix_matching: Array
    previous_token: Array


@torch.inference_mode()
def influence(
    model: Decoder,
    prompts: Prompts,
    ablations: Sequence[Ablation],
    *,
    observe_all: bool = False,
    effects: Sequence[Readout] = ("logit_difference",),
    seed: int = 0,
    memory_budget: int = 2**30,
) -> Influence:
    """Measure the total effect of every component on every later one and on the readouts.

    Parameters
    ----------
    model
        The decoder to measure.
    prompts
        Clean prompts with what their replacements draw on.
    ablations
        Methods to apply; they share the clean run and every matrix product.
    observe_all
        Measure the change of targets at all positions, not only at the scored ones.
    effects
        Readouts whose change is computed for every source.
    seed
        Seed of the replacements' random draws.
    memory_budget
        Memory to use beyond the model's own [bytes]; does not change the numbers.

    Raises
    ------
    CntbenchError
        If the prompts are longer than the model's context or use tokens that it does not have, or
        if an ablation needs reference prompts and there are none.
    """
    _check(model, prompts, ablations)
    run_beside = corpora(ablations)
    populations = {a.replacement.population_corpus for a in ablations} - {None}
    sizes = chunking(
        model,
        n_prompts=len(prompts),
        length=prompts.tokens.shape[1],
        base=len(run_beside),
        ablations=len(ablations),
        populations=len(populations),
        memory_budget=memory_budget,
    )
    spreads = {
        corpus: spread(model, corpus_tokens(prompts, corpus), sizes.prompts)
        for corpus in populations
        if corpus is not None
    }
    constants = {
        steps: optimal_constants(model, prompts, steps=steps, memory_budget=memory_budget)
        for steps in {ablation.replacement.fitting_steps for ablation in ablations} - {0}
    }
    n, count = len(model.components), len(prompts)
    change = np.full((len(ablations), n, n, count), np.nan)
    effect = np.full((len(ablations), len(READOUTS), n, count), np.nan)
    scores = np.full((2, n, count), np.nan)
    final: list[torch.Tensor] = []
    for start in range(0, count, sizes.prompts):
        rows = slice(start, min(start + sizes.prompts, count))
        for first in range(0, n, sizes.sources):
            sweep = Sweep(
                model,
                prompts.take(rows),
                ablations,
                run_beside,
                spreads,
                constants,
                range(first, min(first + sizes.sources, n)),
                observe_all=observe_all,
                seed=seed,
            )
            sweep.run(change[..., rows], scores[..., rows])
            sweep.read(effects, effect[..., rows])
        final.append(sweep.final.clone())
    value = read_clean(model, prompts, torch.cat(final))
    return Influence(
        *_mean_and_error(change),
        *_mean_and_error(value),
        *_mean_and_error(effect),
        prefix_matching=_mean_of_defined(scores[0]),
        previous_token=_mean_of_defined(scores[1]),
    )


def _check(model: Decoder, prompts: Prompts, ablations: Sequence[Ablation]) -> None:
    length, largest = prompts.tokens.shape[1], int(prompts.tokens.max())
    if length > model.context:
        raise CntbenchError(
            f"prompts of {length} tokens are longer than the model's context of {model.context}"
        )
    if largest >= model.vocabulary:
        raise CntbenchError(f"token {largest} is outside the vocabulary of {model.vocabulary}")
    for ablation in ablations:
        rule = ablation.replacement
        if prompts.reference is None and "reference" in {rule.donor_corpus, rule.population_corpus}:
            raise CntbenchError(
                f"ablation {ablation.name!r} needs reference prompts, and the task has none"
            )


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
