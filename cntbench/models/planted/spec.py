"""Specs of planted circuits: what a circuit's file states, and how it changes during training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cntbench.models.steps import LARGEST
from cntbench.specs import Names, Scope, Summary, Version, added, spec


def _pair(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("an edge is a pair of source and target")
    return value


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if steps[0] < 0 or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("steps must increase, starting at 0 or later")
    if steps[-1] > LARGEST:
        raise ValueError(f"steps are at most {LARGEST}")
    return steps


Edge = Annotated[tuple[str, str], Field(strict=False), BeforeValidator(_pair)]
Edges = Annotated[tuple[Edge, ...], Field(strict=False)]
Difficulty = Literal["exact", "realistic", "trained"]
Architecture = Literal["gpt_neox", "gpt2", "llama"]
Fraction = Annotated[float, Field(ge=0, le=1, strict=False)]
Steps = Annotated[tuple[int, ...], Field(min_length=1, strict=False), AfterValidator(_rising)]


@spec
class CircuitSpec:
    """A circuit: the sizes of its model, its edges, and the functions of its components.

    Parameters
    ----------
    version
        Incremented when the spec gives a different model.
    tasks
        Names of the tasks that the circuit is measured on.
    layers, heads, width
        Sizes of the model; the width is that of the residual stream.
    signal
        Dimensions of the stream that each component writes to.
    tokens
        Dimensions of the stream that hold the token embedding.
    vocabulary
        Number of tokens, a power of two: embeddings are rows of a Hadamard matrix.
    context
        Longest sequence [tokens].
    architecture
        ``"gpt_neox"``, ``"gpt2"`` or ``"llama"``. In the first, heads and MLP of a layer read the
        same stream; in the others, heads reach the MLP of their own layer.
    edges
        Pairs of source and target, by name. Components without an edge from another one read the
        token embedding; components that the file does not name write nothing.
    random
        Instead of ``edges``: `RandomEdges`.
    functions
        The function of each component by name, a key of `cntbench.models.planted.functions
        .FUNCTIONS`; by default ``"linear"``.
    blocked
        Pairs in the closure of ``edges`` whose total effect is zero on the circuit's own prompts,
        because a component between them blocks it.
    readout
        Components that the unembedding reads; by default those that no other component reads.
    diagnostic
        Tables of `DiagnosticSpec`.
    realistic
        A table of `Realistic`.
    dynamics
        A table of one of the classes in `KINDS`, chosen by its ``kind``.
    trained
        A table of `Trained`, for a model whose edges are known because it was trained to have them.
    """

    version: Version
    summary: Summary
    tasks: Names = ("random_tokens",)
    layers: Annotated[int, Field(ge=1, le=64)]
    heads: Annotated[int, Field(ge=1, le=64)]
    width: Annotated[int, Field(ge=8, le=4096)]
    signal: Annotated[int, Field(ge=2, le=256)] = 6
    tokens: Annotated[int, Field(ge=2, le=1023)] = 16
    vocabulary: Annotated[int, Field(ge=4, le=65536)] = 64
    context: Annotated[int, Field(ge=2, le=8192)] = 64
    architecture: Architecture = added("gpt_neox")
    edges: Edges = ()
    random: dict[str, Any] | None = None
    functions: dict[str, str] = dataclasses.field(default_factory=dict)
    blocked: Edges = ()
    readout: Names | None = None
    diagnostic: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    realistic: dict[str, Any] = dataclasses.field(default_factory=dict)
    dynamics: dict[str, Any] | None = None
    trained: dict[str, Any] | None = added(None)


@spec
class RandomEdges:
    """A random DAG over all components of the model.

    Parameters
    ----------
    density
        Probability of each feasible edge.
    seed
        Seed of the edges.
    """

    density: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


@spec
class Realistic:
    """How the realistic model differs from the exact one; both have the same edges.

    Parameters
    ----------
    epsilon
        Epsilon of the LayerNorms, small enough that they standardise.
    overlap
        Length of the part of each basis vector in a random direction, which overlaps with the
        subspaces of other components.
    distractors
        Length of the random signals that each component reads and writes, in units of the typical
        signal.
    """

    epsilon: Annotated[float, Field(gt=0, le=1e-2)] = 1e-5
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.2
    distractors: Annotated[float, Field(ge=0, le=10)] = 0.05


@spec
class Trained:
    """A model that was trained to have the edges; its weights are those of a checkpoint.

    Parameters
    ----------
    folder
        The checkpoint, with ``config.json`` and ``model.safetensors``, beside the circuit's file.
    revision
        SHA-256 of its tensors.
    accuracy
        Share of right answers.
    interchange
        Share of right answers when a component of the circuit takes its state from another prompt
        for which the causal graph gives a different answer.
    outside, edges
        Smallest share of right answers when a component, or a single edge, outside the circuit
        takes its state from another prompt.
    """

    folder: str
    revision: str
    accuracy: Fraction
    interchange: Fraction
    outside: Fraction
    edges: Fraction


@spec
class DiagnosticSpec:
    """The expected result of an ablation method for one edge of the exact circuit.

    Parameters
    ----------
    edge
        Source and target.
    scope
        Scope of the methods that are tested.
    expect
        The result of a good method.
    threshold
        An edge counts as present if its influence is at least this.
    fails
        Replacements that are known to give the opposite result.
    because
        The reason, in one line.
    """

    edge: Edge
    scope: Scope
    expect: Literal["present", "absent"]
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.05
    fails: Annotated[tuple[str, ...], Field(strict=False)] = ()
    because: Summary

    def passed(self, influence: float) -> bool:
        """Return whether an influence on the edge agrees with the expectation."""
        return (influence >= self.threshold) == (self.expect == "present")


@dataclasses.dataclass(frozen=True)
class Moment:
    """The state of a circuit at one step.

    Parameters
    ----------
    gains
        Fraction of the final strength by edge, 0 to 1; 1 for edges that are not listed.
    turn
        Angle by which every reading is rotated within its own subspace [radian].
    growth
        Factor of the output of linear components.
    """

    gains: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    turn: float = 0.0
    growth: float = 1.0


#: The state of a circuit without dynamics.
STILL = Moment()


@spec
class Emergence:
    """The gain of some edges follows a sigmoid, 1 / (1 + exp(−(step − emergence) / duration)).

    The target of an emerging edge reads the remainder from the token embedding, so that its output
    keeps its length and the influence over the edge is proportional to the gain.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    emergence
        Step at which the gain is one half.
    duration
        Number of steps in which the odds of the gain grow by a factor of e.
    edges
        The edges that emerge; their targets are linear.
    """

    kind: Literal["emergence"]
    steps: Steps
    emergence: Annotated[float, Field(ge=0, strict=False)]
    duration: Annotated[float, Field(gt=0, strict=False)]
    edges: Annotated[tuple[Edge, ...], Field(min_length=1, strict=False)]

    def at(self, step: int) -> Moment:
        """Return the state of the circuit at a step."""
        gain = 0.5 * (1 + math.tanh((step - self.emergence) / self.duration / 2))
        return Moment(gains=dict.fromkeys(self.edges, gain))


@spec
class Frozen:
    """The same weights at every step.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    """

    kind: Literal["frozen"]
    steps: Steps

    def at(self, step: int) -> Moment:
        """Return the state of the circuit, which does not depend on the step."""
        return STILL


@spec
class Drift:
    """All weights rotate and grow smoothly; no edge appears or disappears.

    Parameters
    ----------
    steps
        Steps of the checkpoints.
    turn
        Angle of the rotation from step 0 to the last step [radian].
    growth
        Factor by which the output of linear components grows over the same steps.
    """

    kind: Literal["drift"]
    steps: Steps
    turn: Annotated[float, Field(ge=0, le=10, strict=False)]
    growth: Annotated[float, Field(gt=0, le=10, strict=False)]

    def at(self, step: int) -> Moment:
        """Return the state of the circuit at a step."""
        part = step / max(self.steps[-1], 1)
        return Moment(turn=self.turn * part, growth=self.growth**part)


Dynamics = Emergence | Frozen | Drift

#: Classes of dynamics by their ``kind``.
KINDS: dict[str, type[Dynamics]] = {"emergence": Emergence, "frozen": Frozen, "drift": Drift}
