"""Transformers as evolving causal graphs: influence between components over training.

``run``, ``open_results``, ``influence``, ``compare``, ``claims`` and torch are loaded on first use.
Importing the package registers the accessor ``cnt`` of xarray datasets
(`cntbench.accessor.cnt`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cntbench.accessor import cnt as _cnt

if TYPE_CHECKING:
    from cntbench.api import claims, compare, influence, open_results, run

__version__ = "0.1.0"

__all__ = ["claims", "compare", "influence", "open_results", "run"]

_cnt.register()


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("cntbench.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
