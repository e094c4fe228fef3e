"""Every ablation, replacement and measure there is, as the catalogue finds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from types import ModuleType

from cntbench.ablations.ablation import Ablation
from cntbench.plugins import room, shipped_folder
from cntbench.runs.catalogue import AblationEntry, load_catalogue
from cntbench.testing import folders_under_test, is_under_test

TASKS = shipped_folder()
#: Steps of fits: what is checked here holds for any number, and more take longer.
FITTING_STEPS = 3


@cache
def shipped() -> dict[str, AblationEntry]:
    """Every ablation by its name; those of the folders under test, if there are any."""
    entries = load_catalogue(folders_under_test()).ablations
    return {name: entry for name, entry in entries.items() if is_under_test(entry.path)}


def with_few_steps(entry: AblationEntry) -> AblationEntry:
    """Return an ablation with few steps of its fit, if it has one."""
    rule = entry.method.replacement
    if rule.fitting_steps <= FITTING_STEPS:
        return entry
    rule = replace(rule, steps=FITTING_STEPS)
    return replace(entry, method=replace(entry.method, replacement=rule))


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
    return {name: plugin.module for name, plugin in room("replacement").items()}


@cache
def measures() -> dict[str, ModuleType]:
    """Every measure by its name."""
    return {name: plugin.module for name, plugin in room("measure").items()}
