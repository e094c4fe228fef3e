"""From a result to its circuits at work: the model and the prompts again, held to their hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.circuits.faithfulness import Choice, EdgeScores, faithfulness
from cntbench.circuits.scores import scores_of
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError, CntbenchError, in_file, unknown
from cntbench.models.decoder import Decoder
from cntbench.models.precision import TYPES
from cntbench.models.trajectory import Checkpoint, Progress, Trajectory, open_trajectory
from cntbench.output import FileKind, check_output, file_status, has_attribute, is_folder
from cntbench.readouts import known_readouts
from cntbench.results.faithfulness import TITLE
from cntbench.results.film import usable
from cntbench.results.group_schema import GROUPS, validate_contents
from cntbench.results.selection import index_of, indices_of
from cntbench.results.storage import read_netcdf, write_netcdf, write_results
from cntbench.results.tree import groups_of, result_tree
from cntbench.runs.catalogue import Catalogue
from cntbench.runs.tasks import Task

#: What `write_circuits` writes.
CIRCUITS = FileKind("circuits of cntbench", has_attribute("title", TITLE))
#: What patches edges outside of circuits: with twins, and without.
WITH_TWINS, WITHOUT_TWINS = "resample", "mean"
_MAKE = "Make one: cntbench circuit RESULTS -o FILE."


@dataclass(frozen=True)
class Work:
    """What circuits do.

    Parameters
    ----------
    patch
        Name of the ablation whose replacement patches the edges outside of circuits; None for
        `WITH_TWINS` where the task's prompts have twins, else `WITHOUT_TWINS`.
    readout
        Name; None for the first of the task's effects.
    prompts, seed
        How many prompts, and the seed that they are drawn with.
    """

    patch: str | None = None
    readout: str | None = None
    prompts: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """A model that circuits are put to work in.

    Parameters
    ----------
    trajectory, checkpoint, model
        The checkpoint, the trajectory that it comes from, and its weights.
    catalogue
        The specs of tasks and ablations.
    """

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
    ) -> Subject:
        """Read a checkpoint of a trajectory; by default its last.

        Raises
        ------
        CntbenchError
            If there is no such checkpoint, or it cannot be read.
        """
        trajectory = open_trajectory(
            source, progress, catalogue.folders, checkpoints=checkpoint or ""
        ).at(identities or {})
        last = trajectory.checkpoints[-1]
        found, model = trajectory.read(last, trajectory.fetch(last), TYPES[dtype])  # type: ignore[index]
        return cls(trajectory, found, model, catalogue)

    def circuits(
        self, task: Task, scores: Mapping[str, EdgeScores], work: Work, choice: Choice
    ) -> xr.Dataset:
        """Put the circuits of methods to work on a task, dims ``task, ablation`` in front."""
        request = self.request(task, work)
        parts = []
        for name, found in scores.items():
            with in_file(f"ablation {name!r}, task {task.name!r}"):
                parts.append(faithfulness(request, found, choice))
        whole = xr.concat(parts, dim=xr.Variable("ablation", list(scores)), join="exact")
        whole = whole.expand_dims(task=[task.name]).assign(
            observed_readout=("task", [request.effects[0]], {"long_name": "readout"})
        )
        dims = ("task", "ablation", "ranking", "budget", "draw")
        return whole.transpose(*dims).assign_attrs(
            title=TITLE,
            source=self.trajectory.identity,
            checkpoint=self.checkpoint.name,
            step=self.checkpoint.step,
            revision=self.checkpoint.revision,
            patched_by=request.ablations[0].name,
            prompts=len(request.prompts),
        )

    def request(self, task: Task, work: Work) -> Request:
        """Return what circuits of a task are run with.

        Raises
        ------
        CntbenchError
            If the model does not fit the task, or the replacement needs twins that it has not.
        """
        where = f"task {task.name!r}"
        if not task.spec.effects and work.readout is None:
            raise CntbenchError("has no readout to recover", where=where, hint="Name one.")
        if work.readout is not None and work.readout not in known_readouts():
            raise unknown("readout", work.readout, known_readouts())
        with in_file(where):
            prompts = task.prompts(self.trajectory.language, count=work.prompts, seed=work.seed)
        twins = prompts.reference is not None and prompts.unequal_twin is None
        name = work.patch or (WITH_TWINS if twins else WITHOUT_TWINS)
        if name not in self.catalogue.ablations:
            raise unknown("ablation", name, self.catalogue.ablations)
        patch = self.catalogue.ablations[name].method.each_draw[0]
        plain = replace(patch, scope="total", observable="target", estimator="exact", steps=None)
        effects = (work.readout or task.spec.effects[0],)
        request = Request(self.model, prompts, [plain], effects=effects, seed=work.seed)
        with in_file(where):
            return request.checked()


def circuits_of(
    root: xr.Dataset,
    labels: Mapping[str, Any],
    subject: Subject,
    work: Work,
    choice: Choice,
) -> xr.Dataset:
    """Put the circuits of a result's methods to work.

    Parameters
    ----------
    root
        The film.
    labels
        Names of ``task`` and ``ablation``; None for all. The index of the ``checkpoint``.
    subject, work, choice
        The model; what circuits do; which circuits.

    Returns
    -------
    xarray.Dataset
        Of `cntbench.circuits.faithfulness.faithfulness`, with dims ``task, ablation`` in front.

    Raises
    ------
    CntbenchError
        If the weights or the prompts are not those of the result, or there is no influence to rank
        edges by.
    """
    at = labels["checkpoint"]
    _check_weights(root, at, subject)
    tasks, ablations = (
        indices_of(root, dim, labels.get(dim) or [str(name) for name in root[dim].values])
        for dim in ("task", "ablation")
    )
    parts = []
    for i in tasks:
        task = recorded_task(root, str(root["task"].values[i]), subject.catalogue)
        scores = {}
        for j in ablations:
            name = str(root["ablation"].values[j])
            with in_file(f"ablation {name!r}, task {task.name!r}"):
                cell = root.isel(task=i, ablation=j, checkpoint=at)
                scores[name] = scores_of(cell, task.spec.effects[0])
        parts.append(subject.circuits(task, scores, work, choice))
    return xr.concat(parts, dim="task", join="exact", combine_attrs="override")


def subject_of(
    root: xr.Dataset,
    at: int,
    catalogue: Catalogue,
    progress: Progress,
    *,
    trajectory: str | None = None,
) -> Subject:
    """Read the model of a result's checkpoint again.

    Parameters
    ----------
    root, at
        The film, and the index of the checkpoint.
    catalogue, progress
        The specs; receives progress.
    trajectory
        Where the weights are now, if they have moved.

    Raises
    ------
    CntbenchError
        If the result does not say where its weights are, they are not there, or have changed.
    """
    study = json.loads(root.attrs.get("study_spec", "{}"))
    source = trajectory or study.get("trajectory")
    name = str(root["checkpoint"].values[at])
    if source is None or (trajectory is None and source.startswith("memory:")):
        raise CntbenchError(
            "does not say where its weights are",
            hint="Name them by --trajectory (trajectory=), or give the model: "
            "cntbench.circuit(results, model=model).",
        )
    identities = json.loads(root.attrs.get("spec", "{}")).get("checkpoints", {})
    try:
        return Subject.open(
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
            hint="The circuits of a result need its weights. If they have moved, name them by "
            "--trajectory (trajectory=).",
        ) from None


def recorded_task(root: xr.Dataset, name: str, catalogue: Catalogue) -> Task:
    """Return the task that a result was measured on.

    Raises
    ------
    CntbenchError
        If it is not there any more, or has changed.
    """
    spec = json.loads(root.attrs.get("spec", "{}")).get("tasks", {})
    study = json.loads(root.attrs.get("study_spec", "{}"))
    files = {Path(file).stem: file for file in study.get("tasks", ()) if Path(file).suffix}
    if name not in catalogue.tasks and name not in files:
        raise unknown("task", name, catalogue.tasks)
    task = catalogue.tasks[name] if name in catalogue.tasks else catalogue.task(files[name])
    if spec.get(name) != json.loads(json.dumps(task.identity)):
        raise CntbenchError(
            f"the result was measured on another task {name!r} than {task.path}"
            if name in spec
            else f"does not say what task {name!r} was",
            hint="Measure it again, or give the specs it was measured with by --specs.",
        )
    return task


def last_measured(root: xr.Dataset, checkpoint: str | None) -> int:
    """Return the index of a checkpoint, by default of the last one that counts.

    Raises
    ------
    CntbenchError
        If there is no such checkpoint, or none was measured.
    """
    if checkpoint is not None:
        return index_of(root, "checkpoint", checkpoint)
    counted = np.flatnonzero(usable(root))
    if not len(counted):
        raise CntbenchError("has no checkpoint that was measured")
    return int(counted[-1])


def _check_weights(root: xr.Dataset, at: int, subject: Subject) -> None:
    """Raise an error unless the model has the weights of the result's checkpoint."""
    recorded = str(root["revision"].values[at])
    if recorded not in (subject.checkpoint.revision, subject.checkpoint.former):
        name = root["checkpoint"].values[at]
        raise CheckpointError(
            f"the weights of {subject.trajectory.identity} are not those that the result measured "
            f"at {name}: their hashes differ",
            hint=f"The result's is {recorded[:12]}…, theirs {subject.checkpoint.revision[:12]}….",
        )


def write_circuits(dataset: xr.Dataset, path: Path, *, force: bool = False) -> None:
    """Write circuits as netCDF, complete or not at all.

    Raises
    ------
    StorageError
        If the dataset does not satisfy the schema, or the file cannot be written.
    """
    check_output(path, CIRCUITS, force=force)
    validate_contents(GROUPS["faithfulness"], dataset, where=str(path))
    write_netcdf({"/": dataset}, path)


def add_circuits(tree: xr.DataTree, dataset: xr.Dataset, path: Path) -> None:
    """Keep circuits in the file of a result, as its group ``faithfulness``.

    Tasks and ablations whose circuits were not put to work are NaN.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    groups = groups_of(tree)
    root = groups["/"]
    labels = {dim: root[dim].values for dim in ("task", "ablation")}
    empty = {"scored_edges": 0, "circuit_edges": 0, "observed_readout": ""}
    groups["/faithfulness"] = dataset.reindex(
        labels, fill_value={**dict.fromkeys(dataset, np.nan), **empty}
    )
    write_results(result_tree(groups), path)


def open_circuits(path: Path) -> xr.Dataset:
    """Read circuits into memory.

    Raises
    ------
    CntbenchError
        If the file is missing, damaged, or holds no circuits.
    """
    where = str(path)
    if is_folder(path) or file_status(path) is None:
        raise CntbenchError("no such file", where=where, hint=_MAKE)
    dataset = read_netcdf(path, hint=_MAKE)[0]["/"]
    if dataset.attrs.get("title") != TITLE:
        raise CntbenchError("is no file of circuits", where=where, hint=_MAKE)
    validate_contents(GROUPS["faithfulness"], dataset, where=where)
    return dataset
