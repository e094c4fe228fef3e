"""The engine: the causal influence of every component on every later one.

`cntbench.engine.sweep` holds the pass that measures total effects and its equations,
`cntbench.engine.edges` the effects of single edges; here sweeps are cut into chunks, prompts of
different lengths are measured group by group, so that none is padded for another, and values become
means over draws, then means and standard errors over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cntbench.ablations.ablation import Ablation
from cntbench.engine.arrays import Array
from cntbench.engine.chunking import chunking, pieces
from cntbench.engine.edges import Effects, measure_edges
from cntbench.engine.optimal_constants import optimal_constants
from cntbench.engine.position_sums import PositionSums
from cntbench.engine.replacing import Statistics
from cntbench.engine.request import Request
from cntbench.engine.sweep import Sweep, read_clean, spread
from cntbench.prompts import lengths
from cntbench.readouts import known_readouts


@dataclass(frozen=True)
class Influence:
    """What one model does on one task, under some ablations.

    Parameters
    ----------
    influence, influence_se
        Mean over prompts and its standard error, dims ``ablation, source, target``; NaN where the
        edge is not feasible.
    readout_value, readout_se
        The clean model's readouts, dims ``readout``, all that there are, in the order of
        `cntbench.readouts.known_readouts`; NaN where not asked for.
    readout_effect, readout_effect_se
        Ablated minus clean, dims ``ablation, readout, source``; NaN where not asked for. With
        direct scope, what reaches the unembedding over the one edge from the source.
    edge_effect, edge_effect_se
        Change of the first readout asked for through an edge, ablated minus clean, dims as
        ``influence``; NaN for ablations that observe targets. For the others, ``influence`` is
        its absolute value.
    prefix_matching, previous_token
        Attention scores, dims ``source``; NaN for MLPs.
    kept
        What the request keeps of single prompts and positions, by the names of
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
    kept: Mapping[str, Array] = field(default_factory=dict)


@torch.inference_mode()
def influence(request: Request) -> Influence:
    """Measure the effect of every component on every later one and on the readouts.

    Raises
    ------
    CntbenchError
        If the request cannot be met; see `Request.checked`.
    """
    request = _with_sums(request.checked())
    statistics = statistics_of(request)
    effects, value, scores = _measure_groups(request, statistics)
    found = _summary(request.ablations, effects, value, scores)
    return replace(found, kept=_kept(request, found, effects, value)) if request.keep else found


def statistics_of(request: Request) -> Statistics:
    """Return what the replacements of a request take from all its prompts."""
    at_once = chunking(request, "total").prompts
    return Statistics(
        spreads={
            corpus: spread(request.model, request.prompts, corpus, at_once)
            for corpus in request.populations
        },
        constants={
            steps: optimal_constants(
                request.model, request.prompts, steps=steps, memory_budget=request.memory_budget
            )
            for steps in request.fits
        },
    )


def _measure_groups(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure prompts of several lengths, those of one length together; see `_total`."""
    if request.prompts.anchors is None:
        return _measure(request, statistics)
    n, count = len(request.model.components), len(request.prompts)
    effects = Effects.undefined(len(request.drawn), n, count)
    value, scores = np.full((len(known_readouts()), count), np.nan), np.full((2, n, count), np.nan)
    whole = effects.change, effects.edge, effects.effect, value, scores
    for rows, group in request.groups():
        found, *others = _measure(group, statistics)
        parts = found.change, found.edge, found.effect, *others
        for array, part in zip(whole, parts, strict=True):
            array[..., rows] = part
    return effects, value, scores


def _measure(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
    """Measure prompts of one length; see `_total`."""
    effects, value, scores = _total(request, statistics)
    if request.of_scope("direct"):
        single = measure_edges(request, statistics)
        effects = _interleaved([a.scope == "total" for a in request.drawn], effects, single)
    if request.targets is not None:  # others of a block are measured with them
        unwatched = np.setdiff1d(np.arange(len(request.model.components)), request.targets)
        effects.change[:, :, unwatched] = effects.edge[:, :, unwatched] = np.nan
    return effects, value, scores


def _with_sums(request: Request) -> Request:
    """Return the request with a place for changes at single positions, if they are kept."""
    if "positions" not in request.keep or request.model.unembed.weight.is_meta:
        return request
    count = len(_prompts_at(request))
    sums = PositionSums(request.ablations, len(request.model.components), count)
    return replace(request, sums=sums)


def _prompts_at(request: Request) -> NDArray[np.int64]:
    """Return how many prompts have each observed position, dims ``position``."""
    prompts = request.prompts
    ends = lengths(prompts.tokens if request.observe_all else prompts.scored)
    counts: NDArray[np.int64] = (ends[:, None] > np.arange(ends.max())).sum(axis=0)
    return counts


def _kept(request: Request, found: Influence, effects: Effects, value: Array) -> dict[str, Array]:
    """Return what is kept of single prompts and positions."""
    kept: dict[str, Array] = {}
    draws = [ablation.draws for ablation in request.ablations]
    if "prompts" in request.keep:
        kept["influence_by_prompt"] = _over_draws(effects.change, draws)
        kept["edge_effect_by_prompt"] = _over_draws(effects.edge, draws)
        kept["readout_effect_by_prompt"] = _over_draws(effects.effect, draws)
        kept["readout_value_by_prompt"] = value
    if request.sums is not None:
        means = request.sums.means(found.influence, _prompts_at(request))
        kept["influence_by_position"] = means
    return kept


def _total(request: Request, statistics: Statistics) -> tuple[Effects, Array, Array]:
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
    n, count = len(request.model.components), len(request.prompts)
    ablations, sizes = request.of_scope("total"), chunking(request, "total")
    measured = Effects.undefined(len(ablations), n, count)
    scores = np.full((2, n, count), np.nan)
    final: list[torch.Tensor] = []
    for rows, part in pieces(request, sizes):
        sweep = Sweep(part, ablations, statistics, sizes.runs)
        sweep.run(measured.change[..., rows], scores[..., rows])
        sweep.read(measured.effect[..., rows])
        if part.ablated[0] == request.ablated[0]:
            final.append(sweep.final.clone())
    return measured, read_clean(request, torch.cat(final)), scores


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
