"""The dataset of a study: datasets of single checkpoints, joined into the film."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.components import Component
from cntbench.plugins import find
from cntbench.readouts import STANDARD, known_readouts
from cntbench.results.failure import Failure
from cntbench.results.schema import COORDINATES, KEPT, SCHEMA_VERSION, VARIABLES
from cntbench.results.variables import Variable

if TYPE_CHECKING:
    from cntbench.engine.influence import Influence
    from cntbench.models.trajectory import Checkpoint

#: Attributes of every dataset: those of CF and ACDD, and the conventions of its numbers.
CONVENTIONS = {
    "title": "Causal influence between the components of a Transformer over training",
    "summary": "A Transformer as a directed weighted graph: nodes are attention heads and MLPs, an "
    "edge is the causal influence of a source component on a target component, measured by "
    "ablating the source, at every checkpoint of a training trajectory.",
    "keywords": "Transformer, interpretability, ablation, causal influence, training dynamics",
    "Conventions": "CF-1.11, ACDD-1.3",
    "references": "arXiv:2509.15269",
    "schema_version": SCHEMA_VERSION,
    "sign_convention": "readout_effect and edge_effect are ablated minus clean, as are their "
    "gradient estimates; logit_difference is the logit of the right token minus that of the decoy; "
    "influence is never negative",
    "normalisation": "influence is the measure of the ablation (for relative_l2: the change of the "
    "target's contribution to the residual stream over the length of its clean contribution), mean "
    "over observed positions, then over draws, then over prompts; for an ablation that observes "
    "the readout, influence is the absolute value of edge_effect, in the readout's unit",
}


@dataclass(frozen=True)
class Axes:
    """What a study measures at every checkpoint: the labels of a dataset's dims.

    Parameters
    ----------
    nodes
        The components, in causal order.
    tasks, ablations
        Their names.
    readouts
        Names, in the order of `cntbench.readouts.known_readouts`.
    prompts, positions
        Most prompts of a task, and observed positions of a prompt, if results are kept for each.
    counts
        Whether the numbers of prompts that were measured are kept.
    """

    nodes: Sequence[Component]
    tasks: Sequence[str]
    ablations: Sequence[str]
    readouts: Sequence[str] = STANDARD
    prompts: int = 0
    positions: int = 0
    counts: bool = False

    @property
    def kept(self) -> dict[str, Variable]:
        """The variables of single prompts and positions."""
        dims = {"prompt": self.prompts, "position": self.positions, "checkpoint": self.counts}
        return {name: kept for name, kept in KEPT.items() if dims[kept.dims[-1]]}


def checkpoint_dataset(
    checkpoint: Checkpoint,
    axes: Axes,
    measured: Sequence[Influence],
    copying: NDArray[np.float64] | None = None,
) -> xr.Dataset:
    """Return the dataset of one checkpoint, with the schema's dims.

    Parameters
    ----------
    measured
        One result per task.
    copying
        The score of each component (`cntbench.engine.attention_scores.copying`), if computed.
    """
    dataset = unmeasured(checkpoint, axes)
    rows = [known_readouts().index(name) for name in axes.readouts]
    for name, variable in VARIABLES.items():
        if variable.type == "float" and "task" in variable.dims:
            values = np.stack([getattr(result, name) for result in measured])
            values = np.expand_dims(values, variable.dims.index("checkpoint"))
            if "readout" in variable.dims:
                values = values.take(rows, axis=variable.dims.index("readout"))
            dataset[name].values[...] = values
    if copying is not None:
        dataset["copying"].values[0] = copying
    if axes.counts:
        dataset["prompts_measured"].values[:, 0] = [result.prompts_measured for result in measured]
    for name, variable in axes.kept.items():
        if name == "prompts_measured":
            continue
        dims = [dim for dim in variable.dims if dim not in ("task", "checkpoint")]
        for task, result in enumerate(measured):
            values = result.kept[name]
            if "readout" in dims:
                values = values.take(rows, axis=dims.index("readout"))
            at = {"task": task, "checkpoint": 0}
            target = dataset[name].values[tuple(at.get(dim, slice(None)) for dim in variable.dims)]
            target[..., : values.shape[-1]] = values
    return dataset


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join the datasets of one model's blocks of sources.

    What does not depend on the sources, such as the clean model's readouts, comes from the first.
    """
    dataset = parts[0].copy(deep=True)
    for part in parts[1:]:
        for name, variable in {**VARIABLES, **KEPT}.items():
            if variable.type == "float" and name in dataset:
                values = dataset[name].values
                np.copyto(values, part[name].values, where=np.isnan(values))
    return dataset


def film(parts: Sequence[xr.Dataset], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Join checkpoints by ascending step; those whose weights an earlier one has are duplicates."""
    if not all("tokens_seen" in part.coords for part in parts):
        parts = [part.drop_vars("tokens_seen", errors="ignore") for part in parts]
    dataset = xr.concat(
        parts,
        dim="checkpoint",
        data_vars="minimal",
        coords="minimal",
        compat="equals",
        join="exact",
        combine_attrs="override",
    )
    # One assignment: xarray aligns the whole dataset at each.
    dataset = dataset.assign(
        {
            name: _in_schema(dataset.variables[name], variable)
            for name, variable in {**VARIABLES, **KEPT}.items()
            if name in dataset
        }
    )
    _mark_duplicates(dataset)
    dataset.attrs = {**CONVENTIONS, **attributes, **_file_attributes(parts)}
    if "source_expert" in dataset.coords:
        summary = str(CONVENTIONS["summary"])
        dataset.attrs["summary"] = summary.replace("heads and MLPs", "heads, MLPs and experts")
    return dataset


def _mark_duplicates(dataset: xr.Dataset) -> None:
    """Give measured checkpoints whose weights an earlier one has the status ``duplicate``."""
    measured = np.flatnonzero(usable(dataset))
    names, revisions = (dataset[name].values[measured] for name in ("checkpoint", "revision"))
    weights = [
        revision or f"of {name}, whose tensors have no names"
        for name, revision in zip(names, map(str, revisions), strict=True)
    ]
    for index, original in zip(measured, originals(map(str, names), weights), strict=True):
        if original is not None:
            dataset["status"].values[:, :, index] = "duplicate"
            dataset["status_reason"].values[:, :, index] = f"same weights as {original}"


def _in_schema(values: xr.Variable, variable: Variable) -> xr.Variable:
    """Return values with the dims and attributes of the schema, and texts of any length."""
    if variable.type == "text":  # labels of fixed length would cut longer ones
        values = values.astype(object)
    values = values.transpose(*variable.dims)
    values.attrs = dict(variable.attributes)
    return values


def _file_attributes(parts: Sequence[xr.Dataset]) -> dict[str, str]:
    """Return the unused tensors of the checkpoints' files, if there are any."""
    unused = {name for part in parts for name in json.loads(part.attrs.get("unused_tensors", "[]"))}
    return {"unused_tensors": json.dumps(sorted(unused))} if unused else {}


def untrained_group(parts: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """Join untrained models, given by the seed of their initial weights.

    Returns ``influence`` and ``influence_se``, dims ``task, ablation, seed, source, target``.
    """
    dims = ("task", "ablation", "seed", "source", "target")
    variables = {
        name: xr.Variable(
            dims,
            np.concatenate([part[name].values for part in parts.values()], axis=2),
            {**VARIABLES[name].attributes, "title": "in models that have not been trained"},
        )
        for name in ("influence", "influence_se")
    }
    seeds = np.array(list(parts), dtype=np.int64)
    about = {"long_name": "seed of the initial weights, as given to torch.manual_seed"}
    return xr.Dataset(variables, coords={"seed": ("seed", seeds, about)})


def originals(names: Iterable[str], revisions: Iterable[str]) -> list[str | None]:
    """Return for each checkpoint the earlier one with the same weights, or None."""
    first: dict[str, str] = {}
    pairs = ((name, first.setdefault(r, name)) for name, r in zip(names, revisions, strict=True))
    return [None if original == name else original for name, original in pairs]


def usable(dataset: xr.Dataset) -> NDArray[np.bool_]:
    """Return which checkpoints count as dynamics: those measured that are not duplicates."""
    return np.asarray((dataset["status"] == "ok").all(["task", "ablation"]).values)


def unmeasured(checkpoint: Checkpoint, axes: Axes, failure: Failure | None = None) -> xr.Dataset:
    """Return the dataset of a checkpoint whose numbers are all NaN, with the reason, if any."""
    coordinates = _coordinates(checkpoint, axes)
    status, reason = (failure.status, failure.reason) if failure else ("ok", "")
    texts = {"status": status, "status_reason": reason}
    variables: dict[str, Any] = {}
    for name, variable in {**VARIABLES, **axes.kept}.items():
        shape = tuple(len(coordinates[dim]) for dim in variable.dims)
        number = variable.type == "float"
        fill, dtype = (np.nan, np.float32) if number else (texts[name], object)
        variables[name] = (variable.dims, np.full(shape, fill, dtype), variable.attributes)
    return xr.Dataset(
        variables,
        coords={
            name: (COORDINATES[name].dims, values, COORDINATES[name].attributes)
            for name, values in coordinates.items()
        },
        attrs={"unused_tensors": json.dumps(checkpoint.unused)} if checkpoint.unused else {},
    )


def _coordinates(checkpoint: Checkpoint, axes: Axes) -> dict[str, Any]:
    """Return the coordinates of one checkpoint, in the order of the file."""
    coordinates: dict[str, Any] = {
        "task": list(axes.tasks),
        "ablation": list(axes.ablations),
        "readout": list(axes.readouts),
        "readout_unit": [find("readout", name).UNIT for name in axes.readouts],
        "checkpoint": [checkpoint.name],
        "step": np.array([checkpoint.step], dtype=np.int64),
        "revision": [checkpoint.revision],
    }
    if checkpoint.tokens_seen is not None:
        coordinates["tokens_seen"] = np.array([checkpoint.tokens_seen], dtype=np.int64)
    for side in ("source", "target"):
        coordinates[side] = [node.name for node in axes.nodes]
        for name in ("layer", "kind", "head", "expert"):
            labels = [getattr(node, name) for node in axes.nodes]
            if name == "kind":
                coordinates[f"{side}_kind"] = labels
            elif name != "expert" or any(label is not None for label in labels):
                numbers = [-1 if label is None else label for label in labels]
                coordinates[f"{side}_{name}"] = np.array(numbers, dtype=np.int64)
    for dim, size in (("prompt", axes.prompts), ("position", axes.positions)):
        if size:
            coordinates[dim] = np.arange(size, dtype=np.int64)
    return coordinates
