"""What the file of a planted circuit states."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cntbench.specs import Names, Summary, Version, spec


def _pair(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("an edge is a pair of source and target")
    return value


Edge = Annotated[tuple[str, str], Field(strict=False), BeforeValidator(_pair)]
Edges = Annotated[tuple[Edge, ...], Field(strict=False)]
Scope = Literal["total", "direct"]
Difficulty = Literal["exact", "realistic"]


@spec
class CircuitSpec:
    """A circuit: the sizes of its model, its edges, and what is special about its components.

    Parameters
    ----------
    version
        Rises whenever the spec gives another model.
    tasks
        Names of the tasks that it is measured on.
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
    edges
        Pairs of source and target, by name. Components without an edge from another one read the
        token embedding; components that the file does not name at all write nothing.
    random
        Instead of ``edges``: `RandomEdges`.
    functions
        What a component computes, by its name, a key of `cntbench.models.planted.functions
        .FUNCTIONS`; ``"linear"`` where nothing is said.
    blocked
        Pairs in the closure of ``edges`` whose total effect is zero on the circuit's own prompts,
        because something between them stops it.
    readout
        Components that the unembedding reads; by default those that no other one reads.
    diagnostic
        Tables of `DiagnosticSpec`.
    realistic
        A table of `Realistic`.
    dynamics
        A table of a class of `cntbench.models.planted.dynamics.KINDS`, by its ``kind``.
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
    edges: Edges = ()
    random: dict[str, Any] | None = None
    functions: dict[str, str] = dataclasses.field(default_factory=dict)
    blocked: Edges = ()
    readout: Names | None = None
    diagnostic: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    realistic: dict[str, Any] = dataclasses.field(default_factory=dict)
    dynamics: dict[str, Any] | None = None


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
    """How the realistic model departs from the exact one; both have the same edges.

    Parameters
    ----------
    epsilon
        Of a LayerNorm that really standardises.
    overlap
        Length of the part of each basis vector that lies in a direction drawn without regard to the
        other components' subspaces; the rest keeps to its own.
    distractors
        Length of what a component of the circuit writes, and of what it reads, at random, in units
        of the typical signal.
    """

    epsilon: Annotated[float, Field(gt=0, le=1e-2)] = 1e-5
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.2
    distractors: Annotated[float, Field(ge=0, le=10)] = 0.05


@spec
class DiagnosticSpec:
    """What an ablation method should say about one edge of the exact circuit.

    Parameters
    ----------
    edge
        Source and target.
    scope
        The scope of the methods that it is about.
    expect
        What a good method sees.
    threshold
        An influence of at least this is seen as present.
    fails
        Replacements that are known to see the opposite.
    because
        Why, in a line.
    """

    edge: Edge
    scope: Scope
    expect: Literal["present", "absent"]
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.05
    fails: Annotated[tuple[str, ...], Field(strict=False)] = ()
    because: Summary

    def passed(self, influence: float) -> bool:
        """Return whether a method with this influence on the edge sees what it should."""
        return (influence >= self.threshold) == (self.expect == "present")

    def sees(self, replacement: str) -> bool:
        """Return whether methods with a replacement are known to call the edge present."""
        return (self.expect == "present") != (replacement in self.fails)
