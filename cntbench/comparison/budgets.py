"""Circuits at a budget: how much of a planted model's output the best edges alone recover.

The circuit of a budget holds the share k of the edges between components that a method scores
highest. Edges from the embedding and into the unembedding are in every circuit, because methods
measure them in different units. All other edges carry the corrupted prompt's values
(`cntbench.engine.circuit`). Let D(C) be the KL divergence of a circuit's output from the model's.
As in `cntbench.comparison.circuits.faithfulness`, over `BUDGETS` and k = 1,

    f(C) = 1 − D(C) / D(∅),    CPR = ∫ f(C_k) dk.

Planted models solve no task, so no difference of logits would measure their output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.analysis.recovery import Recovery
from cntbench.comparison.circuits.selection import top, with_unscored
from cntbench.comparison.purposes import DIFFICULTIES
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import statistics_of
from cntbench.engine.request import Request
from cntbench.models.planted.spec import Difficulty
from cntbench.parallel.processes import parallel_map
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, StudyEntry
from cntbench.runs.known_circuits import planted_plan

#: Shares of the edges between components.
BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5)
#: The readout that measures the output of a circuit.
DISTANCE = "kl_divergence"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Model:
    """A model of a circuit, and each method's scores of its edges."""

    known: KnownCircuit
    difficulty: Difficulty
    seed: int
    study: StudyEntry
    patch: AblationEntry
    scores: Sequence[Array]


def recovered_output(
    records: Iterable[Recovery],
    circuits: Sequence[KnownCircuit],
    study: StudyEntry,
    patch: AblationEntry,
    *,
    jobs: int = 1,
) -> dict[tuple[str, str, int], float]:
    """Return the CPR of every method on every realistic or trained model.

    Parameters
    ----------
    study
        Its seed draws the prompts.
    patch
        The ablation that patches edges outside a circuit.

    Returns
    -------
    dict of float
        By ablation, circuit and seed.
    """
    known = {circuit.circuit.name: circuit for circuit in circuits}
    grouped: dict[tuple[str, Difficulty, int], list[Recovery]] = {}
    for record in records:
        if record.difficulty in DIFFICULTIES and record.circuit in known:
            key = (record.circuit, record.difficulty, record.seed)
            grouped.setdefault(key, []).append(record)
    models = [
        _Model(known[name], difficulty, seed, study, patch, [record.scores for record in group])
        for (name, difficulty, seed), group in grouped.items()
    ]
    return {
        (record.ablation, name, seed): float(value)
        for ((name, _, seed), group), values in zip(
            grouped.items(), parallel_map(_areas, models, jobs=jobs), strict=True
        )
        for record, value in zip(group, values, strict=True)
    }


def _areas(model: _Model) -> Array:
    """Return the CPR of each method."""
    plan = planted_plan(model.study, [model.patch], model.known)
    request = Request(
        model.known.circuit.decoder(model.difficulty, model.seed),
        plan.prompts[0],
        [model.patch.method],
        effects=(DISTANCE,),
        readouts=(),
        seed=model.study.spec.seed,
    ).checked()
    edges = edges_of(request.model)
    values = np.full((len(model.scores), *edges.shape), np.nan)
    values[:, 1:, :-1] = model.scores
    values[:, ~edges] = np.nan
    circuits = np.array([_circuits(scores, edges) for scores in values])
    unscored = edges & ~np.isfinite(values[0])
    empty = with_unscored(np.zeros_like(edges), unscored)
    flat = np.concatenate([empty[None], circuits.reshape(-1, *edges.shape)])
    distance = circuit_readouts(request, statistics_of(request), flat).mean(axis=-1)
    recovered = 1 - distance[1:].reshape(circuits.shape[:2]) / distance[0]
    all_edges = np.ones((len(recovered), 1))
    areas: Array = np.trapezoid(np.hstack([recovered, all_edges]), [*BUDGETS, 1.0], axis=-1)
    return areas


def _circuits(scores: Array, edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pruned circuits of all budgets."""
    unscored = edges & ~np.isfinite(scores)
    count = edges.sum() - unscored.sum()
    sizes = [int(share * count + 1e-9) for share in BUDGETS]  # rounded down, as in MIB
    return np.array([with_unscored(top(scores, size), unscored) for size in sizes])
