"""Declarative specs: frozen dataclasses, and the strict TOML loader that fills them.

A spec file states what is measured; its name is the file's. Unknown keys, wrong types and values
out of range are errors that say where they stand and what is allowed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_args

import pydantic
from pydantic import AfterValidator, Field

from cntbench.errors import SpecError, nearest
from cntbench.parsing import parse_toml

T = TypeVar("T")

Readout = Literal["cross_entropy", "accuracy", "logit_difference"]
READOUTS: tuple[Readout, ...] = get_args(Readout)

Scope = Literal["total", "direct"]
Observable = Literal["target", "readout"]
Estimator = Literal["exact", "eap", "eap_ig"]
HeadInput = Literal["query", "key", "value"]
"""What a head reads its input for."""
HEAD_INPUTS: tuple[HeadInput, ...] = get_args(HeadInput)
Precision = Literal["float32", "bfloat16", "float64"]
"""Floating-point type of weights and states."""

Names = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
"""A non-empty array of names."""
Version = Annotated[int, Field(ge=1)]
Summary = Annotated[str, Field(min_length=1, max_length=200)]


def _distinct(names: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(names)) < len(names):
        raise ValueError("each may stand once")
    return names


@dataclass_transform(frozen_default=True, kw_only_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make a class a spec: a frozen keyword-only dataclass whose values are checked strictly.

    Types are not coerced, unknown keys are refused, and ranges stand in the annotations:
    ``Annotated[int, Field(ge=1)]``.
    """
    config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)  # type: ignore[return-value]


@spec
class TaskSpec:
    """A prompt generator, its parameters, what is observed, and what to expect.

    Parameters
    ----------
    version
        Rises whenever the spec computes something else.
    summary
        One line for listings.
    generator
        Name of a file in ``cntbench/prompts/generators``.
    parameters
        What the generator takes.
    observed
        Positions at which a target's change is measured: the scored ones, or all.
    effects
        Readouts whose change is measured for every source. Cross-entropy and accuracy cost all the
        logits of every source; the logit difference costs two.
    bos
        Whether the model's token for the beginning of a text stands before every prompt.
    learnt, not_learnt
        What a model that has learnt induction does on the task, and one that has not.
    """

    version: Version
    summary: Summary
    generator: str
    learnt: str
    not_learnt: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    observed: Literal["scored", "all"] = "scored"
    effects: Annotated[tuple[Readout, ...], Field(strict=False), AfterValidator(_distinct)] = (
        "logit_difference",
    )
    bos: bool = False


@spec
class AblationSpec:
    """An ablation method: what replaces a component's output, and how the change is measured.

    `cntbench.ablations.ablation.check` says which combinations make sense.

    Parameters
    ----------
    replacement
        Name of a file in ``cntbench/ablations/replacements``.
    parameters
        What the replacement takes.
    scope
        ``"total"``: everything downstream of the source is recomputed. ``"direct"``: the change
        reaches the target over the one edge from source to target, all else that the target reads
        is clean.
    observable
        ``"target"``: the edge's number is the change of the target's output. ``"readout"``: it is
        the change of the task's readout (the first of its ``effects``) that passes through the
        edge.
    measure
        Name of a file in ``cntbench/ablations/measures``, for the change of a target.
    through
        What of a head sees the change; MLPs always do.
    estimator
        How the change of the readout is found: ``"exact"`` computes it, ``"eap"`` and ``"eap_ig"``
        estimate it by gradients.
    steps
        Points that ``"eap_ig"`` takes gradients at.
    draws
        Independent draws of a random replacement that each prompt's numbers are means over.
    """

    version: Version
    summary: Summary
    replacement: str
    measure: str | None = None
    scope: Scope = "total"
    observable: Observable = "target"
    through: Annotated[
        tuple[HeadInput, ...], Field(min_length=1, strict=False), AfterValidator(_distinct)
    ] = HEAD_INPUTS
    estimator: Estimator = "exact"
    steps: Annotated[int, Field(ge=1, le=1024)] | None = None
    draws: Annotated[int, Field(ge=1, le=64)] = 1
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def effect(self) -> str:
        """What is measured, in a few words for listings."""
        words = f"{self.scope} effect on the {self.observable}"
        return words if self.estimator == "exact" else f"{words}, by {self.estimator}"


@spec
class StudySpec:
    """Trajectory × tasks × ablations: what ``cntbench run`` takes.

    Parameters
    ----------
    trajectory
        ``SOURCE`` or ``SOURCE:WHERE``, for instance ``nano``, ``nano:seed=3``, ``dir:PATH``.
    tasks, ablations
        Names of specs.
    prompts
        Number of prompts of each task.
    seed
        Seed of the prompts, of the ablations' random draws and of those of null models.
    untrained
        Number of untrained models that are measured beside the trajectory, if it has such a thing.
        With fewer than 20, no p-value against them is below 0.05.
    null_draws
        Number of draws from each null model that metrics, roles and claims are held against; 0
        leaves null models, phases and claims out.
    planted
        Whether the ablations are also held against the planted circuits without dynamics, whose
        edges are known.
    dtype
        Floating-point type that the model computes in; see `cntbench.models.precision`.
    blocks
        Into how many blocks of sources each checkpoint is divided: units of work of their own,
        for models so large that a checkpoint takes hours.
    """

    version: Version
    summary: Summary
    trajectory: Annotated[str, Field(min_length=1)]
    tasks: Names
    ablations: Names
    prompts: Annotated[int, Field(ge=1, le=65536)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    untrained: Annotated[int, Field(ge=0, le=1024)] = 20
    null_draws: Annotated[int, Field(ge=0, le=100_000)] = 200
    planted: bool = True
    dtype: Precision = "float32"
    blocks: Annotated[int, Field(ge=1, le=65536)] = 1


@spec
class BackboneSpec:
    """Which edges of a graph are its backbone.

    Parameters
    ----------
    rule
        Name of a file in ``cntbench/backbones``.
    parameters
        What the rule takes.
    """

    version: Version
    summary: Summary
    rule: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


def as_dict(value: Any) -> dict[str, Any]:
    """Return a spec as plain data, ready for JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(value)))
    return plain


def content_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, or raise a `SpecError` that says in which line it is malformed."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text: {error}", where=str(path)) from None
    except ValueError as error:
        raise SpecError(f"malformed TOML: {error}", where=str(path)) from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from None


def build(cls: Callable[..., T], table: Mapping[str, Any], *, where: str, prefix: str = "") -> T:
    """Make a spec from a table, turning the first thing wrong with it into a `SpecError`.

    Parameters
    ----------
    cls
        A class made by `spec`.
    table
        Keys and values, as TOML gives them.
    where
        The file, for the error.
    prefix
        Path of the table within the file, such as ``"parameters."``.

    Raises
    ------
    SpecError
        Naming the file, the key, the nearest match and what is allowed.
    """
    try:
        return cls(**table)
    except pydantic.ValidationError as error:
        problems = error.errors()
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        # A misspelt key is the cause of the missing one, so it is told first.
        problems.sort(key=lambda problem: problem["type"] != "unexpected_keyword_argument")
        problem = problems[0]
        key = prefix + ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "unexpected_keyword_argument":
            what, hint = f"unknown key {key!r}", nearest(str(problem["loc"][0]), fields)
        elif problem["type"] == "missing":
            what, hint = f"key {key!r} is missing", f"Expected keys: {', '.join(sorted(fields))}."
        else:
            what = f"{key} = {_toml(problem['input'])} is not allowed"
            hint = problem["msg"].removeprefix("Value error, ") + "."
            for python, toml in [("valid tuple", "valid array"), ("dictionary", "table")]:
                hint = hint.replace(python, toml)
            choices = problem.get("ctx", {}).get("expected", "")
            if isinstance(problem["input"], str) and choices:
                hint = nearest(problem["input"], [c.strip("' ") for c in _split(choices)])
        raise SpecError(what, where=where, hint=hint) from None


def _split(choices: str) -> list[str]:
    return choices.replace(" or ", ", ").split(",")


def _toml(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, default=str)
