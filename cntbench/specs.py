"""Declarative specs: frozen dataclasses, and the strict TOML loader for them.

A spec has the name of its file. Unknown keys, wrong types and values out of range are errors that
say where they are and what is allowed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import numbers
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_args

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from cntbench import plugins
from cntbench.errors import SpecError, as_json, nearest, shown, unknown
from cntbench.files.parsing import parse_toml
from cntbench.files.refusals import allowed

T = TypeVar("T")


def _readout(name: str) -> str:
    allowed = sorted(plugins.room("readout"))
    if name not in allowed:
        raise PydanticCustomError("readout", "no such readout", {"expected": ", ".join(allowed)})
    return name


Readout = Annotated[str, AfterValidator(_readout)]
"""Name of a file in ``cntbench/readouts``."""
Scope = Literal["total", "direct"]
Observable = Literal["target", "readout"]
HeadInput = Literal["query", "key", "value"]
"""The three uses of a head's input."""
HEAD_INPUTS: tuple[HeadInput, ...] = get_args(HeadInput)
Keep = Literal["prompts", "positions"]
"""Units for which results are kept, besides their means."""
Precision = Literal["float32", "tf32", "bfloat16", "float64"]
"""Floating-point type of weights and states; tf32 is float32 with products rounded by a GPU."""

Names = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
"""A non-empty array of names."""
SomeNames = Annotated[tuple[str, ...], Field(strict=False)]
"""An array of names."""
Version = Annotated[int, Field(ge=1)]
Summary = Annotated[str, Field(min_length=1, max_length=200)]


def _distinct(names: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(names)) < len(names):
        raise ValueError("each may appear once")
    return names


def choice_text(choice: Any) -> Any:
    """Return a choice of checkpoints as the command line writes it; anything else unchanged.

    Takes a text, a step, a slice of steps or names, or a sequence of texts and steps.
    """
    if isinstance(choice, str | bool):
        return choice
    if isinstance(choice, numbers.Integral):
        return str(choice)
    if isinstance(choice, slice):
        parts = (choice.start, choice.stop, choice.step)
        return ":".join("" if part is None else str(part) for part in parts).removesuffix(":")
    try:
        items = [choice_text(item) for item in choice]
    except TypeError:
        return choice
    if not items:
        raise ValueError("It must not be empty")
    return ",".join(items) if all(isinstance(i, str) for i in items) else choice


CheckpointChoice = Annotated[str, BeforeValidator(choice_text)]
"""Which checkpoints; see `cntbench.models.checkpoint_choice`. Empty for all."""

#: Largest number of seeds of a study, and one more than the largest seed of a trajectory.
_MOST_SEEDS, _SEEDS_END = 1000, 10**9


def seed_numbers(seeds: Any) -> Any:
    """Convert text or a collection of whole numbers to seeds; return anything else unchanged.

    Examples
    --------
    >>> seed_numbers("0..2,7"), seed_numbers(range(2)), seed_numbers(5), seed_numbers("")
    ((0, 1, 2, 7), (0, 1), (5,), ())
    """
    if isinstance(seeds, numbers.Integral) and not isinstance(seeds, bool):
        return (int(seeds),)
    if not isinstance(seeds, str):
        try:
            return tuple(int(s) if isinstance(s, numbers.Integral) else s for s in seeds)
        except TypeError:
            return seeds
    listed: list[int] = []
    for part in filter(None, (part.strip() for part in seeds.split(","))):
        match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", part, re.ASCII)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError("Write 0..9, both ends included, or 0,3,5")
        last = int(match[2] or match[1])
        listed.extend(range(int(match[1]), min(last, int(match[1]) + _MOST_SEEDS) + 1))
    return tuple(listed)


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=_SEEDS_END)], ...],
    BeforeValidator(seed_numbers),
    AfterValidator(_distinct),
    Field(max_length=_MOST_SEEDS),
]
"""Seeds of trajectories: ``"0..9"``, ``"0,3,5"``, or numbers."""

#: Marks a key in the metadata of its field.
_ADDED = "added"


def added(default: Any) -> Any:
    """Return the default of a key that was added after results had been written.

    `as_dict` leaves the key out where it has this value, so that the identities of runs, and
    results, from before the key existed stay as they were.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True})


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, added)
)
def spec(cls: type[T]) -> type[T]:
    """Make a class a spec: a frozen keyword-only dataclass whose values are checked strictly.

    Types are not coerced and unknown keys are errors. Annotations give ranges:
    ``Annotated[int, Field(ge=1)]``.
    """
    config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)  # type: ignore[return-value]


@spec
class TaskSpec:
    """A prompt generator, its parameters, what is observed, and the expected result.

    Parameters
    ----------
    version
        Incremented when the spec computes something different.
    summary
        One line for listings.
    generator
        Name of a file in ``cntbench/prompts/generators``.
    parameters
        Parameters of the generator.
    observed
        Positions at which a target's change is measured: the scored ones, or all.
    effects
        Readouts whose change is measured for every source. Cross-entropy and accuracy need all
        logits of every source; the logit difference needs two.
    bos
        Whether every prompt starts with the model's token for the beginning of a text.
    learnt, not_learnt
        The behaviour on the task of a model that has learnt induction, and of one that has not.
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

    `cntbench.ablations.ablation.check` checks which parts fit together.

    Parameters
    ----------
    replacement
        Name of a file in ``cntbench/ablations/replacements``.
    parameters
        Parameters of the replacement.
    scope
        ``"total"``: everything downstream of the source is recomputed. ``"direct"``: the change
        reaches the target only over the edge from source to target.
    observable
        ``"target"``: the weight of an edge is the change of the target's output. ``"readout"``: it
        is the change of the task's readout (the first of its ``effects``) through the edge.
    measure
        Name of a file in ``cntbench/ablations/measures``, for the change of a target.
    through
        The inputs of a head that see the change; MLPs always see it.
    estimator
        Name of a file in ``cntbench/estimators``: ``"exact"`` computes the effect, others estimate
        it.
    steps
        Number of points at which an estimator such as ``"eap_ig"`` computes gradients.
    draws
        Number of independent draws of a random replacement, over which results are averaged.
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
    estimator: str = "exact"
    steps: Annotated[int, Field(ge=1, le=1024)] | None = None
    draws: Annotated[int, Field(ge=1, le=64)] = 1
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def effect(self) -> str:
        """The measured effect, in a few words for listings."""
        words = f"{self.scope} effect on the {self.observable}"
        return words if self.estimator == "exact" else f"{words}, by {self.estimator}"


@spec
class StudySpec:
    """Trajectory × tasks × ablations: the input of ``cntbench run``.

    Parameters
    ----------
    trajectory
        ``SOURCE`` or ``SOURCE:WHERE``, for instance ``nano``, ``nano:seed=3``, ``dir:PATH``.
    tasks, ablations
        Names of specs.
    prompts
        Number of prompts per task.
    seed
        Seed of the prompts and of the random draws of ablations and null models.
    untrained
        Number of untrained models that are measured with the trajectory, if it can initialise one.
        With fewer than 20, no p-value against them is below 0.05. See `cntbench.runs.untrained`.
    null_draws
        Number of draws from each null model for metrics, roles and claims; 0 leaves out null
        models, phases and claims.
    planted
        Whether the ablations are also tested on the planted circuits without dynamics, whose edges
        are known.
    dtype, blocks
        Floating-point type of the model (`cntbench.models.precision`); number of blocks of sources
        per checkpoint, which are separate units of work.
    checkpoints
        Checkpoints to measure; see `cntbench.models.checkpoint_choice`. Empty for all.
    layers
        Layers whose components are ablated and watched: ``"0:5"``, both ends included, ``"0,3"``.
    components, targets
        Components of these layers to ablate, and to watch; see `cntbench.components.named`. Empty
        for all.
    experts
        Whether the experts of a layer are components, ``L2.E3``, in place of its ``L2.MLP``.
    keep
        Whether results are also kept for each of the ``"prompts"``, and of the ``"positions"``; see
        `cntbench.results.schema.KEPT`.
    until_se
        Standard error of the strongest edges at which measuring ends (`cntbench.engine.settling`);
        0 measures all prompts.
    seeds
        Seeds of trajectories, each measured by its own run (`cntbench.runs.seeds`); empty for the
        trajectory as named.
    """

    version: Version
    summary: Summary
    trajectory: Annotated[str, Field(min_length=1)]
    tasks: Names
    ablations: Names
    prompts: Annotated[int, Field(ge=1, le=65536)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    untrained: Annotated[int, Field(ge=0, le=1024)] | None = None
    null_draws: Annotated[int, Field(ge=0, le=100_000)] = 200
    planted: bool = True
    dtype: Precision = "float32"
    blocks: Annotated[int, Field(ge=1, le=65536)] = 1
    checkpoints: CheckpointChoice = added("")
    layers: CheckpointChoice = added("")
    components: SomeNames = added(())
    targets: SomeNames = added(())
    experts: bool = added(False)
    keep: Annotated[tuple[Keep, ...], Field(strict=False), AfterValidator(_distinct)] = added(())
    until_se: Annotated[float, Field(ge=0, allow_inf_nan=False)] = added(0.0)
    seeds: Seeds = added(())


@spec
class BackboneSpec:
    """A rule for the backbone of a graph.

    Parameters
    ----------
    rule
        Name of a file in ``cntbench/metrics/backbones``.
    parameters
        Parameters of the rule.
    """

    version: Version
    summary: Summary
    rule: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


def as_dict(value: Any) -> dict[str, Any]:
    """Return a spec as plain data for JSON; without keys that were `added` and are not used."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(value)))
    for field in dataclasses.fields(value):
        if _ADDED in field.metadata and getattr(value, field.name) == field.default:
            del plain[field.name]
    return plain


def content_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain data, independent of the order of keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, or raise a `SpecError` that gives the line of the first error."""
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text: {error}", where=str(path)) from None
    except ValueError as error:
        raise SpecError(f"malformed TOML: {error}", where=str(path)) from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from None


def build(cls: Callable[..., T], table: Mapping[str, Any], *, where: str, prefix: str = "") -> T:
    """Build a spec from a TOML table; its class is made by `spec`.

    ``where`` is its file, ``prefix`` its path within the file, such as ``"parameters."``.

    Raises
    ------
    SpecError
        For the first error in the table, with the file, the key, the nearest match and what is
        allowed.
    """
    try:
        return cls(**table)
    except SpecError as error:  # keys that do not fit together: the message names them
        key = f"{where}: {prefix}{error.where}" if error.where else where
        raise SpecError(error.what, where=key, hint=error.hint) from None
    except pydantic.ValidationError as error:
        problems = error.errors()
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        # A misspelt key causes the missing one, so it is reported first.
        problems.sort(key=lambda problem: problem["type"] != "unexpected_keyword_argument")
        problem = problems[0]
        parts = (part for part in problem["loc"] if part != "[key]")
        inside = "".join(f".{p}" if isinstance(p, str) else f" (entry {p + 1})" for p in parts)
        key = prefix + inside.removeprefix(".")
        if problem["type"] == "unexpected_keyword_argument":
            message, hint = f"unknown key {key!r}", nearest(str(problem["loc"][0]), fields)
        elif problem["type"] == "missing":
            message = f"key {key!r} is missing"
            hint = f"Expected keys: {', '.join(sorted(fields))}."
        elif problem["type"] == "readout" and (readouts := plugins.room("readout")).broken:
            raise unknown(
                "readout", str(problem["input"]), readouts, where=f"{where}: {key}"
            ) from None
        else:
            python = where.startswith("cntbench.")
            message = f"{key} = {(shown if python else as_json)(problem['input'])} is not allowed"
            hint = allowed(problem, python=python)
        raise SpecError(message, where=where, hint=hint) from None
