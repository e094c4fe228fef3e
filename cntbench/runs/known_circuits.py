"""Measure ablations on planted circuits, whose edges are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cntbench.analysis.diagnostics import Diagnostic
from cntbench.analysis.recovery import RESOLUTION, Recovery
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.models.planted.circuit import Circuit
from cntbench.models.planted.spec import Difficulty
from cntbench.models.trajectory import Trajectory
from cntbench.parallel import Progress
from cntbench.parallel.processes import parallel_map
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, StudyEntry
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import Plan
from cntbench.runs.tasks import without_prose

#: Models per circuit and difficulty, and prompts per task.
SEEDS = 3
PROMPTS = 16


@dataclass(frozen=True)
class PlantedModel:
    """One model of a circuit, and the plan that measures it."""

    circuit: Circuit
    difficulty: Difficulty
    seed: int
    plan: Plan


def judged(circuit: Circuit) -> tuple[Difficulty, int]:
    """Return the difficulty and seed of the model that the diagnostics of a circuit judge."""
    return circuit.difficulties[0], 0


def planted_models(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    circuits: Sequence[KnownCircuit],
    *,
    seeds: int = SEEDS,
    prompts: int = PROMPTS,
) -> list[PlantedModel]:
    """Return the models of circuits; one with diagnostics has one model, the one they judge.

    Errors are those of `planted_plan`.
    """
    return [
        PlantedModel(known.circuit, difficulty, seed, plan)
        for known in circuits
        for plan in [planted_plan(study, ablations, known, prompts)]
        for difficulty in known.circuit.difficulties
        for seed in range(1 if difficulty == "trained" else seeds)  # a trained circuit has one
        if not known.circuit.diagnostics or (difficulty, seed) == judged(known.circuit)
    ]


def measure_planted(
    models: Sequence[PlantedModel], *, progress: Progress, jobs: int = 1
) -> tuple[list[Recovery], list[Diagnostic]]:
    """Measure ablations on planted models.

    The score of an edge is its mean influence over the circuit's tasks, or 0 below `RESOLUTION`, so
    that rounding errors do not rank edges.

    Returns
    -------
    list of Recovery
        One per ablation and model.
    list of Diagnostic
        The diagnostics of the exact models of seed 0 that match the scope of an ablation. None for
        ablations that observe the readout, whose influence has another unit.
    """
    records: list[Recovery] = []
    diagnostics: list[Diagnostic] = []
    for number, (model, scores) in enumerate(
        zip(models, parallel_map(_scores, models, jobs=jobs), strict=True), start=1
    ):
        truth = model.circuit.truth()
        for entry, matrix, by_prompt in zip(model.plan.ablations, *scores, strict=True):
            records.append(
                Recovery(
                    circuit=model.circuit.name,
                    difficulty=model.difficulty,
                    seed=model.seed,
                    ablation=entry.name,
                    scores=matrix,
                    truth_direct=truth.direct,
                    truth_total=truth.total,
                    truth_readout=truth.readout,
                    by_prompt=by_prompt,
                )
            )
            if (model.difficulty, model.seed) == judged(model.circuit):
                diagnostics += _diagnose(model.circuit, entry, matrix)
        progress("circuits", number, len(models))
    return records, diagnostics


def measurable_on(
    study: StudyEntry, ablations: Sequence[AblationEntry], circuits: Sequence[KnownCircuit]
) -> tuple[list[AblationEntry], dict[str, str]]:
    """Return the ablations that can be measured on circuits, and attributes of their recovery.

    The attributes ``left_out`` and ``undiagnosed`` say, as JSON, why the others cannot be measured,
    and why some have no diagnostics, by name.
    """
    left_out: dict[str, str] = {}
    measurable = list(ablations)
    for known in circuits:
        if not measurable or _obstacle(study, measurable, known) is None:
            continue
        reasons = {entry.name: _obstacle(study, [entry], known) for entry in measurable}
        left_out |= {name: reason for name, reason in reasons.items() if reason is not None}
        measurable = [entry for entry in measurable if entry.name not in left_out]
    reason = "it observes the readout, and diagnostics expect effects on targets"
    undiagnosed = {entry.name: reason for entry in measurable if _observes_readout(entry)}
    absences = {"left_out": left_out, "undiagnosed": undiagnosed}
    return measurable, {k: json.dumps(v, sort_keys=True) for k, v in absences.items()}


def _obstacle(
    study: StudyEntry, ablations: Sequence[AblationEntry], known: KnownCircuit
) -> str | None:
    """Return why one of the ablations cannot be measured on a circuit; None if all can."""
    try:
        planted_plan(study, ablations, known)
    except CntbenchError as error:
        return error.what
    return None


def versions(study: StudyEntry, circuits: Sequence[KnownCircuit]) -> dict[str, str]:
    """Return the SHA-256 of everything that each circuit's models and prompts depend on.

    The study's seed is included, summaries and other prose are not.
    """
    return {
        known.circuit.name: hashlib.sha256(
            json.dumps(
                [
                    without_prose(known.circuit.spec),
                    [[task.name, task.identity] for task in known.tasks],
                    [study.spec.seed, PROMPTS],
                ],
                sort_keys=True,
            ).encode()
        ).hexdigest()
        for known in circuits
    }


def forward_passes(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    circuits: Sequence[KnownCircuit],
    *,
    jobs: int,
) -> dict[str, float]:
    """Count the cost of each ablation on the circuit with the most components.

    It is the FLOPs of measuring all edges on a task's prompts, relative to those of one forward
    pass on them. `cntbench.engine.meter` says what is counted.
    """
    largest = max(circuits, key=lambda known: len(known.circuit.components))
    plan = planted_plan(study, ablations, largest)
    request = replace(requests_of(plan, largest.circuit.decoder())[0], readouts=())
    once = _flops(replace(request, ablations=[]))
    requests = [replace(request, ablations=[method]) for method in request.ablations]
    flops = parallel_map(_flops, requests, jobs=jobs)
    return {entry.name: n / once for entry, n in zip(ablations, flops, strict=True)}


def _flops(request: Request) -> int:
    return predicted_work(request).flops


def planted_plan(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    known: KnownCircuit,
    prompts: int = PROMPTS,
) -> Plan:
    """Return the study's plan for a circuit's model and tasks, with checked prompts.

    Raises a `CntbenchError` if an ablation cannot be measured on a task of the circuit.
    """
    names = tuple(entry.name for entry in ablations)
    tasks = known.circuit.spec.tasks
    spec = replace(study.spec, tasks=tasks, ablations=names, prompts=prompts)
    spec = replace(spec, components=(), targets=(), layers="", keep=(), until_se=0.0)
    plan = Plan(
        study=replace(study, spec=spec),
        trajectory=Trajectory(f"planted:{known.circuit.name}", known.circuit.shape, ()),
        tasks=known.tasks,
        ablations=tuple(ablations),
    )
    _ = plan.prompts  # checks them
    return plan


def _scores(model: PlantedModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean influence over tasks, dims ``ablation, source, target``, and by prompt."""
    plan = model.plan
    on_readout = list(map(_observes_readout, plan.ablations))
    decoder = model.circuit.decoder(model.difficulty, model.seed)
    results = [
        influence(replace(request, readouts=(), keep=("prompts",)))
        for request in requests_of(plan, decoder)
    ]
    scores = np.mean([result.influence for result in results], axis=0)
    scores[scores < RESOLUTION] = 0.0
    by_prompt = np.mean([result.kept["influence_by_prompt"] for result in results], axis=0)
    effects = np.mean([result.kept["edge_effect_by_prompt"] for result in results], axis=0)
    by_prompt[on_readout] = effects[on_readout]
    return scores, by_prompt


def _observes_readout(entry: AblationEntry) -> bool:
    return entry.method.observable == "readout"


def _diagnose(circuit: Circuit, entry: AblationEntry, scores: np.ndarray) -> list[Diagnostic]:
    """Return the diagnostics of a circuit that match the scope of an ablation."""
    if _observes_readout(entry):
        return []
    index = {component.name: i for i, component in enumerate(circuit.components)}
    diagnostics = []
    for diagnostic in circuit.diagnostics:
        if diagnostic.scope != entry.method.scope:
            continue
        source, target = diagnostic.edge
        value = float(scores[index[source], index[target]])
        diagnostics.append(
            Diagnostic(
                circuit=circuit.name,
                ablation=entry.name,
                passed=diagnostic.passed(value),
                value=value,
                threshold=diagnostic.threshold,
                what=f"{source} → {target} {diagnostic.expect}: {diagnostic.because}",
            )
        )
    return diagnostics
