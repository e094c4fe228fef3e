"""What ablation methods find on planted circuits, whose edges are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from cntbench.analysis.diagnostics import Diagnostic
from cntbench.analysis.recovery import Recovery
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.adapters import gpt_neox
from cntbench.models.planted.circuit import Circuit
from cntbench.models.planted.spec import Difficulty
from cntbench.models.trajectory import Progress, Trajectory
from cntbench.parallel import parallel_map
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, StudyEntry
from cntbench.runs.plan import Plan

#: Models of each circuit and difficulty, and prompts of each task that they are measured on.
SEEDS = 3
PROMPTS = 16
#: Influence below this is what single precision leaves where there is none.
RESOLUTION = 1e-6


@dataclass(frozen=True)
class Trial:
    """One model of a circuit, with the plan of what to measure on it."""

    circuit: Circuit
    difficulty: Difficulty
    seed: int
    plan: Plan


def measure_planted(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    circuits: Sequence[KnownCircuit],
    *,
    difficulties: Sequence[Difficulty] = get_args(Difficulty),
    seeds: int = SEEDS,
    prompts: int = PROMPTS,
    progress: Progress,
    jobs: int = 1,
) -> tuple[list[Recovery], list[Diagnostic]]:
    """Measure ablations on circuits.

    An edge's score is its influence, mean over the circuit's tasks, and 0 if that is below
    `RESOLUTION`: what rounding left must not rank edges.

    Parameters
    ----------
    study
        Whose seed is used.
    ablations, circuits
        What to measure, and on what.
    difficulties
        ``"exact"``, ``"realistic"``.
    seeds, prompts
        Models of each circuit and difficulty, and prompts of each task.
    progress
        Told about every model.
    jobs
        Processes to measure on, one thread each.

    Returns
    -------
    list of Recovery
        One for each ablation and model.
    list of Diagnostic
        For each ablation what the circuits' diagnostics say of the exact model of seed 0, as far as
        they are about its scope; none for ablations that observe the readout, whose numbers have
        another unit.

    Raises
    ------
    CntbenchError
        If an ablation cannot be measured on a circuit's task.
    """
    trials = [
        Trial(known.circuit, difficulty, seed, _plan(study, ablations, known, prompts))
        for known in circuits
        for difficulty in difficulties
        for seed in range(seeds)
    ]
    recovered: list[Recovery] = []
    diagnosed: list[Diagnostic] = []
    for done, (trial, scores) in enumerate(
        zip(trials, parallel_map(_scores, trials, jobs=jobs), strict=True), start=1
    ):
        truth = trial.circuit.truth()
        for entry, found in zip(trial.plan.ablations, scores, strict=True):
            recovered.append(
                Recovery(
                    circuit=trial.circuit.name,
                    difficulty=trial.difficulty,
                    seed=trial.seed,
                    ablation=entry.name,
                    scores=found,
                    truth_direct=truth.direct,
                    truth_total=truth.total,
                )
            )
            if (trial.difficulty, trial.seed) == ("exact", 0):
                diagnosed += _diagnosed(trial.circuit, entry, found)
        progress("circuits", done, len(trials))
    return recovered, diagnosed


def check_measurable(
    study: StudyEntry,
    ablations: Sequence[AblationEntry],
    circuits: Sequence[KnownCircuit],
    *,
    prompts: int = PROMPTS,
) -> None:
    """Raise a `CntbenchError` if an ablation cannot be measured on a circuit's task."""
    for known in circuits:
        _plan(study, ablations, known, prompts)


def _plan(
    study: StudyEntry, ablations: Sequence[AblationEntry], known: KnownCircuit, prompts: int
) -> Plan:
    """Return the study with a circuit's model and tasks; its prompts are checked."""
    names = tuple(entry.name for entry in ablations)
    tasks = known.circuit.spec.tasks
    spec = replace(study.spec, tasks=tasks, ablations=names, prompts=prompts)
    config, _ = known.circuit.build()
    plan = Plan(
        study=replace(study, spec=spec),
        trajectory=Trajectory(f"planted:{known.circuit.name}", gpt_neox.shape(config), ()),
        tasks=known.tasks,
        ablations=tuple(ablations),
    )
    plan.prompts()
    return plan


def _scores(trial: Trial) -> np.ndarray:
    """Return the influence, mean over tasks, dims ``ablation, source, target``."""
    plan = trial.plan
    model = trial.circuit.decoder(trial.difficulty, trial.seed)
    found = [
        influence(
            Request(
                model,
                made,
                [entry.method for entry in plan.ablations],
                observe_all=task.spec.observed == "all",
                effects=task.spec.effects,
                readouts=(),
                seed=plan.study.spec.seed,
            )
        ).influence
        for task, made in zip(plan.tasks, plan.prompts(), strict=True)
    ]
    scores = np.mean(found, axis=0)
    scores[scores < RESOLUTION] = 0.0
    return scores


def _diagnosed(circuit: Circuit, entry: AblationEntry, scores: np.ndarray) -> list[Diagnostic]:
    if entry.method.observable == "readout":
        return []
    index = {component.name: i for i, component in enumerate(circuit.components)}
    found = []
    for diagnostic in circuit.diagnostics:
        if diagnostic.scope != entry.method.scope:
            continue
        source, target = diagnostic.edge
        value = float(scores[index[source], index[target]])
        found.append(
            Diagnostic(
                circuit=circuit.name,
                ablation=entry.name,
                passed=diagnostic.passed(value),
                value=value,
                threshold=diagnostic.threshold,
                what=f"{source} → {target} {diagnostic.expect}: {diagnostic.because}",
            )
        )
    return found
