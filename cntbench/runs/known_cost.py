"""The cost of ablations on a planted circuit: counted work relative to one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from cntbench.ablations.ablation import Ablation
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.parallel.processes import parallel_map
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, StudyEntry
from cntbench.runs.known_circuits import PROMPTS, planted_plan


def forward_passes(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    circuits: Sequence[KnownCircuit],
    *,
    jobs: int = 1,
) -> Mapping[str, float]:
    """Count the cost of each ablation on the circuit with the most components.

    Returns
    -------
    mapping of float
        By ablation, the FLOPs of measuring all edges on a task's prompts, relative to those of one
        forward pass on them. `cntbench.engine.meter` says what is counted.
    """
    largest = max(circuits, key=lambda known: len(known.circuit.components))
    plan = planted_plan(study, ablations, largest, PROMPTS)
    task, prompts = plan.tasks[0], plan.prompts[0]
    request = Request(
        largest.circuit.decoder(),
        prompts,
        [],
        observe_all=task.spec.observed == "all",
        effects=task.spec.effects,
        readouts=(),
    )
    once = predicted_work(request).flops
    flops = parallel_map(partial(_flops, request), [a.method for a in ablations], jobs=jobs)
    return {entry.name: n / once for entry, n in zip(ablations, flops, strict=True)}


def _flops(request: Request, method: Ablation) -> int:
    return predicted_work(Request(**{**vars(request), "ablations": [method]})).flops
