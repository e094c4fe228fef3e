"""Every ablation, replacement and measure there is, as the catalogue finds them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import ModuleType

from cntbench.ablations.ablation import Ablation
from cntbench.plugins import discover, shipped_folder
from cntbench.runs.catalogue import AblationEntry, load_catalogue

TASKS = shipped_folder()


@cache
def shipped() -> dict[str, AblationEntry]:
    """Every ablation by its name."""
    return dict(load_catalogue().ablations)


@cache
def kinds() -> list[tuple[str, ...]]:
    """Names of the ablations, together those that differ in parameters, scope or measure alone."""
    kinds: dict[tuple[object, ...], list[str]] = {}
    for name, entry in sorted(shipped().items()):
        method = entry.method
        kind = type(method.replacement), method.observable, method.estimator, method.draws
        kinds.setdefault(kind, []).append(name)
    return [tuple(names) for names in kinds.values()]


def methods_of(names: Iterable[str]) -> list[Ablation]:
    """Return the methods of some ablations."""
    return [shipped()[name].method for name in names]


@cache
def replacements() -> dict[str, ModuleType]:
    """Every replacement rule by its name."""
    found = discover("ablations.replacements", required=("Parameters",))
    return {name: plugin.module for name, plugin in found.items()}


@cache
def measures() -> dict[str, ModuleType]:
    """Every measure by its name."""
    found = discover("ablations.measures", required=("measure", "RANGE"))
    return {name: plugin.module for name, plugin in found.items()}
