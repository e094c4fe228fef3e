"""Imports point one way, rooms keep to what they may use, and files stay short."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import cntbench

ROOT = Path(__file__).parents[2] / "cntbench"

#: Which room each module belongs to, from the lowest to the highest. A module may import from its
#: own group and from lower ones. A new room gets its place here; a file of a room has its place.
RANKS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    (
        "components",
        "files",
        "parallel",
        "plugins",
        "specs",
    ),
    ("prompts", "readouts"),
    ("ablations",),
    ("models",),
    ("engine",),
    (
        "engine.arrays",
        "engine.attention_scores",
        "engine.position_sums",
        "engine.readouts",
        "engine.settling",
    ),
    ("engine.request",),
    ("engine.chunking", "engine.positions", "engine.replacing", "engine.descent"),
    ("engine.sweep", "engine.optimal_constants"),
    ("engine.perturbations", "engine.rules"),
    ("engine.circuit", "engine.attribution"),
    ("engine.backward", "engine.direct"),
    ("engine.patching",),
    ("estimators",),
    ("engine.edges",),
    ("engine.influence",),
    ("engine.meter",),
    ("metrics",),
    ("dynamics",),
    ("results",),
    ("analysis",),
    ("runs",),
    ("estimate",),
    ("comparison",),
    ("views",),
    ("figures",),
    ("reporting",),
    ("accessor",),
    ("exchange",),
    ("api",),
    ("cli", "testing"),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
LONGEST = 400
MOST_PARAMETERS = 6
#: Rooms whose functions have a parameter for each option.
OPTIONS = {"api", "cli"}


def room(module: str) -> str:
    """The part after ``cntbench.``: ``prompts`` of ``cntbench.prompts.generators.random_tokens``.

    Files of the engine have ranks of their own: ``engine.sweep``.
    """
    first, *rest = module.split(".")[1:]
    return f"{first}.{rest[0]}" if first == "engine" and rest else first


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name, but the package itself."""
    paths = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(("cntbench", *(part for part in parts if part != "__init__")))
        paths[dotted] = path
    del paths["cntbench"]
    return paths


def imported(text: str, module: str, known: set[str]) -> set[str]:
    """Names of all modules that a module imports, wherever in its text, for types too.

    A string that is the name of a module is an import, too.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: import by the full name"
            # ``from package import module`` imports the module, not only the package.
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & known) or {str(node.module)}
        elif isinstance(node, ast.Constant) and node.value in known:
            names.add(node.value)
    return names - {module}


@cache
def graph() -> nx.DiGraph:
    """Who imports whom, other packages by their first name."""
    known = set(modules())
    edges = nx.DiGraph()
    edges.add_nodes_from(known)
    for module, path in modules().items():
        for name in imported(path.read_text(encoding="utf-8"), module, known):
            edges.add_edge(module, name if name.startswith("cntbench.") else name.split(".")[0])
    return edges


def circles(edges: nx.DiGraph) -> list[list[str]]:
    """Rooms that import each other; the package itself is one."""
    ours = edges.subgraph(m for m in edges if m.split(".")[0] == "cntbench")
    rooms = nx.DiGraph([tuple(".".join(m.split(".")[:2]) for m in edge) for edge in ours.edges])
    return sorted(sorted(c) for c in nx.strongly_connected_components(rooms) if len(c) > 1)


def definitions(kind: type[ast.stmt]) -> list[tuple[str, Any]]:
    """All classes or functions of the package, each with its module."""
    return [
        (module, node)
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kind)
    ]


def upward(edges: nx.DiGraph) -> list[str]:
    """Imports of a higher room."""
    placed = edges.subgraph(m for m in edges if "." in m and room(m) in RANK)
    return [f"{a} imports {b}" for a, b in placed.edges if RANK[room(a)] < RANK[room(b)]]


def users(edges: nx.DiGraph, package: str, rooms: set[str]) -> list[str]:
    """Modules of some rooms that import a package, or import what imports it."""
    if package not in edges:
        return []
    return [m for m in nx.ancestors(edges, package) if "." in m and room(m) in rooms]


def test_every_module_has_its_place():
    lost = {name for name in modules() if room(name) not in RANK}
    assert not lost, f"no rank for {sorted(lost)}: add the room to RANKS in {Path(__file__).name}"


def test_every_room_that_is_named_is_there():
    assert not set(RANK) - {room(name) for name in modules()}


def test_no_room_hides_a_public_function():
    """A module of the package becomes its attribute as soon as anything imports it."""
    assert not {name.split(".")[1] for name in modules()} & set(cntbench.__all__)


def test_imports_point_one_way():
    assert not upward(graph())


def test_no_module_imports_itself_by_a_detour():
    assert not list(nx.simple_cycles(graph()))


def test_rooms_do_not_import_each_other():
    """Nor by the package itself, which imports what Python users call."""
    edges = graph().copy()
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    edges.add_edges_from(("cntbench", m) for m in imported(text, "cntbench", set(modules())))
    assert edges.has_edge("cntbench", "cntbench.api.measure")
    assert not circles(edges)


def test_prompts_metrics_and_dynamics_need_no_torch():
    rooms = {"prompts", "metrics", "dynamics"}
    assert rooms <= set(RANK)
    assert not users(graph(), "torch", rooms)


def test_statistics_of_the_comparison_need_no_torch():
    pure = {
        "cntbench.analysis.intervals",
        "cntbench.analysis.diagnostics",
        "cntbench.analysis.recovery",
        *(f"cntbench.comparison.{name}" for name in ("agreement", "table")),
    }
    needing = nx.ancestors(graph(), "torch")
    assert "cntbench.comparison.trained" in needing
    assert pure <= set(modules())
    assert not pure & needing


def test_files_can_be_read_in_one_sitting():
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_a_class_has_a_name_of_its_own():
    """But for the parameters of a file that adds one thing."""
    places: dict[str, list[str]] = {}
    for module, node in definitions(ast.ClassDef):
        places.setdefault(node.name, []).append(module)
    assert len(places) > 100
    assert not {n: where for n, where in places.items() if len(where) > 1 and n != "Parameters"}


def test_functions_take_at_most_six_parameters():
    """But for the commands and the functions for Python users, whose parameters are options."""
    long = {}
    for module, node in definitions(ast.FunctionDef):
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len({*names} - {"self", "cls"})
        if count > MOST_PARAMETERS and room(module) not in OPTIONS:
            long[f"{module}.{node.name}"] = count
    assert not long, "group what belongs together"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch.nn.functional as F", {"torch.nn.functional"}),
        ("from cntbench.prompts import Prompt", {"cntbench.prompts"}),
        ("from cntbench.models import decoder", {"cntbench.models.decoder"}),
        ("from cntbench import prompts, specs", {"cntbench.prompts", "cntbench.specs"}),
        ("def f():\n    import torch", {"torch"}),
        ("if TYPE_CHECKING:\n    from torch import Tensor", {"torch"}),
        ('import_module("cntbench.prompts")', {"cntbench.prompts"}),
        ('"""Says cntbench.prompts, and cntbench.nothing."""\nx = "cntbench.nothing"', set()),
    ],
)
def test_imports_are_found(text, expected):
    assert imported(text, "x", set(modules())) == expected


def test_the_rules_catch_what_breaks_them():
    edges = nx.DiGraph(
        [
            ("cntbench.prompts", "cntbench.specs"),
            ("cntbench.specs", "cntbench.prompts"),
            ("cntbench.metrics.gini", "cntbench.components"),
            ("cntbench.components", "torch"),
            ("cntbench.engine.sweep", "torch"),
        ]
    )
    assert upward(edges) == ["cntbench.specs imports cntbench.prompts"]
    assert users(edges, "torch", {"metrics", "prompts"}) == ["cntbench.metrics.gini"]
    edges.add_edges_from(
        [("cntbench", "cntbench.api.results"), ("cntbench.api.results", "cntbench")]
    )
    assert circles(edges) == [["cntbench", "cntbench.api"], ["cntbench.prompts", "cntbench.specs"]]
    assert "torch" in graph(), "imports of other packages are seen"
