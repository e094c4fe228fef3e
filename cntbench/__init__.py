"""Transformers as evolving causal graphs: influence between components over training.

The functions in ``__all__`` and torch are loaded on first use. Importing the package registers the
accessor ``cnt`` of xarray datasets (`cntbench.accessor.cnt`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cntbench.parallel import starting as _starting  # noqa: F401 - before what takes long

# isort: split
from cntbench.accessor import cnt as _cnt
from cntbench.files.attributes import __version__ as __version__

if TYPE_CHECKING:
    from cntbench.api.circuit import circuit
    from cntbench.api.known import save_planted, score
    from cntbench.api.measure import compare, influence, run
    from cntbench.api.results import (
        claims,
        film,
        leaderboard,
        open_results,
        report,
        save_results,
        show,
    )

__all__ = [
    "circuit",
    "claims",
    "compare",
    "film",
    "influence",
    "leaderboard",
    "open_results",
    "report",
    "run",
    "save_planted",
    "save_results",
    "score",
    "show",
]

#: The file of `cntbench.api` that defines each function.
_FILES = {
    "circuit": "circuit",
    **dict.fromkeys(("compare", "influence", "run"), "measure"),
    **dict.fromkeys(("save_planted", "score"), "known"),
}

_cnt.register()


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = f"cntbench.api.{_FILES.get(name, 'results')}"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
