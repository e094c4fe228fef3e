"""A checked circuit spec: its components, their parents and their functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from cntbench import plugins
from cntbench.components import Component, components
from cntbench.errors import SpecError, nearest, unknown
from cntbench.models.planted.functions import FUNCTIONS, Function
from cntbench.models.planted.layouts import LAYOUTS, ROTATED
from cntbench.models.planted.spec import (
    KINDS,
    CircuitSpec,
    DiagnosticSpec,
    Dynamics,
    Edge,
    Emergence,
    RandomEdges,
    Realistic,
    Trained,
)
from cntbench.models.planted.wiring import TOKENS
from cntbench.prompts import random_state
from cntbench.specs import build


@dataclass(frozen=True)
class Blueprint:
    """A checked spec with its tables, and all of its edges, stated or drawn at random."""

    where: str
    spec: CircuitSpec
    edges: tuple[Edge, ...]
    realistic: Realistic
    diagnostics: tuple[DiagnosticSpec, ...]
    dynamics: Dynamics | None
    trained: Trained | None = None

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """All components of the model, in causal order."""
        return _components(self.spec)

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each component by name."""
        return {component.name: index for index, component in enumerate(self.components)}

    @cached_property
    def members(self) -> tuple[Component, ...]:
        """The components of the circuit, in causal order."""
        named = {*self.spec.functions, *(name for edge in self.edges for name in edge)}
        if self.spec.random is not None:
            return self.components
        return tuple(component for component in self.components if component.name in named)

    @cached_property
    def widths(self) -> dict[str, int]:
        """Number of coordinates of each signal."""
        spec = self.spec
        widths = {
            component.name: spec.tokens if self.function(component.name).whole else spec.signal
            for component in self.members
        }
        return {TOKENS: spec.tokens, **widths}

    @property
    def head_width(self) -> int:
        """Width of a head, d_head."""
        return self.spec.width // self.spec.heads

    @property
    def readout(self) -> tuple[str, ...]:
        """The components that the unembedding reads."""
        sources = {source for source, _ in self.edges}
        sinks = (c.name for c in self.members if c.name not in sources)
        return self.spec.readout or tuple(sinks)

    def function(self, name: str) -> Function:
        """Return the function of a component."""
        return FUNCTIONS[self.spec.functions.get(name, "linear")]

    def parents(self, name: str) -> tuple[str, ...]:
        """Return the components that a component reads."""
        return tuple(source for source, target in self.edges if target == name)


def draft(spec: CircuitSpec, where: str) -> Blueprint:
    """Check a spec and read its tables.

    Raises a `SpecError` for an unknown component or function, a cycle, an edge against the causal
    order, a width that is too small, or a function that a component cannot have.
    """
    nodes = {component.name: component for component in _components(spec)}
    _check_names(spec, nodes, where)
    edges = spec.edges
    if spec.random is not None:
        if edges:
            raise SpecError("edges and random exclude each other", where=f"{where}: random")
        edges = _draw(build(RandomEdges, spec.random, where=where, prefix="random."), nodes)
    _check_edges(edges, nodes, f"{where}: edges")
    diagnostics = tuple(
        build(DiagnosticSpec, table, where=where, prefix=f"diagnostic (entry {number}).")
        for number, table in enumerate(spec.diagnostic, 1)
    )
    for number, diagnostic in enumerate(diagnostics, 1):
        key = f"{where}: diagnostic (entry {number})"
        _check_edges([diagnostic.edge], nodes, f"{key}.edge")
        for name in diagnostic.fails:
            plugins.find("replacement", name, where=f"{key}.fails")
    blueprint = Blueprint(
        where,
        spec,
        edges,
        build(Realistic, spec.realistic, where=where, prefix="realistic."),
        diagnostics,
        _dynamics(spec, where),
        _trained(spec, where),
    )
    if blueprint.trained is not None:
        return blueprint
    _check_sizes(blueprint)
    for component in blueprint.members:
        _check_function(blueprint, component)
    _check_subsets(blueprint)
    return blueprint


def _components(spec: CircuitSpec) -> tuple[Component, ...]:
    return components(spec.layers, spec.heads, parallel=LAYOUTS[spec.architecture].parallel)


def _draw(random: RandomEdges, nodes: dict[str, Component]) -> tuple[Edge, ...]:
    rng = random_state(random.seed, "edges")
    pairs = [(a, b) for a in nodes for b in nodes if nodes[a].stage < nodes[b].stage]
    return tuple(pair for pair in pairs if rng.random_sample() < random.density)


def _check_names(spec: CircuitSpec, nodes: dict[str, Component], where: str) -> None:
    for key, names in (("functions", spec.functions), ("readout", spec.readout or ())):
        for name in names:
            if name not in nodes:
                raise unknown("component", name, nodes, where=f"{where}: {key}")
    for name, function in spec.functions.items():
        if function not in FUNCTIONS:
            raise unknown("function", function, FUNCTIONS, where=f"{where}: functions.{name}")


def _check_edges(edges: Sequence[Edge], nodes: dict[str, Component], key: str) -> None:
    for edge in edges:
        for name in edge:
            if name not in nodes:
                raise unknown("component", name, nodes, where=key)
        if edges.count(edge) > 1:
            raise SpecError(f"edge {_arrow(*edge)} appears twice", where=key)
    cycle = next(nx.simple_cycles(nx.DiGraph(edges)), None)
    if cycle is not None:
        first = cycle.index(min(cycle, key=list(nodes).index))
        raise SpecError(
            f"the edges form a cycle: {_arrow(*cycle[first:], *cycle[: first + 1])}",
            where=key,
            hint="A component can only reach components of later layers.",
        )
    for source, target in edges:
        if nodes[source].stage >= nodes[target].stage:
            raise SpecError(
                f"edge {_arrow(source, target)} runs against the causal order",
                where=key,
                hint=_order_hint(nodes[target], nodes.values()),
            )


def _order_hint(target: Component, nodes: Iterable[Component]) -> str:
    """Return a hint that says which components a component can read."""
    reads = f"{target.name} can only read layers below {target.layer}"
    if len({node.stage for node in nodes if node.layer == target.layer}) > 1:
        return f"{reads} and the heads of its own." if target.kind == "MLP" else f"{reads}."
    return (
        "Heads and MLP of a layer read the same stream, so an edge must lead to a later layer: "
        f"{reads}."
    )


def _check_sizes(blueprint: Blueprint) -> None:
    spec, where = blueprint.spec, blueprint.where
    if spec.width % spec.heads:
        raise SpecError(
            f"width = {spec.width} is not a multiple of the {spec.heads} heads",
            where=f"{where}: width",
        )
    if spec.vocabulary & (spec.vocabulary - 1) or spec.tokens >= spec.vocabulary:
        raise SpecError(
            f"vocabulary = {spec.vocabulary} is not a power of two above tokens = {spec.tokens}",
            where=f"{where}: vocabulary",
        )
    if spec.tokens < spec.signal + 2:
        raise SpecError(
            f"tokens = {spec.tokens} is too small for signal = {spec.signal}",
            where=f"{where}: tokens",
            hint=f"Allowed: {spec.signal + 2} or more.",
        )
    needed = sum(blueprint.widths.values()) + 1
    if needed > spec.width:
        raise SpecError(
            f"width = {spec.width} is too small for {len(blueprint.members)} components: their "
            f"subspaces and that of the tokens need {needed}",
            where=f"{where}: width",
            hint="Raise width, or lower signal or tokens.",
        )
    any_wide = any(blueprint.function(c.name).whole for c in blueprint.members)
    needed = (spec.tokens if any_wide else spec.signal) + ROTATED
    if blueprint.head_width < needed:
        raise SpecError(
            f"heads are {blueprint.head_width} wide but need {needed}",
            where=f"{where}: width",
            hint="Raise width, or lower heads, signal or tokens.",
        )


def _check_function(blueprint: Blueprint, component: Component) -> None:
    name = component.name
    function, parents = blueprint.function(name), blueprint.parents(name)
    kind = blueprint.spec.functions.get(name, "linear")
    where = f"{blueprint.where}: functions.{name}"
    if component.kind not in function.kinds:
        raise SpecError(
            f"a component of kind {component.kind} cannot be {kind!r}",
            where=where,
            hint=f"Allowed: {', '.join(function.kinds)}.",
        )
    if function.architectures and blueprint.spec.architecture not in function.architectures:
        raise SpecError(
            f"{kind!r} is not possible in {blueprint.spec.architecture!r}",
            where=where,
            hint=f"Allowed: architecture = {', '.join(map(repr, function.architectures))}.",
        )
    fewest, most = function.parents
    if not fewest <= len(parents) <= most:
        allowed = f"{fewest} or more" if most == float("inf") else f"{fewest} to {most:.0f}"
        raise SpecError(
            f"{kind!r} cannot have {len(parents)} parents", where=where, hint=f"Allowed: {allowed}."
        )
    for parent in parents:
        parent_kind = blueprint.spec.functions.get(parent, "linear")
        if function.of and parent_kind not in function.of:
            raise SpecError(
                f"{kind!r} cannot read {parent}, which is {parent_kind!r}",
                where=where,
                hint=nearest(parent_kind, function.of),
            )
        if kind == "copy" and blueprint.widths[parent] != blueprint.widths[name]:
            raise SpecError(f"'copy' cannot read the longer signal of {parent}", where=where)


def _dynamics(spec: CircuitSpec, where: str) -> Dynamics | None:
    if spec.dynamics is None:
        return None
    kind = spec.dynamics.get("kind")
    if kind not in KINDS:
        raise unknown("kind of dynamics", str(kind), KINDS, where=f"{where}: dynamics.kind")
    dynamics: Callable[..., Dynamics] = KINDS[kind]
    return build(dynamics, spec.dynamics, where=where, prefix="dynamics.")


def _trained(spec: CircuitSpec, where: str) -> Trained | None:
    """Read the table of a trained model, whose components have learned functions."""
    if spec.trained is None:
        return None
    for key in ("functions", "blocked", "diagnostic", "realistic", "dynamics"):
        if getattr(spec, key):
            raise SpecError(
                f"{key} and trained exclude each other",
                where=f"{where}: {key}",
                hint="These keys describe weights that are written by hand.",
            )
    return build(Trained, spec.trained, where=where, prefix="trained.")


def _check_subsets(blueprint: Blueprint) -> None:
    """Check keys that list edges or components of the circuit."""
    graph = nx.transitive_closure(nx.DiGraph(blueprint.edges))
    for edge in blueprint.spec.blocked:
        if edge not in graph.edges:
            raise SpecError(
                f"{_arrow(*edge)} is not in the closure of the edges",
                where=f"{blueprint.where}: blocked",
                hint="Only pairs that the edges connect can be blocked.",
            )
    for name in blueprint.readout:
        if name not in blueprint.widths:
            raise SpecError(
                f"{name} is not a component of the circuit",
                where=f"{blueprint.where}: readout",
                hint=nearest(name, (c.name for c in blueprint.members)),
            )
    if not isinstance(blueprint.dynamics, Emergence):
        return
    for edge in blueprint.dynamics.edges:
        where = f"{blueprint.where}: dynamics.edges"
        if edge not in blueprint.edges:
            raise SpecError(
                f"{_arrow(*edge)} is not among the edges",
                where=where,
                hint=nearest(_arrow(*edge), (_arrow(*e) for e in blueprint.edges)),
            )
        if blueprint.function(edge[1]) is not FUNCTIONS["linear"]:
            raise SpecError(f"{edge[1]} is not linear, so no edge to it can emerge", where=where)


def _arrow(*names: str) -> str:
    return " → ".join(names)
