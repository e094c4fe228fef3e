"""Effects of single edges on targets and on the readout, chunk by chunk, in one pass for all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from cntbench.ablations.ablation import distinct_replacements
from cntbench.engine.arrays import Array, Arrivals
from cntbench.engine.attribution import Edges, Estimate, StreamChange
from cntbench.engine.chunking import chunking, pieces
from cntbench.engine.direct import change_readouts, change_targets
from cntbench.engine.perturbations import perturb
from cntbench.engine.replacing import Statistics
from cntbench.engine.request import Request
from cntbench.errors import PluginError
from cntbench.plugins import find, room
from cntbench.readouts import known_readouts


class Effects(NamedTuple):
    """Effects of ablations, by prompt.

    Parameters
    ----------
    change
        Changes of targets, dims ``ablation, source, target, prompt``; NaN where the readout is
        observed.
    edge
        Changes of the readout, the same dims; NaN where targets are observed.
    effect
        Changes of readouts, dims ``ablation, readout, source, prompt``; with direct scope, over the
        edge to the unembedding.
    """

    change: Array
    edge: Array
    effect: Array

    @classmethod
    def undefined(cls, ablations: int, components: int, prompts: int) -> Effects:
        """Return effects that have not been measured: NaN."""
        edges = (ablations, components, components, prompts)
        readouts = (ablations, len(known_readouts()), components, prompts)
        return cls(*(np.full(shape, np.nan) for shape in (edges, edges, readouts)))

    def of(self, ablation: int, prompts: slice) -> Effects:
        """Return the effects of one ablation on some prompts, as views."""
        return Effects(*(array[ablation, ..., prompts] for array in self))


def measure_edges(request: Request, statistics: Statistics) -> Effects:
    """Measure all ablations of direct scope; they share the clean run and the replaced states."""
    ablations, n = request.of_scope("direct"), len(request.model.components)
    measured = Effects.undefined(len(ablations), n, len(request.prompts))
    distinct, rule = distinct_replacements(ablations)
    for rows, part in pieces(request, chunking(request, "direct")):
        perturbations = perturb(part, distinct, statistics)
        for i, ablation in enumerate(ablations):
            edges = Edges(part, perturbations, ablation, rule[i], statistics)
            _measure(edges, measured.of(i, rows))
    return measured


def _measure(edges: Edges, measured: Effects) -> None:
    request, clean, ablation = edges.request, edges.perturbations.streams[-1], edges.ablation
    if request.effects and ablation.scope == "direct":
        # Each source over its edge to the unembedding.
        change_readouts(request, clean, request.ablated, edges.changes, measured.effect)
    if ablation.observable == "target" and ablation.estimator == "exact":
        change_targets(edges, measured.change)
    else:
        effects = measured.edge if ablation.observable == "readout" else measured.change
        estimate_edges(edges, effects, measured.effect)


def estimate_edges(edges: Edges, effects: Array, effect: Array) -> None:
    """Compute the effect of every edge with the ablation's estimator.

    Fills ``effects``, dims ``source, target, prompt``, and, if the estimator yields changes of the
    final stream, ``effect``, that on readouts, dims ``readout, source, prompt``.

    Raises
    ------
    PluginError
        If the estimator yields no estimate, values of another shape, NaN, or nothing for a feasible
        edge.
    """
    file, request = find("estimator", edges.ablation.estimator), edges.request
    arrivals = Arrivals(edges.changes.device)
    yielded = file.estimate(edges)
    for estimate in yielded if isinstance(yielded, Iterable) else [yielded]:
        if not isinstance(estimate, Estimate | StreamChange):
            what = f"yields {type(estimate).__name__}"
            raise _wrong(edges, what, "Yield cntbench.engine.attribution.Estimate objects.")
        if isinstance(estimate, StreamChange):
            if request.effects:
                clean = edges.perturbations.streams[-1]
                change_readouts(request, clean, estimate.sources, estimate.values, effect)
            continue
        _check_shape(edges, estimate)
        arrivals.add(estimate.values.double(), partial(_add, edges, estimate, effects))
    arrivals.bring()
    if request.model.unembed.weight.is_meta:
        return
    for _, _, nodes in request.model.walk:
        sources, targets = edges.reaching(nodes), request.watched(nodes)
        missing = np.argwhere(np.isnan(effects[np.ix_(sources, targets)]))
        if len(missing):
            pair = sources[missing[0][0]], targets[missing[0][1]]
            raise _wrong(edges, f"yields no value for the edge {_edge(edges, *pair)}", EVERY_EDGE)


#: Rule for the values that an estimator yields.
EVERY_EDGE = "Every edge from an ablated component to one that reads it needs a finite number."


def _check_shape(edges: Edges, estimate: Estimate) -> None:
    shape = len(estimate.sources), len(estimate.targets), len(edges.prompts)
    if tuple(estimate.values.shape) != shape:
        raise _wrong(
            edges,
            f"yields values of shape {tuple(estimate.values.shape)} for {shape[0]} sources and "
            f"{shape[1]} targets on {shape[2]} prompts",
            f"Allowed: dims source, target, prompt, here {shape}.",
        )


def _add(edges: Edges, estimate: Estimate, effects: Array, values: Array) -> None:
    """Add the values of an estimate to the effects; raise if they are not finite."""
    infinite = np.argwhere(~np.isfinite(values))
    if len(infinite) and not estimate.values.is_meta:
        source, target, _ = infinite[0]
        edge = _edge(edges, estimate.sources[source], estimate.targets[target])
        raise _wrong(edges, f"yields {values[tuple(infinite[0])]} for the edge {edge}", EVERY_EDGE)
    cells = np.ix_(estimate.sources, estimate.targets)
    before = effects[cells]
    effects[cells] = np.where(np.isnan(before), 0.0, before) + values


def _edge(edges: Edges, source: int, target: int) -> str:
    names = edges.model.components
    return f"{names[source].name} → {names[target].name}"


def _wrong(edges: Edges, what: str, hint: str) -> PluginError:
    name = edges.ablation.estimator
    return PluginError(
        f"estimator {name!r} of ablation {edges.ablation.name!r} {what}",
        where=str(room("estimator")[name].path),
        hint=hint,
    )
