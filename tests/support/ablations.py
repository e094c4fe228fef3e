"""Every ablation, replacement and measure there is, as the catalogue finds them."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from cntbench.catalogue import AblationEntry, load_catalogue
from cntbench.folders import shipped_folder
from cntbench.plugins import discover

TASKS = shipped_folder()


@cache
def shipped() -> dict[str, AblationEntry]:
    """Every ablation by its name."""
    return dict(load_catalogue().ablations)


@cache
def replacements() -> dict[str, ModuleType]:
    """Every replacement rule by its name."""
    found = discover("replacements", required=("Parameters",))
    return {name: plugin.module for name, plugin in found.items()}


@cache
def measures() -> dict[str, ModuleType]:
    """Every measure by its name."""
    found = discover("measures", required=("measure", "RANGE"))
    return {name: plugin.module for name, plugin in found.items()}
