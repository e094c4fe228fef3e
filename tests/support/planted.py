"""Planted circuits in tests: shipped, drawn by hypothesis, or written on the spot; and measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from cntbench.engine.influence import Influence, influence
from cntbench.engine.request import Request
from cntbench.models.decoder import Decoder
from cntbench.models.planted.circuit import Circuit
from cntbench.prompts import Language
from cntbench.runs.catalogue import load_catalogue
from cntbench.specs import Scope

#: Replacements whose behaviour on the circuits is stated; the ablations are called alike.
FAMILIES = ("zero", "mean", "resample")

#: On an exact circuit, an edge that is there has at least the one and one that is not at most the
#: other influence, which is what single precision leaves.
PRESENT, ABSENT = 0.1, 1e-6


_catalogue = cache(load_catalogue)


@cache
def shipped() -> dict[str, Circuit]:
    """Every shipped circuit that is constructed, by its name."""
    planted = _catalogue().planted.items()
    return {name: circuit for name, circuit in planted if circuit.blueprint.trained is None}


def seen(circuit: Circuit, replacement: str, scope: Scope) -> NDArray[np.bool_]:
    """The edges that methods with a replacement are known to find on the exact circuit.

    These are the true edges, corrected by the diagnostics. Dims ``source, target``.
    """
    truth = circuit.truth()
    edges = (truth.direct if scope == "direct" else truth.total).copy()
    for diagnostic in circuit.diagnostics:
        if diagnostic.scope == scope:
            source, target = (circuit.blueprint.index[name] for name in diagnostic.edge)
            present = diagnostic.expect == "present"
            edges[source, target] = present != (replacement in diagnostic.fails)
    return edges


def measure(
    model: Decoder,
    *,
    task: str = "random_tokens",
    count: int = 8,
    seed: int = 0,
    scope: Scope = "total",
) -> Influence:
    """What the methods of `FAMILIES` see that have a scope."""
    catalogue = _catalogue()
    prompts = catalogue.tasks[task].prompts(
        Language(np.arange(model.vocabulary)), count=count, seed=seed
    )
    names = FAMILIES if scope == "total" else [f"{name}_direct" for name in FAMILIES]
    methods = [catalogue.ablations[name].method for name in names]
    return influence(Request(model, prompts, methods, seed=seed))


def edge(result: Influence, circuit: Circuit, family: str, source: str, target: str) -> float:
    """The influence over one edge."""
    index = circuit.blueprint.index
    return float(result.influence[FAMILIES.index(family), index[source], index[target]])


def write(folder: Path, text: str, name: str = "mine") -> Path:
    """Write a circuit's file."""
    path = folder / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('version = 1\nsummary = "Mine."\n' + text, encoding="utf-8")
    return path


@st.composite
def random_dags(draw: st.DrawFn) -> str:
    """The text of a random DAG's file, just as wide as it has to be."""
    layers, heads = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    density, seed = draw(st.floats(0, 1)), draw(st.integers(0, 2**31))
    needed = 16 + 6 * layers * (heads + 1) + 1
    width = heads * max(-(-needed // heads), 14)
    return (
        f"layers = {layers}\nheads = {heads}\nwidth = {width}\n"
        f"random = {{ density = {density}, seed = {seed} }}\n"
    )
