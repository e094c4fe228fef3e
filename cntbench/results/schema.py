"""The schema of the dataset: every dimension, coordinate and variable, and the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import xarray as xr

from cntbench.components import Kind, component_name
from cntbench.errors import StorageError
from cntbench.readouts import STANDARD
from cntbench.results.variables import (
    Attribute,
    Variable,
    problem,
    validate_attributes,
    validate_names,
    validate_variables,
)

#: Incremented whenever the schema changes.
SCHEMA_VERSION = 2

DIMENSIONS = ("task", "ablation", "readout", "checkpoint", "source", "target")

STATUS = ("ok", "missing", "duplicate", "failed")

#: Kinds of components, in their order within a layer.
KINDS = get_args(Kind)

_CELL = ("task", "ablation", "checkpoint")
_EDGE = (*_CELL, "source", "target")


def _component(side: str) -> dict[str, Variable]:
    return {
        side: Variable((side,), "text", f"{side} component, in causal order"),
        f"{side}_layer": Variable((side,), "integer", f"layer of the {side}", lower=0),
        f"{side}_kind": Variable((side,), "text", f"kind of the {side}", values=KINDS),
        f"{side}_head": Variable(
            (side,), "integer", f"head index of the {side} in its layer, -1 for an MLP", lower=-1
        ),
        f"{side}_expert": Variable(
            (side,),
            "integer",
            f"expert index of the {side} in its layer, -1 for heads and MLPs",
            lower=-1,
            optional=True,
        ),
    }


def _standard_error(
    dims: tuple[str, ...], name: str, what: str, units: str | None = None
) -> Variable:
    """Return the standard error of a variable over prompts, by default in its readout's unit."""
    doc, long_name = f"standard error of {name} over prompts", f"standard error of {what}"
    return Variable(dims, "float", doc, units, 0, long_name=long_name)


def _attention(long_name: str, where: str, *, optional: bool = False) -> Variable:
    """Return the share of a head's attention that goes somewhere."""
    dims, doc = ("task", "checkpoint", "source"), f"attention of the head {where}"
    return Variable(
        dims, "float", doc, "1", lower=0, upper=1, optional=optional, long_name=long_name
    )


COORDINATES: Mapping[str, Variable] = {
    "task": Variable(("task",), "text", "task"),
    "ablation": Variable(("ablation",), "text", "ablation method"),
    "readout": Variable(("readout",), "text", "readout of the model's behaviour"),
    "readout_unit": Variable(("readout",), "text", "unit of the readout"),
    "checkpoint": Variable(("checkpoint",), "text", "checkpoint, as its source names it"),
    "step": Variable(("checkpoint",), "integer", "training step", lower=0),
    "tokens_seen": Variable(
        ("checkpoint",), "integer", "training tokens up to the checkpoint", lower=0, optional=True
    ),
    "revision": Variable(("checkpoint",), "text", "SHA-256 of the checkpoint's tensors"),
    **_component("source"),
    **_component("target"),
    "prompt": Variable(
        ("prompt",),
        "integer",
        "number of the prompt in its task, from 0",
        lower=0,
        optional=True,
        long_name="prompt",
    ),
    "position": Variable(
        ("position",),
        "integer",
        "number of the observed position in its prompt, from 0: among the scored positions, or all "
        "if the task observes all",
        lower=0,
        optional=True,
        long_name="position",
    ),
}

VARIABLES: Mapping[str, Variable] = {
    "influence": Variable(
        _EDGE,
        "float",
        "causal influence of source on target, mean over prompts; NaN where not feasible; for an "
        "ablation that observes the readout, the absolute value of edge_effect",
        units="1",
        lower=0,
        long_name="influence",
    ),
    "influence_se": _standard_error(_EDGE, "influence", "influence", "1"),
    "readout_value": Variable(
        ("task", "readout", "checkpoint"),
        "float",
        "readout of the clean model, mean over prompts, in readout_unit",
        long_name="readout",
    ),
    "readout_se": _standard_error(
        ("task", "readout", "checkpoint"), "readout_value", "the readout"
    ),
    "readout_effect": Variable(
        ("task", "ablation", "readout", "checkpoint", "source"),
        "float",
        "change of the readout when the source is ablated: ablated minus clean, in readout_unit; "
        "with direct scope, over the edge from the source to the unembedding alone; NaN where the "
        "task does not ask for it",
        long_name="effect on the readout",
    ),
    "readout_effect_se": _standard_error(
        ("task", "ablation", "readout", "checkpoint", "source"),
        "readout_effect",
        "the effect on the readout",
    ),
    "edge_effect": Variable(
        _EDGE,
        "float",
        "change of the first readout among the task's effects through the edge, or its estimate: "
        "ablated minus clean, in that readout's unit; NaN where not feasible, and for ablations "
        "that observe targets",
        long_name="effect of the edge on the readout",
    ),
    "edge_effect_se": _standard_error(_EDGE, "edge_effect", "the edge's effect"),
    "prefix_matching": _attention(
        "prefix matching",
        "to what followed earlier occurrences of the present token; NaN for MLPs and where no "
        "token occurs twice",
    ),
    "previous_token": _attention(
        "attention to the previous token", "to the previous token; NaN for MLPs"
    ),
    "duplicate_token": _attention(
        "attention to duplicates",
        "to earlier occurrences of the present token; NaN for MLPs and where no token occurs twice",
        optional=True,
    ),
    "positional": _attention(
        "attention at one distance",
        "at the distance to the query at which it attends most, mean over all positions but the "
        "first; NaN for MLPs",
        optional=True,
    ),
    "copying": Variable(
        ("checkpoint", "source"),
        "float",
        "how far the head raises the logits of the tokens it attends to: sum of the eigenvalues of "
        "unembedding × W_O × W_V × embedding over the sum of their absolute values; -1 if it only "
        "lowers them; the same for all tasks; NaN for MLPs",
        units="1",
        lower=-1,
        upper=1,
        optional=True,
        long_name="copying",
    ),
    "status": Variable(_CELL, "text", "what became of the cell", values=STATUS, long_name="status"),
    "status_reason": Variable(
        _CELL, "text", "why the status is not ok, else empty", long_name="reason of the status"
    ),
}

#: Scores of heads: where they attend on the clean prompts, and what their values write. The first
#: two are in every result; golden films lack the others.
HEAD_SCORES = ("prefix_matching", "previous_token", "duplicate_token", "positional", "copying")

_OF_PROMPTS = "for each prompt; NaN beyond the prompts of a task"

#: What is only kept on request: prompt by prompt, or position by position, and the number of
#: prompts if it is not the same everywhere. Means over prompts are
#: the variables above.
KEPT: Mapping[str, Variable] = {
    "influence_by_prompt": Variable(
        (*_EDGE, "prompt"),
        "float",
        f"influence {_OF_PROMPTS}, and for ablations that observe the readout",
        units="1",
        lower=0,
        optional=True,
        long_name="influence in a prompt",
    ),
    "edge_effect_by_prompt": Variable(
        (*_EDGE, "prompt"),
        "float",
        f"edge_effect {_OF_PROMPTS}, and for ablations that observe targets",
        optional=True,
        long_name="effect of the edge in a prompt",
    ),
    "readout_effect_by_prompt": Variable(
        ("task", "ablation", "readout", "checkpoint", "source", "prompt"),
        "float",
        f"readout_effect {_OF_PROMPTS}",
        optional=True,
        long_name="effect on the readout in a prompt",
    ),
    "readout_value_by_prompt": Variable(
        ("task", "readout", "checkpoint", "prompt"),
        "float",
        f"readout_value {_OF_PROMPTS}",
        optional=True,
        long_name="readout in a prompt",
    ),
    "prompts_measured": Variable(
        ("task", "checkpoint"),
        "float",
        "number of prompts that means are over, where not all tasks have the same: those of a "
        "file, or with until_se those measured until the errors of the strongest edges were below",
        units="1",
        lower=1,
        optional=True,
        long_name="prompts measured",
    ),
    "influence_by_position": Variable(
        (*_EDGE, "position"),
        "float",
        "influence at each observed position, mean over the prompts that have it; its mean over "
        "positions is influence if all prompts have all of them; NaN for ablations that observe "
        "the readout",
        units="1",
        lower=0,
        optional=True,
        long_name="influence at a position",
    ),
}


_TEXTS = (
    "title",
    "summary",
    "source",
    "history",
    "study",
    "sign_convention",
    "normalisation",
    "dtype",
    "device",
    "determinism",
    "spec_sha256",
)

ATTRIBUTES: Mapping[str, Attribute] = {
    **dict.fromkeys(_TEXTS, Attribute("text")),
    "seed": Attribute("integer"),
    "prompts": Attribute("integer", lower=1),
    "feasible_edges": Attribute("integer"),
    "spec": Attribute(
        "JSON", keys=("prompts", "seed", "tokenizer"), objects=("tasks", "ablations")
    ),
    "study_spec": Attribute("JSON"),
    "library_versions": Attribute("JSON"),
    "plugins": Attribute("JSON"),
}


def validate(dataset: xr.Dataset, *, where: str) -> None:
    """Check a film against the schema.

    Raises a `StorageError` if a newer version has written it, and for the first variable or
    attribute that is missing, unknown, or of another form, or a dimension that is empty or repeats
    a label.
    """
    _validate_version(dataset, where)
    table = {**COORDINATES, **VARIABLES, **KEPT}
    present = {str(name) for name in dataset.variables}
    for name in sorted(present - set(table)):
        raise StorageError(f"variable {name!r} is not in the schema", where=where)
    validate_variables(dataset, table, where)
    for name, expected in table.items():
        units = dataset.variables[name].attrs.get("units") if name in present else expected.units
        if units not in (expected.units, expected.units or "1"):  # golden films have 1 for none
            raise problem(name, "units", units, expected.units, where)
    for dim in DIMENSIONS:
        validate_names(dataset, dim, where)
    validate_attributes(dataset, ATTRIBUTES, where)
    _validate_readouts(dataset, where)
    _validate_components(dataset, where)
    validate_edges(dataset, where)
    if not (np.diff(dataset["step"].values) > 0).all():
        raise StorageError("variable 'step' does not rise", where=where)


def validate_edges(dataset: xr.Dataset, where: str) -> None:
    """Raise a `StorageError` if there is influence where no architecture has an edge.

    Influence reaches later layers, and what is not a head from heads of its layer.
    """
    source, target = (
        2 * dataset[f"{side}_layer"].variable + (dataset[f"{side}_kind"].variable != "head")
        for side in ("source", "target")
    )
    influence = dataset["influence"].variable
    present = influence.notnull().any([d for d in influence.dims if d not in ("source", "target")])
    for s, t in np.argwhere((present & (source >= target)).transpose("source", "target").values):
        edge = " → ".join(str(dataset[d].values[i]) for d, i in (("source", s), ("target", t)))
        raise StorageError(
            f"variable 'influence' is a number where there is no edge: {edge}",
            where=where,
            hint="NaN says that an edge is not feasible; 0 would count as a measurement.",
        )


def _validate_version(dataset: xr.Dataset, where: str) -> None:
    """Refuse the schema of a newer version, before anything else about it seems wrong."""
    validate_attributes(dataset, {"schema_version": Attribute("integer", lower=1)}, where)
    version = int(dataset.attrs.get("schema_version", SCHEMA_VERSION))
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"has schema_version {version}, and this cntbench reads those up to {SCHEMA_VERSION}",
            where=where,
            hint="Read it with the version of cntbench that wrote it, or a later one.",
        )


def _validate_readouts(dataset: xr.Dataset, where: str) -> None:
    missing = [name for name in STANDARD if name not in dataset["readout"].values.astype(str)]
    if missing:
        raise StorageError(f"lacks the readout {missing[0]!r}", where=where)


def _validate_components(dataset: xr.Dataset, where: str) -> None:
    """Check that targets equal sources, and that names and order are those of components."""
    for name, side in zip(_component("source"), _component("target"), strict=True):
        pair = [dataset[label].values for label in (name, side) if label in dataset]
        if len(pair) == 1 or (pair and not np.array_equal(pair[0], pair[1])):
            raise StorageError(f"has other sources than targets: {name!r}, {side!r}", where=where)
    layer, kind, head = (dataset[f"source_{name}"].values for name in ("layer", "kind", "head"))
    expert = dataset["source_expert"].values if "source_expert" in dataset else 0 * head - 1
    rows = [
        (int(at), KINDS.index(str(of)), int(a), int(b))
        for at, of, a, b in zip(layer, kind, head, expert, strict=True)
    ]
    for name, (at, of, a, b) in zip(dataset["source"].values, rows, strict=True):
        expected = component_name(at, None if a < 0 else a, None if b < 0 else b)
        if str(name) != expected or (KINDS[of] == "head", KINDS[of] == "expert") != (
            a >= 0,
            b >= 0,
        ):
            raise StorageError(
                f"has a component {str(name)[:60]!r} where layer, kind and head say {expected!r}",
                where=where,
            )
    if rows != sorted(rows):
        raise StorageError("components are not in causal order", where=where)
