"""The schemas of a result's derived groups, and the check against them.

All of these groups follow from the film, so that an invalid one can be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
import xarray as xr

from cntbench.dynamics.claims import Label
from cntbench.dynamics.null_summary import STATISTICS
from cntbench.dynamics.role_summary import OF_CHECKPOINTS, OF_COMPONENTS, OF_GATEKEEPERS, SIDE
from cntbench.dynamics.verdicts import OF_CLAIMS, OF_PHASES, OF_TESTS
from cntbench.errors import StorageError
from cntbench.metrics._base import DIMS
from cntbench.results.faithfulness import NAMES, OF_CIRCUITS
from cntbench.results.schema import DIMENSIONS, VARIABLES
from cntbench.results.tree import LIKE, film_coordinates
from cntbench.results.variables import (
    Attribute,
    Group,
    Type,
    Variable,
    problem,
    validate_attributes,
    validate_names,
    validate_variables,
)

_CELL = ("task", "ablation")
_CLAIM = (*_CELL, "claim")
_TEST = (*_CLAIM, "test")
_CIRCUIT = ("circuit", "difficulty", "truth", "ablation")
_SPECIAL = ("special", "ablation")
_PURPOSE = ("purpose", "ablation")

_ENDS = ("mean", "low", "high")
#: Prose of a claim's spec.
_CLAIM_TEXTS = ("summary", "text", "source", "about")


def validate_group(name: str, group: xr.Dataset, root: xr.Dataset, *, where: str) -> None:
    """Check a group against its schema, and its dims against those of the film.

    Of a group without a schema, only the dims are checked. Raises a `StorageError` that names the
    first variable that is missing, unknown, or of another form.
    """
    for dim, size in group.sizes.items():
        like = LIKE.get(str(dim), str(dim))
        if like in root.sizes and size != root.sizes[like]:
            raise problem(str(dim), "size", size, root.sizes[like], where)
    for coordinate, values in film_coordinates(root, group.dims).items():
        if coordinate in group.variables and not values.equals(group.variables[coordinate]):  # type: ignore[no-untyped-call]
            raise StorageError(f"has another {coordinate} than the film", where=where)
    if name in GROUPS:
        validate_contents(GROUPS[name], group, where=where)


def validate_contents(schema: Group, group: xr.Dataset, *, where: str) -> None:
    """Check what a group holds against a schema.

    Raises a `StorageError` that names the first variable that is missing, unknown, or of another
    form.
    """
    validate_variables(group, schema.variables, where)
    if not group.data_vars:
        raise StorageError("is empty", where=where)
    for name, values in group.data_vars.items():
        if str(name) not in schema.variables and not schema.free:
            if not schema.named:
                raise StorageError(f"variable {name!r} is not in the schema", where=where)
            dims = next((dims for dims in schema.named if dims == values.dims), schema.named[0])
            labels = {dim: replace(_LABELS[dim], optional=False) for dim in {*dims} - {*DIMENSIONS}}
            number = Variable(dims, "float", "", infinite=True)
            validate_variables(group, {str(name): number, **labels}, where)
        validate_attributes(values, schema.about, where)
    for dim in schema.names:
        validate_names(group, dim, where)
    validate_attributes(group, schema.attributes, where)
    if schema.check is not None:
        schema.check(group, where)


def _numbers(names: Mapping[str, str], dims: tuple[str, ...], prefix: str) -> dict[str, Variable]:
    return {
        f"{prefix}{name}": Variable(dims, "number", about, infinite=True)
        for name, about in names.items()
    }


def _texts(dims: tuple[str, ...], *names: str) -> dict[str, Variable]:
    return {name: Variable(dims, "text", "") for name in names}


def _optional(dims: tuple[str, ...], type: Type, *names: str) -> dict[str, Variable]:
    return {name: Variable(dims, type, "", optional=True, infinite=True) for name in names}


def _check_statistics(group: xr.Dataset, where: str) -> None:
    missing = set(STATISTICS) - {str(name) for name in group["statistic"].values}
    if missing:
        raise StorageError(f"lacks the statistic {min(missing)!r}", where=where)


def _check_boundaries(group: xr.Dataset, where: str) -> None:
    """Check that there is one boundary fewer than phases, each with an interval."""
    known = np.isfinite(group["boundary_step"].values)
    phases = np.nan_to_num(group["count"].values)
    if not np.array_equal(known.sum(axis=-1), np.maximum(phases - 1, 0)):
        raise StorageError("has other boundaries than phases", where=where)
    if (phases > group.sizes["phase"]).any():
        raise StorageError("has more phases than names of phases", where=where)
    for end in ("lower", "upper"):
        if not np.isfinite(group[f"boundary_{end}"].values[known]).all():
            raise StorageError("has a boundary without an interval", where=where)


def _check_decisive(group: xr.Dataset, where: str) -> None:
    """Check that every claim has tests, one of which is decisive."""
    tests = (group["test_statistic"].values.astype(str) != "").sum(axis=-1)
    decisive = group["decisive"].values
    if not tests.all():
        raise StorageError("has a claim without a test", where=where)
    if not ((decisive >= 1) & (decisive <= tests)).all():
        raise StorageError("has a claim that no test decides", where=where)


def _check_circuits(group: xr.Dataset, where: str) -> None:
    """Check that variables which belong together are all present, with their coordinates."""
    for names in (("auroc", "ap"), ("passed", "value", "what"), _VERDICT):
        missing = [name for name in names if name not in group]
        if 0 < len(missing) < len(names):
            raise StorageError(f"variable {missing[0]!r} is missing", where=where)
    for name in set(COMPARISON.variables) & set(group.data_vars):
        for dim in group[name].dims:
            if dim not in group.coords and dim != "ablation":
                raise StorageError(f"variable {dim!r} is missing", where=where)


#: Variables of a verdict on methods.
_VERDICT = (
    "verdict",
    "score",
    "score_low",
    "score_high",
    "rank",
    "pareto",
    "unscored",
    "forward_passes",
    "score_by_model",
    *(f"purpose_{name}" for name in ("title", "measure", "meaning")),
)

_METRICS = tuple(("task", "ablation", *dims) for dims in DIMS.values())
_LABELS: Mapping[str, Variable] = {
    "statistic": Variable(("statistic",), "text", "statistic of a value"),
    **_optional(("component",), "text", "component"),
    **_optional(("layer",), "integer", "layer"),
    **_optional(("lag",), "integer", "lag"),
    **_optional(("other_checkpoint",), "text", "other_checkpoint"),
}

#: A comparison of ablations, as a group or as a file of its own.
COMPARISON = Group(
    {
        **_optional(("circuit",), "text", "circuit"),
        **_optional(("special",), "text", "special"),
        **_optional(("difficulty",), "text", "difficulty"),
        **_optional(("truth",), "text", "truth"),
        **_optional(_CIRCUIT, "float", "auroc", "ap", "baseline_ap"),
        **_optional(_SPECIAL, "float", "passed", "value"),
        **_optional(_SPECIAL, "text", "what"),
        **_optional(
            ("ablation",),
            "float",
            *(f"{name}_{end}" for name in ("split_half", "over_draws") for end in _ENDS),
            "relative_seconds",
            "relative_token_layers",
            "forward_passes",
        ),
        **_optional(("purpose",), "text", "purpose", "verdict"),
        **_optional(("purpose",), "text", *_VERDICT[-3:]),
        **_optional(("scored_circuit",), "text", "scored_circuit", "circuit_sha256"),
        **_optional(("seed",), "integer", "seed"),
        **_optional(_PURPOSE, "float", *_VERDICT[1:6]),
        **_optional(_PURPOSE, "text", "unscored"),
        **_optional((*_PURPOSE, "scored_circuit", "seed"), "float", "score_by_model"),
    },
    free=True,
    names=("ablation",),
    attributes={
        "source": Attribute("text"),
        "yardstick": Attribute("text"),
        "left_out": Attribute("JSON"),
        "undiagnosed": Attribute("JSON"),
    },
    check=_check_circuits,
)

#: Faithfulness of circuits, as a group or as a file.
FAITHFULNESS = Group(
    {
        **{
            name: Variable((*_CELL, *dims), "number", about, units)
            for name, (dims, about, units) in OF_CIRCUITS.items()
        },
        **_texts(("task",), "observed_readout"),
        **_optional(("task",), "text", "patch"),
        **_optional(("task",), "integer", "prompt_count"),
        "ranking": Variable(("ranking",), "text", NAMES["ranking"], values=("signed", "absolute")),
        "budget": Variable(("budget",), "float", NAMES["budget"], lower=0, upper=1),
        "draw": Variable(("draw",), "integer", NAMES["draw"], lower=0),
    },
    names=("ranking",),
    attributes={
        **{
            name: Attribute("text")
            for name in ("checkpoint", "revision", "patched_by", "selection")
        },
        "step": Attribute("integer"),
        "seed": Attribute("integer"),
        "prompts": Attribute("integer"),
    },
)

#: By name, the groups that readers rely on.
GROUPS: Mapping[str, Group] = {
    "metrics": Group(
        _optional((*_CELL, *DIMS["checkpoint_pair"]), "float", "recurrence"), named=_METRICS
    ),
    "nulls": Group(
        {},
        named=tuple(("statistic", *dims) for dims in _METRICS),
        names=("statistic",),
        about={"draws": Attribute("integer"), "null_model": Attribute("text")},
        check=_check_statistics,
    ),
    "roles": Group(
        {
            name: variable
            for role, side in SIDE.items()
            for name, variable in {
                **_numbers(OF_COMPONENTS, (*_CELL, "checkpoint", side), f"{role}_"),
                **_numbers(OF_CHECKPOINTS, (*_CELL, "checkpoint"), f"{role}_"),
            }.items()
        }
        | {
            f"gatekeeper_{name}": Variable(
                (*_CELL, "checkpoint", *([] if name == "change" else ["component"])),
                "number",
                about,
                optional=True,
            )
            for name, about in OF_GATEKEEPERS.items()
        }
        | _optional(("component",), "text", "component")
    ),
    "phases": Group(
        {
            **{
                name: Variable((*_CELL, *dims), "number", about)
                for name, (dims, about) in OF_PHASES.items()
            },
            "lag": Variable(("lag",), "float", ""),
            **_texts((*_CELL, "phase"), "phase_name"),
            **_texts(("feature",), "feature", "feature_meaning"),
        },
        names=("feature",),
        check=_check_boundaries,
    ),
    "claims": Group(
        {
            "verdict": Variable(_CLAIM, "text", "", values=get_args(Label)),
            "checkpoints": Variable(_CELL, "integer", ""),
            "claim_version": Variable(("claim",), "integer", ""),
            "claim_draws": Variable(("claim",), "integer", ""),
            "claim_level": Variable(("claim",), "float", ""),
            "test_minimum": Variable(("claim", "test"), "float", ""),
            **_texts(_CLAIM, "reason"),
            **_texts(_TEST, "test_reason"),
            **_texts(("claim",), "claim", *(f"claim_{name}" for name in _CLAIM_TEXTS)),
            **_texts(("claim", "test"), "test_statistic", "test_null_model", "test_rules_out"),
            **_numbers(OF_CLAIMS, _CLAIM, ""),
            **_numbers(OF_TESTS, _TEST, "test_"),
        },
        names=("claim",),
        attributes={"draws": Attribute("integer"), "seed": Attribute("integer")},
        check=_check_decisive,
    ),
    "untrained": Group(
        {
            "seed": Variable(("seed",), "integer", "seed of the initial weights"),
            **{
                name: Variable(
                    (*_CELL, "seed", "source", "target"), "float", VARIABLES[name].doc, lower=0
                )
                for name in ("influence", "influence_se")
            },
        },
        names=("seed",),
    ),
    "comparison": COMPARISON,
    "faithfulness": FAITHFULNESS,
}
