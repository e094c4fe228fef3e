"""Measure ablation methods on a trained trajectory: influence, reliability and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import xarray as xr

from cntbench.ablations.ablation import Ablation
from cntbench.comparison.agreement import rank_correlation, split_half
from cntbench.comparison.stability import NUMBERS, circuit_overlap
from cntbench.engine.influence import influence
from cntbench.engine.meter import Work, predicted_work
from cntbench.engine.request import Request
from cntbench.files.attributes import described
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint
from cntbench.parallel import Progress
from cntbench.parallel.processes import parallel_map
from cntbench.prompts import Prompts
from cntbench.runs.plan import Plan
from cntbench.runs.tasks import Task

_CELL = ("task", "ablation", "checkpoint")
VARIABLES = {
    "influence": ((*_CELL, "source", "target"), "1", "causal influence, mean over prompts"),
    "split_half": (_CELL, "1", "reliability by halves of the prompts, Spearman-Brown corrected"),
    "over_draws": (_CELL, "1", "rank correlation of two random draws; NaN if nothing is drawn"),
    "overlap_by_prompts": (
        (*_CELL, "prompts"),
        "1",
        "Jaccard index of the circuits of two resamples of so many prompts",
    ),
    "seconds": (_CELL, "s", "time on one thread, by itself"),
    "token_layers": (("task", "ablation"), "1", "tokens × layers computed at a checkpoint"),
}


def spread_out(checkpoints: Sequence[Checkpoint], count: int) -> list[Checkpoint]:
    """Choose evenly spaced checkpoints with distinct weights, first and last included."""
    known = [checkpoint for checkpoint in checkpoints if checkpoint.identity]
    earliest = {checkpoint.identity: checkpoint for checkpoint in reversed(known)}
    distinct = sorted(earliest.values(), key=lambda checkpoint: checkpoint.step)
    chosen = np.linspace(0, len(distinct) - 1, min(count, len(distinct)))
    return [distinct[i] for i in np.unique(chosen.round().astype(int))]


def measure_trained(
    plan: Plan, *, checkpoints: int, progress: Progress, jobs: int = 1
) -> xr.Dataset:
    """Measure every ablation of a plan on all prompts, on both halves, and with a second seed.

    Parameters
    ----------
    checkpoints
        Number of checkpoints, spread over the trajectory.

    Returns
    -------
    xarray.Dataset
        The `VARIABLES`, with the layer of each component.

    Raises
    ------
    CntbenchError
        If a checkpoint cannot be read.
    """
    chosen = spread_out(plan.trajectory.checkpoints, checkpoints)
    random = _random_ablations(plan, chosen[0])
    parts = []
    for part in parallel_map(
        partial(_measure_checkpoint, plan, random, chosen[0].name), chosen, jobs=jobs
    ):
        parts.append(part)
        progress("comparing", len(parts), len(chosen))
    dataset = xr.concat(
        parts, dim="checkpoint", data_vars="minimal", coords="minimal", compat="override"
    )
    for name, (dims, _, _) in VARIABLES.items():
        dataset[name] = dataset[name].transpose(*dims)
    return dataset


def _random_ablations(plan: Plan, checkpoint: Checkpoint) -> frozenset[str]:
    """Return the ablations whose influence on a few prompts depends on the seed."""
    trajectory, seed = plan.trajectory, plan.study.spec.seed
    _, model, _ = trajectory.verified(checkpoint, trajectory.fetch(checkpoint))
    names = set()
    for entry in plan.ablations:
        few = plan.prompts[0].take(slice(max(2, entry.method.fewest_prompts)))
        cell = Cell(model, plan.tasks[0], few, seed)
        first, second = (cell.measure(entry.method, few, seed=seed + i) for i in (0, 1))
        if not np.array_equal(first, second, equal_nan=True):
            names.add(entry.name)
    return frozenset(names)


def _empty(plan: Plan, checkpoint: Checkpoint) -> xr.Dataset:
    nodes = plan.trajectory.shape.components
    names = [node.name for node in nodes]
    labels: dict[str, list[Any]] = {
        "task": [task.name for task in plan.tasks],
        "ablation": [entry.name for entry in plan.ablations],
        "checkpoint": [checkpoint.name],
        "source": names,
        "target": names,
        "prompts": [n for n in NUMBERS if n <= min(map(len, plan.prompts))] or [1],
    }
    layers = [node.layer for node in nodes]
    coordinates = {
        "step": ("checkpoint", [checkpoint.step]),
        **{f"{side}_layer": (side, layers) for side in ("source", "target")},
    }
    dataset = xr.Dataset(coords={**labels, **coordinates})
    for name, (dims, unit, what) in VARIABLES.items():
        shape = tuple(len(labels[dim]) for dim in dims)
        attributes = described(name, what, unit)
        dataset[name] = (dims, np.full(shape, np.nan), attributes)
    return dataset


def _measure_checkpoint(
    plan: Plan, random: frozenset[str], counted: str, checkpoint: Checkpoint
) -> xr.Dataset:
    """Measure one checkpoint; random ablations with a second seed as well.

    Work is the same at every checkpoint, so it is counted only at the one named ``counted``.
    """
    dataset = _empty(plan, checkpoint)
    model = plan.trajectory.load(checkpoint)
    for t, (task, prompts) in enumerate(zip(plan.tasks, plan.prompts, strict=True)):
        cell = Cell(model, task, prompts, plan.study.spec.seed)
        cell.measure(plan.ablations[0].method, prompts)  # warm up: the first call is slower
        for a, entry in enumerate(plan.ablations):
            method = entry.method
            start = perf_counter()
            matrix, by_prompt = cell.measure_prompts(method)
            dataset["seconds"][t, a] = perf_counter() - start
            dataset["influence"][t, a] = matrix
            dataset["split_half"][t, a] = cell.by_halves(method, by_prompt)
            signed = method.observable == "readout"
            dataset["overlap_by_prompts"][t, a, 0] = [
                circuit_overlap(by_prompt, size, signed=signed, seed=cell.seed)
                for size in dataset["prompts"].values
            ]
            if entry.name in random:
                other = cell.measure(method, prompts, seed=cell.seed + 1)
                dataset["over_draws"][t, a] = rank_correlation(matrix, other)
            if checkpoint.name == counted:
                dataset["token_layers"][t, a] = cell.work(method).token_layers
    return dataset


def depends_on_others(method: Ablation) -> bool:
    """Return whether a prompt's influence depends on which other prompts are measured."""
    rule = method.replacement
    return (
        rule.population_corpus is not None
        or rule.donor_corpus == "other"
        or rule.random
        or rule.fitting_steps > 0
    )


@dataclass(frozen=True)
class Cell:
    """One task at one checkpoint."""

    model: Decoder
    task: Task
    prompts: Prompts
    seed: int

    def measure(self, method: Ablation, prompts: Prompts, *, seed: int | None = None) -> np.ndarray:
        """Return the influence, dims ``source, target``."""
        request = self._request(method, prompts)
        return influence(request if seed is None else replace(request, seed=seed)).influence[0]

    def work(self, method: Ablation) -> Work:
        """Count the work of a measurement."""
        return predicted_work(self._request(method, self.prompts))

    def measure_prompts(self, method: Ablation) -> tuple[np.ndarray, np.ndarray]:
        """Return the influence, and the values by prompt (last dim) that it is the mean of.

        For methods that observe the readout, influence is the absolute value of the mean.
        """
        result = influence(replace(self._request(method, self.prompts), keep=("prompts",)))
        effect = "edge_effect" if method.observable == "readout" else "influence"
        return result.influence[0], result.kept[f"{effect}_by_prompt"][0]

    def by_halves(self, method: Ablation, by_prompt: np.ndarray) -> float:
        """Return the split-half reliability of even and odd prompts; NaN if they are too few.

        If a prompt's influence depends on the others, the halves are measured again.
        """
        every_other = [slice(start, None, 2) for start in (0, 1)]
        parts = [self.prompts.take(rows) for rows in every_other]
        fewest = method.fewest_prompts if depends_on_others(method) else 1
        if min(map(len, parts)) < fewest:
            return np.nan
        if depends_on_others(method):
            halves = [self.measure(method, part) for part in parts]
        else:
            means = [by_prompt[..., rows].mean(axis=-1) for rows in every_other]
            halves = [abs(m) if method.observable == "readout" else m for m in means]
        return split_half(*halves)

    def _request(self, method: Ablation, prompts: Prompts) -> Request:
        return Request(
            self.model,
            prompts,
            [method],
            observe_all=self.task.spec.observed == "all",
            effects=self.task.spec.effects,
            seed=self.seed,
        )
