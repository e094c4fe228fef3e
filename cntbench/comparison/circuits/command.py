"""Run the circuits of a result in its model, after checking the hashes of weights and tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.comparison.circuits.faithfulness import Choice, EdgeScores, faithfulness, scores_of
from cntbench.engine.request import Request
from cntbench.errors import (
    ARGUMENTS,
    CheckpointError,
    CntbenchError,
    in_file,
    listed,
    unknown,
    unmeasured,
)
from cntbench.files.output import FileKind, has_attribute
from cntbench.models.decoder import Decoder
from cntbench.models.precision import TYPES
from cntbench.models.trajectory import Checkpoint, Trajectory, open_trajectory
from cntbench.parallel import Progress
from cntbench.readouts import known_readouts
from cntbench.results.faithfulness import TITLE
from cntbench.results.film import usable
from cntbench.results.selection import index_of, indices_of
from cntbench.results.storage import write_results
from cntbench.results.tree import groups_of, result_tree
from cntbench.runs.catalogue import Catalogue
from cntbench.runs.tasks import Task

#: The file that ``cntbench circuit -o`` writes.
CIRCUITS = FileKind("a file of circuits", has_attribute("title", TITLE))
#: Default ablations for edges outside a circuit: for prompts with twins, and without.
WITH_TWINS, WITHOUT_TWINS = "resample", "mean"


@dataclass(frozen=True)
class Evaluation:
    """How circuits are evaluated.

    Parameters
    ----------
    patch
        Name of the ablation whose replacement patches the edges outside a circuit. None:
        `WITH_TWINS` if the task's prompts have twins, else `WITHOUT_TWINS`.
    readout
        Name. None: the first of the task's effects.
    prompts, seed
        Number of prompts, and the seed that draws them.
    """

    patch: str | None = None
    readout: str | None = None
    prompts: int = 32
    seed: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """A model in which circuits are run."""

    trajectory: Trajectory
    checkpoint: Checkpoint
    model: Decoder
    catalogue: Catalogue

    @classmethod
    def open(
        cls,
        source: str,
        checkpoint: str | None,
        catalogue: Catalogue,
        progress: Progress,
        *,
        identities: Mapping[str, str] | None = None,
        dtype: str = "float32",
    ) -> LoadedModel:
        """Load a checkpoint of a trajectory, by default the last one.

        Raises
        ------
        CntbenchError
            If the checkpoint does not exist or cannot be read.
        """
        trajectory = open_trajectory(
            source, progress, catalogue.folders, checkpoints=checkpoint or ""
        ).at(identities or {})
        last = trajectory.checkpoints[-1]
        checkpoint_read, model = trajectory.read(last, trajectory.fetch(last), TYPES[dtype])  # type: ignore[index]
        return cls(trajectory, checkpoint_read, model, catalogue)

    def like(self, root: xr.Dataset) -> LoadedModel:
        """Return the model with experts as components if those of a result are."""
        if "expert" not in root["source_kind"].values:
            return self
        trajectory = self.trajectory.by_experts(where="the result's experts")
        return replace(self, trajectory=trajectory, model=self.model.by_experts())

    def evaluate(
        self, task: Task, scores: Mapping[str, EdgeScores], evaluation: Evaluation, choice: Choice
    ) -> xr.Dataset:
        """Evaluate the circuits of several methods on a task, dims ``task, ablation, …``."""
        request = self.request(task, evaluation)
        parts = []
        for name, method_scores in scores.items():
            with in_file(f"ablation {name!r}, task {task.name!r}"):
                parts.append(faithfulness(request, method_scores, choice))
        dataset = xr.concat(parts, dim=xr.Variable("ablation", list(scores)), join="exact")
        dataset = dataset.expand_dims(task=[task.name]).assign(
            observed_readout=("task", [request.effects[0]], {"long_name": "readout"}),
            patch=("task", [request.ablations[0].name], {"long_name": "what patches other edges"}),
            prompt_count=("task", [len(request.prompts)], {"long_name": "number of prompts"}),
        )
        dims = ("task", "ablation", "ranking", "budget", "draw")
        return dataset.transpose(*dims).assign_attrs(
            title=TITLE,
            source=self.trajectory.identity,
            checkpoint=self.checkpoint.name,
            step=self.checkpoint.step,
            revision=self.checkpoint.revision,
            **_of_tasks(dataset),
        )

    def request(self, task: Task, evaluation: Evaluation) -> Request:
        """Return the request that runs circuits on a task.

        Raises
        ------
        CntbenchError
            If the model does not fit the task, or the replacement needs twins that the task lacks.
        """
        where, seed = f"task {task.name!r}", evaluation.seed
        if not task.spec.effects and evaluation.readout is None:
            raise CntbenchError("has no readout to recover", where=where, hint="Name a readout.")
        if evaluation.readout is not None and evaluation.readout not in known_readouts():
            where = f"{ARGUMENTS}: readout"
            raise unknown("readout", evaluation.readout, known_readouts(), where=where)
        with in_file(where):
            prompts = task.prompts(self.trajectory.language, count=evaluation.prompts, seed=seed)
        twins = prompts.reference is not None and prompts.unequal_twin is None
        name = evaluation.patch or (WITH_TWINS if twins else WITHOUT_TWINS)
        if name not in self.catalogue.ablations:
            raise unknown("ablation", name, self.catalogue.ablations, where=f"{ARGUMENTS}: patch")
        patch = self.catalogue.ablations[name].method.each_draw[0]
        plain = replace(patch, scope="total", observable="target", estimator="exact", steps=None)
        effects = (evaluation.readout or task.spec.effects[0],)
        request = Request(self.model, prompts, [plain], effects=effects, seed=seed)
        with in_file(where):
            return request.checked()


def evaluate_circuits(
    root: xr.Dataset,
    labels: Mapping[str, Any],
    model: LoadedModel,
    evaluation: Evaluation,
    choice: Choice,
) -> xr.Dataset:
    """Evaluate the circuits of a result's methods.

    Parameters
    ----------
    labels
        Names of ``task`` and ``ablation``, or None for all; the index of the ``checkpoint``.

    Returns
    -------
    xarray.Dataset
        As `cntbench.comparison.circuits.faithfulness.faithfulness`, with dims ``task, ablation`` in
        front.

    Raises
    ------
    CntbenchError
        If the weights or the task differ from those of the result, or the result has no influence
        to rank edges by.
    """
    at, model = labels["checkpoint"], model.like(root)
    _check_weights(root, at, model)
    tasks, ablations = (
        indices_of(root, dim, [*map(str, root[dim].values)] if names is None else names)
        for dim, names in ((dim, labels[dim]) for dim in ("task", "ablation"))
    )
    parts = []
    for i in tasks:
        task = recorded_task(root, str(root["task"].values[i]), model.catalogue)
        scores = {}
        for j in ablations:
            name = str(root["ablation"].values[j])
            with in_file(f"ablation {name!r}, task {task.name!r}"):
                cell = root.isel(task=i, ablation=j, checkpoint=at)
                scores[name] = scores_of(cell, task.spec.effects[0])
        parts.append(model.evaluate(task, scores, evaluation, choice))
    moment = {
        "checkpoint": str(root["checkpoint"].values[at]),
        "step": int(root["step"].values[at]),
    }
    return over_tasks(parts).assign_attrs(moment)


def over_tasks(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join the circuits of several tasks, whose prompts and patches may differ."""
    dataset = xr.concat(parts, dim="task", join="exact", combine_attrs="override")
    return dataset.assign_attrs(_of_tasks(dataset))


def _of_tasks(dataset: xr.Dataset) -> dict[str, Any]:
    """Return what patches the edges of any task, and the largest number of prompts of one."""
    patches = dict.fromkeys(str(name) for name in dataset["patch"].values if name)
    return {"patched_by": listed(patches), "prompts": int(dataset["prompt_count"].max())}


def load_model(
    root: xr.Dataset,
    at: int,
    catalogue: Catalogue,
    progress: Progress,
    *,
    trajectory: str | None = None,
) -> LoadedModel:
    """Load the model that a checkpoint of a result measured.

    Parameters
    ----------
    trajectory
        Where the weights are now, if they have moved.

    Raises
    ------
    CntbenchError
        If the result does not record where its weights are, or they are missing or have changed.
    """
    study = json.loads(root.attrs.get("study_spec", "{}"))
    source = trajectory or study.get("trajectory")
    name = str(root["checkpoint"].values[at])
    if source is None or (trajectory is None and source.startswith("memory:")):
        raise CntbenchError(
            "does not say where its weights are",
            hint="Name their trajectory by --trajectory (trajectory=), or pass the model: "
            "cntbench.circuit(results, model=model).",
        )
    identities = json.loads(root.attrs.get("spec", "{}")).get("checkpoints", {})
    try:
        return LoadedModel.open(
            source,
            name,
            catalogue,
            progress,
            identities=identities if trajectory is None else None,
            dtype=str(root.attrs.get("dtype", "float32")),
        )
    except CheckpointError as error:
        raise CheckpointError(
            f"the weights of {name} cannot be used: {error.what}",
            where=error.where,
            hint="Circuits are run with the weights of the result. If they have moved, name their "
            "trajectory by --trajectory (trajectory=).",
        ) from None


def recorded_task(root: xr.Dataset, name: str, catalogue: Catalogue) -> Task:
    """Return the task that a result was measured on.

    Raises
    ------
    CntbenchError
        If the task no longer exists or has changed.
    """
    spec = json.loads(root.attrs.get("spec", "{}")).get("tasks", {})
    study = json.loads(root.attrs.get("study_spec", "{}"))
    files = {Path(file).stem: file for file in study.get("tasks", ()) if Path(file).suffix}
    if name not in catalogue.tasks and name not in files:
        raise unknown("task", name, catalogue.tasks)
    task = catalogue.tasks[name] if name in catalogue.tasks else catalogue.task(files[name])
    if spec.get(name) != json.loads(json.dumps(task.identity)):
        raise CntbenchError(
            f"task {name!r} in {task.path} differs from the one that the result measured"
            if name in spec
            else f"does not record the spec of task {name!r}",
            hint="Measure the result again, or name the folder of the original spec by --specs.",
        )
    return task


def last_measured(root: xr.Dataset, checkpoint: str | None) -> int:
    """Return the index of a checkpoint, by default of the last one that was measured.

    Raises
    ------
    CntbenchError
        If the checkpoint does not exist, or none was measured.
    """
    if checkpoint is not None:
        return index_of(root, "checkpoint", checkpoint)
    measured = np.flatnonzero(usable(root))
    if not len(measured):
        raise unmeasured()
    return int(measured[-1])


def _check_weights(root: xr.Dataset, at: int, model: LoadedModel) -> None:
    """Raise an error unless the model has the weights of the result's checkpoint."""
    recorded, revision = str(root["revision"].values[at]), model.checkpoint.revision
    if recorded != revision:
        raise CheckpointError(
            f"the weights of {model.trajectory.identity} are not those that the result measured "
            f"at {root['checkpoint'].values[at]}: their hashes differ",
            hint=f"Recorded: {recorded[:12]}…; loaded: {revision[:12]}….",
        )


def add_circuits(tree: xr.DataTree, dataset: xr.Dataset, path: Path) -> bool:
    """Add circuits to the file of a result, as its group ``faithfulness``.

    Tasks and ablations without circuits are NaN. Those of an earlier group are kept if the circuits
    were chosen and measured in the same way.

    Returns
    -------
    bool
        Whether circuits of an earlier group were replaced that had another choice.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    groups = groups_of(tree)
    root = groups["/"]
    labels = {dim: root[dim].values for dim in ("task", "ablation")}
    counts = ("scored_edges", "circuit_edges", "prompt_count")
    empty = {**dict.fromkeys(counts, 0), "observed_readout": "", "patch": ""}
    added = dataset.reindex(labels, fill_value={**dict.fromkeys(dataset, np.nan), **empty})
    earlier = groups.get("/faithfulness")
    alike = earlier is not None and _chosen_alike(earlier, added)
    if earlier is not None and alike:
        new = added["task"].isin(dataset["task"]) & added["ablation"].isin(dataset["ablation"])
        for name, values in added.items():
            of_values = new if "ablation" in values.dims else new.any("ablation")
            added[name] = values.where(of_values, earlier[name]).transpose(*values.dims)
        added.attrs |= _of_tasks(added)
    groups["/faithfulness"] = added
    write_results(result_tree(groups), path)
    return earlier is not None and not alike


def _chosen_alike(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Return whether circuits were chosen and measured in the same way, at the same checkpoint.

    Tasks may differ in their patch and their number of prompts.
    """
    if one.keys() != other.keys():  # written by another version
        return False
    both = ((one["prompt_count"] > 0) & (other["prompt_count"] > 0)).values
    names = ("observed_readout", "patch", "prompt_count")
    alike = all((one[name] == other[name]).values[both].all() for name in names)
    attributes = [
        {name: value for name, value in of.attrs.items() if name not in ("patched_by", "prompts")}
        for of in (one, other)
    ]
    coordinates = all(one[dim].equals(other[dim]) for dim in ("ranking", "budget", "draw"))
    return coordinates and attributes[0] == attributes[1] and alike
