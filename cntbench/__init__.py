"""Transformers as evolving causal graphs: influence between components over training.

The functions in ``__all__`` and torch are loaded on first use. Importing the package registers the
accessor ``cnt`` of xarray datasets (`cntbench.accessor.cnt`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cntbench.accessor import cnt as _cnt

if TYPE_CHECKING:
    from cntbench.api import claims, compare, influence, run
    from cntbench.api_results import film, open_results, report, save_results, show

__version__ = "0.1.0"

__all__ = [
    "claims",
    "compare",
    "film",
    "influence",
    "open_results",
    "report",
    "run",
    "save_results",
    "show",
]

_OF_RESULTS = ("film", "open_results", "report", "save_results", "show")

_cnt.register()


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "cntbench.api_results" if name in _OF_RESULTS else "cntbench.api"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
