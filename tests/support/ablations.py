"""Every ablation that ships, ready to be applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from cntbench import plugins, specs
from cntbench.sweep import Ablation

TASKS = Path(__file__).parents[2] / "tasks"


@dataclass(frozen=True)
class Shipped:
    """A spec of ``tasks/ablations``, its ablation, and the range of its measure."""

    spec: specs.AblationSpec
    ablation: Ablation
    bounds: tuple[float, float]


@cache
def replacements() -> dict[str, ModuleType]:
    """Every replacement rule that is discovered."""
    found = plugins.discover("replacements", required=("Parameters",))
    return {name: plugin.module for name, plugin in found.items()}


@cache
def measures() -> dict[str, ModuleType]:
    """Every measure that is discovered."""
    found = plugins.discover("measures", required=("measure",))
    return {name: plugin.module for name, plugin in found.items()}


@cache
def shipped() -> dict[str, Shipped]:
    """Every ablation of ``tasks/ablations`` by its name."""
    found = {}
    for path in sorted((TASKS / "ablations").glob("*.toml")):
        where = str(path)
        spec = specs.build(specs.AblationSpec, specs.read_toml(path), where=where)
        rule: Callable = replacements()[spec.replacement].Parameters
        measure = measures()[spec.measure]
        replacement = specs.build(rule, spec.parameters, where=where, prefix="parameters.")
        ablation = Ablation(path.stem, replacement, measure.measure)
        found[path.stem] = Shipped(spec, ablation, measure.RANGE)
    return found
