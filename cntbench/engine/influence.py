"""The engine: the causal influence of every component on every later one.

`cntbench.engine.sweep` has the pass that measures total effects, with its equations;
`cntbench.engine.edges` measures the effects of single edges. This module splits sweeps into chunks,
measures prompts of each length together, so that none is padded, and reduces the values: to means
over draws, then to means and standard errors over prompts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cntbench.ablations.ablation import Ablation, donors
from cntbench.ablations.replacements._base import Corpus
from cntbench.engine.arrays import Array
from cntbench.engine.attention_scores import PATTERN_SCORES
from cntbench.engine.chunking import chunking, pieces
from cntbench.engine.edges import Effects, measure_edges
from cntbench.engine.optimal_constants import optimal_constants
from cntbench.engine.position_sums import PositionSums
from cntbench.engine.replacing import Statistics
from cntbench.engine.request import Request
from cntbench.engine.settling import batches, settled
from cntbench.engine.sweep import Sweep, read_clean, spread
from cntbench.prompts import lengths
from cntbench.readouts import known_readouts


@dataclass(frozen=True)
class Influence:
    """Results of one model on one task, under all ablations.

    A standard error takes prompts for independent. With replacements by other prompts they are not:
    what a prompt loses by the replacement, others gain, so that signed effects vary less between
    sets of prompts than is stated, and several draws use each donor several times. The standard
    deviation of means, relative to the stated error, of influence and of the effect on the logit
    difference: ``zero`` 0.99 and 1.01, ``resample`` 0.99 and 1.02, ``mean`` 1.01 and 0.84,
    ``mean_direct`` 1.03 and 0.91, ``resample_other`` 1.05 and 0.88, ``resample_other_4`` 1.14 and
    0.90 (``python -m benchmarks.standard_errors``). Covariances of neighbours, or the mean's
    derivative, would mend the bias; from few prompts the one is too noisy for single edges, and the
    other is not measured.

    Parameters
    ----------
    influence, influence_se
        Mean over prompts and its standard error, dims ``ablation, source, target``; NaN where the
        edge is not feasible.
    readout_value, readout_se
        The clean model's readouts, dims ``readout``, in the order of
        `cntbench.readouts.known_readouts`; NaN for those that were not requested.
    readout_effect, readout_effect_se
        Ablated minus clean, dims ``ablation, readout, source``; NaN for readouts that were not
        requested. With direct scope, the effect over the edge from the source to the unembedding.
    edge_effect, edge_effect_se
        Change of the first requested readout through an edge, ablated minus clean, dims as
        ``influence``; NaN for ablations that observe targets. For the others, ``influence`` is
        its absolute value.
    prefix_matching, previous_token, duplicate_token, positional
        Attention scores, dims ``source``; NaN for MLPs.
    prompts_measured
        Number of prompts that the means are over.
    kept
        Results of single prompts and positions that the request keeps, by the names of
        `cntbench.results.schema.KEPT`, with the dims above, then ``prompt`` or ``position``.
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
    duplicate_token: Array
    positional: Array
    prompts_measured: int = 0
    kept: Mapping[str, Array] = field(default_factory=dict)


@torch.inference_mode()
def influence(request: Request) -> Influence:
    """Measure the effect of every component on every later one and on the readouts.

    Raises
    ------
    CntbenchError
        If the request is invalid; see `Request.checked`.
    """
    request = _with_sums(request.checked())
    statistics = statistics_of(request, request.of_all_prompts(_populations_apart))
    effects, value, scores = _measure_prompts(request, statistics)
    summary = _summary(request.ablations, effects, value, scores)
    if not request.keep:
        return summary
    return replace(summary, kept=_kept(request, summary, effects, value))


def _populations_apart(request: Request) -> set[Corpus]:
    """Return the populations that need a pass of their own.

    Every sweep has the states of the others: all their prompts run beside the ablated ones.
    """
    prompts = request.prompts
    if (
        request.of_scope("direct")
        or request.until_se
        or prompts.anchors is not None
        or len(prompts.distinct) < len(prompts)
        or chunking(request, "total").prompts < len(prompts)
    ):
        return request.populations
    return request.populations - {donor.corpus for donor in donors(request.of_scope("total"))}


def statistics_of(request: Request, populations: Collection[Corpus] | None = None) -> Statistics:
    """Return the statistics over all prompts that the replacements of a request need.

    Takes the populations whose moments are computed, by default all.
    """
    populations = request.populations if populations is None else populations
    at_once = chunking(request, "total").prompts
    return Statistics(
        spreads={
            corpus: spread(request.model, request.prompts, corpus, at_once)
            for corpus in populations
        },
        constants={
            steps: optimal_constants(
                request.model,
                request.prompts,
                steps=steps,
                sources=request.ablated,
                memory_budget=request.memory_budget,
            )
            for steps in request.fits
        },
    )


def _measure_prompts(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure all prompts, or as many as `cntbench.engine.settling` asks for; see `_total`."""
    if not request.until_se or request.model.unembed.weight.is_meta:
        return _measure_groups(request, statistics)
    measured: list[tuple[Array, ...]] = []
    for rows in batches(len(request.prompts)):
        part = replace(request, prompts=request.prompts.take(rows))
        effects, value, scores = _measure_groups(part, statistics)
        measured.append((*effects, value, scores))
        *arrays, value, scores = (
            np.concatenate(parts, axis=-1) for parts in zip(*measured, strict=True)
        )
        effects = Effects(*arrays)
        summary = _summary(request.ablations, effects, value, scores)
        if settled(summary.influence, summary.influence_se, request.until_se):
            break
    return effects, value, scores


def _measure_groups(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure the prompts of each length together; see `_total`."""
    if request.prompts.anchors is None:
        return _measure(request, statistics)
    n, count = len(request.model.components), len(request.prompts)
    effects = Effects.undefined(len(request.drawn), n, count)
    value = np.full((len(known_readouts()), count), np.nan)
    scores = np.full((len(PATTERN_SCORES), n, count), np.nan)
    for rows, group in request.groups():
        of_group, *others = _measure(group, statistics)
        pairs = zip((*effects, value, scores), (*of_group, *others), strict=True)
        for array, part in pairs:
            array[..., rows] = part
    return effects, value, scores


def _measure(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure prompts of one length; see `_total`."""
    effects, value, scores = _total(request, statistics)
    if request.of_scope("direct"):
        direct = measure_edges(request, statistics)
        effects = _interleaved([a.is_swept for a in request.drawn], effects, direct)
    if request.targets is not None:  # a block is measured with all its components
        unwatched = np.setdiff1d(np.arange(len(request.model.components)), request.targets)
        effects.change[:, :, unwatched] = effects.edge[:, :, unwatched] = np.nan
    return effects, value, scores


def _with_sums(request: Request) -> Request:
    """Return the request with sums of changes at single positions, if they are kept."""
    if "positions" not in request.keep or request.model.unembed.weight.is_meta:
        return request
    count = len(_prompts_at(request))
    sums = PositionSums(request.ablations, len(request.model.components), count)
    return replace(request, sums=sums)


def _prompts_at(request: Request, measured: int | None = None) -> NDArray[np.int64]:
    """Return the number of prompts that have each observed position, dims ``position``.

    Counts the first prompts that were measured, by default all.
    """
    prompts = request.prompts
    ends = lengths(prompts.tokens if request.observe_all else prompts.scored)
    counts: NDArray[np.int64] = (ends[:measured, None] > np.arange(ends.max())).sum(axis=0)
    return counts


def _kept(request: Request, summary: Influence, effects: Effects, value: Array) -> dict[str, Array]:
    """Return the results of single prompts and positions that are kept."""
    kept: dict[str, Array] = {}
    draws = [ablation.draws for ablation in request.ablations]
    if "prompts" in request.keep:
        kept["influence_by_prompt"] = _over_draws(effects.change, draws)
        kept["edge_effect_by_prompt"] = _over_draws(effects.edge, draws)
        kept["readout_effect_by_prompt"] = _over_draws(effects.effect, draws)
        kept["readout_value_by_prompt"] = value
    if request.sums is not None:
        counts = _prompts_at(request, summary.prompts_measured)
        kept["influence_by_position"] = request.sums.means(summary.influence, counts)
    return kept


def _total(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure total effects and the clean model.

    Returns the effects by prompt, the clean readouts, dims ``readout, prompt``, and the
    `PATTERN_SCORES`, dims ``score, component, prompt``.
    """
    n, count = len(request.model.components), len(request.prompts)
    ablations, sizes = request.of_scope("total"), chunking(request, "total")
    measured = Effects.undefined(len(ablations), n, count)
    scores = np.full((len(PATTERN_SCORES), n, count), np.nan)
    final: list[torch.Tensor] = []
    for rows, part in pieces(request, sizes):
        sweep = Sweep(part, ablations, statistics, sizes.runs)
        sweep.run(measured.change[..., rows], scores[..., rows])
        sweep.read(measured.effect[..., rows])
        if part.ablated[0] == request.ablated[0]:
            final.append(sweep.final.clone())
    return measured, read_clean(request, torch.cat(final)), scores


def _interleaved(is_total: Sequence[bool], total: Effects, direct: Effects) -> Effects:
    """Return the effects of total and direct scope in the order of the ablations."""
    mask, merged = np.array(is_total), []
    for swept, others in zip(total, direct, strict=True):
        effects = np.empty((len(mask), *swept.shape[1:]))
        effects[mask], effects[~mask] = swept, others
        merged.append(effects)
    return Effects(*merged)


def _summary(
    ablations: Sequence[Ablation], effects: Effects, value: Array, scores: Array
) -> Influence:
    """Take means over draws, then means and standard errors over prompts."""
    draws = [ablation.draws for ablation in ablations]
    influence, influence_se = _mean_and_error(_over_draws(effects.change, draws))
    edge_effect, edge_effect_se = _mean_and_error(_over_draws(effects.edge, draws))
    readout_effect, readout_effect_se = _mean_and_error(_over_draws(effects.effect, draws))
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
        duplicate_token=_mean_of_defined(scores[2]),
        positional=_mean_of_defined(scores[3]),
        prompts_measured=value.shape[-1],
    )


def _over_draws(values: Array, draws: Sequence[int]) -> Array:
    """Return the mean over the draws of each ablation, along the first dim."""
    if len(values) == len(draws):
        return values
    ends = np.cumsum(draws)
    return np.stack([part.mean(axis=0) for part in np.split(values, ends[:-1])])


def _mean_and_error(values: Array) -> tuple[Array, Array]:
    """Return mean and standard error over prompts, the last axis; the error is NaN for 1 prompt."""
    mean = values.mean(axis=-1)
    if values.shape[-1] < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def _mean_of_defined(values: Array) -> Array:
    """Return the mean over the prompts that have a value; NaN if none has."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
