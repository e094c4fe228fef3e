"""A circuit's spec, checked: its components, who reads whom, and what each of them computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from cntbench import plugins
from cntbench.components import Component, components
from cntbench.errors import SpecError, nearest, unknown
from cntbench.models.planted.dynamics import KINDS, Dynamics, Emergence
from cntbench.models.planted.functions import FUNCTIONS, Function
from cntbench.models.planted.spec import CircuitSpec, DiagnosticSpec, Edge, RandomEdges, Realistic
from cntbench.models.planted.wiring import FREQUENCIES, TOKENS
from cntbench.prompts import random_state
from cntbench.specs import build


@dataclass(frozen=True)
class Blueprint:
    """A spec with its parts.

    Parameters
    ----------
    where
        The file.
    spec
        What it states.
    edges
        All edges, stated or drawn.
    realistic, diagnostics, dynamics
        Its tables.
    """

    where: str
    spec: CircuitSpec
    edges: tuple[Edge, ...]
    realistic: Realistic
    diagnostics: tuple[DiagnosticSpec, ...]
    dynamics: Dynamics | None

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """All components of the model, in causal order."""
        return _components(self.spec)

    @cached_property
    def index(self) -> dict[str, int]:
        """Place of each component in the causal order, by name."""
        return {component.name: place for place, component in enumerate(self.components)}

    @cached_property
    def members(self) -> tuple[Component, ...]:
        """The components that the circuit names, in causal order."""
        named = {*self.spec.functions, *(name for edge in self.edges for name in edge)}
        if self.spec.random is not None:
            return self.components
        return tuple(component for component in self.components if component.name in named)

    @cached_property
    def widths(self) -> dict[str, int]:
        """Coordinates of each signal."""
        spec = self.spec
        own = {
            component.name: spec.tokens if self.function(component.name).whole else spec.signal
            for component in self.members
        }
        return {TOKENS: spec.tokens, **own}

    @property
    def head_width(self) -> int:
        """Width of a head, d_head."""
        return self.spec.width // self.spec.heads

    @property
    def readout(self) -> tuple[str, ...]:
        """The components that the unembedding reads."""
        read = {source for source, _ in self.edges}
        sinks = (c.name for c in self.members if c.name not in read)
        return self.spec.readout or tuple(sinks)

    def function(self, name: str) -> Function:
        """Return what a component computes."""
        return FUNCTIONS[self.spec.functions.get(name, "linear")]

    def parents(self, name: str) -> tuple[str, ...]:
        """Return whom a component reads."""
        return tuple(source for source, target in self.edges if target == name)


def draft(spec: CircuitSpec, where: str) -> Blueprint:
    """Check a spec and read its tables.

    Raises
    ------
    SpecError
        Naming the file and the key: for an unknown component or function, a cycle, an edge against
        the causal order, more than the width can hold, or a function where it cannot be.
    """
    nodes = {component.name: component for component in _components(spec)}
    _check_names(spec, nodes, where)
    drawn = None
    if spec.random is not None:
        if spec.edges:
            raise SpecError("edges and random exclude each other", where=f"{where}: random")
        drawn = build(RandomEdges, spec.random, where=where, prefix="random.")
    edges = spec.edges if drawn is None else _draw(drawn, nodes)
    _check_edges(edges, nodes, f"{where}: edges")
    diagnostics = tuple(
        build(DiagnosticSpec, table, where=where, prefix=f"diagnostic.{number}.")
        for number, table in enumerate(spec.diagnostic)
    )
    for number, diagnostic in enumerate(diagnostics):
        key = f"{where}: diagnostic.{number}"
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
    )
    _check_sizes(blueprint)
    for component in blueprint.members:
        _check_function(blueprint, component)
    _check_subsets(blueprint)
    return blueprint


def _components(spec: CircuitSpec) -> tuple[Component, ...]:
    return components(spec.layers, spec.heads, parallel=True)


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
            raise SpecError(f"edge {_arrow(*edge)} stands twice", where=key)
    cycle = next(nx.simple_cycles(nx.DiGraph(edges)), None)
    if cycle is not None:
        first = cycle.index(min(cycle, key=list(nodes).index))
        raise SpecError(
            f"the edges run in a cycle: {_arrow(*cycle[first:], *cycle[: first + 1])}",
            where=key,
            hint="A component can only reach those of later layers.",
        )
    for source, target in edges:
        if nodes[source].stage >= nodes[target].stage:
            raise SpecError(
                f"edge {_arrow(source, target)} runs against the causal order",
                where=key,
                hint="Heads and MLP of a layer read the same stream, so an edge has to lead to a "
                f"later layer: {target} can read layers below {nodes[target].layer} only.",
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
            f"width = {spec.width} cannot hold {len(blueprint.members)} components: their "
            f"subspaces and that of the tokens need {needed}",
            where=f"{where}: width",
            hint="Raise width, or lower signal or tokens.",
        )
    matched = [c.name for c in blueprint.members if blueprint.function(c.name).whole]
    least = spec.tokens if matched else spec.signal
    if blueprint.head_width < least + 2 * len(FREQUENCIES):
        raise SpecError(
            f"heads are {blueprint.head_width} wide, and need {least + 2 * len(FREQUENCIES)}",
            where=f"{where}: width",
            hint="Raise width, or lower heads, signal or tokens.",
        )


def _check_function(blueprint: Blueprint, component: Component) -> None:
    name = component.name
    function, parents = blueprint.function(name), blueprint.parents(name)
    called = blueprint.spec.functions.get(name, "linear")
    where = f"{blueprint.where}: functions.{name}"
    if component.kind not in function.kinds:
        raise SpecError(
            f"a component of kind {component.kind} cannot be {called!r}",
            where=where,
            hint=f"Allowed: {', '.join(function.kinds)}.",
        )
    fewest, most = function.parents
    if not fewest <= len(parents) <= most:
        allowed = f"{fewest} or more" if most == float("inf") else f"{fewest} to {most:.0f}"
        raise SpecError(
            f"{called!r} cannot have {len(parents)} parents",
            where=where,
            hint=f"Allowed: {allowed}.",
        )
    for parent in parents:
        theirs = blueprint.spec.functions.get(parent, "linear")
        if function.of and theirs not in function.of:
            raise SpecError(
                f"{called!r} cannot read {parent}, which is {theirs!r}",
                where=where,
                hint=nearest(theirs, function.of),
            )
        if called == "copy" and blueprint.widths[parent] != blueprint.widths[name]:
            raise SpecError(f"'copy' cannot read the longer signal of {parent}", where=where)


def _dynamics(spec: CircuitSpec, where: str) -> Dynamics | None:
    if spec.dynamics is None:
        return None
    kind = spec.dynamics.get("kind")
    if kind not in KINDS:
        raise unknown("kind of dynamics", str(kind), KINDS, where=f"{where}: dynamics.kind")
    chosen: Callable[..., Dynamics] = KINDS[kind]
    return build(chosen, spec.dynamics, where=where, prefix="dynamics.")


def _check_subsets(blueprint: Blueprint) -> None:
    """Check keys that name some of the circuit's own edges or components."""
    graph = nx.transitive_closure(nx.DiGraph(blueprint.edges))
    for edge in blueprint.spec.blocked:
        if edge not in graph.edges:
            raise SpecError(
                f"{_arrow(*edge)} is not in the closure of the edges",
                where=f"{blueprint.where}: blocked",
                hint="Only what the edges lead to can be blocked.",
            )
    for name in blueprint.readout:
        if name not in blueprint.widths:
            raise SpecError(
                f"{name} is no component of the circuit",
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
