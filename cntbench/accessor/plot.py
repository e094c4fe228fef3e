"""``ds.cnt.plot``: the figures of `cntbench.figures` for one result."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import xarray as xr

from cntbench.plugins import file_names, find
from cntbench.plugins.folders import folders_in_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure


def _pictures() -> tuple[str, ...]:
    """Return the figures of the package, then those of users' folders."""
    added = [name for folder in folders_in_use() for name in folder.stems("figures")]
    return (*file_names("picture"), *added)


class Plot:
    """The functions of `cntbench.figures` as methods: ``ds.cnt.plot.film(task="induction")``.

    They take the same arguments except the result, and return the `matplotlib.figure.Figure`.
    """

    def __init__(self, data: xr.Dataset | xr.DataTree) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name.startswith("_") or name not in _pictures():
            raise AttributeError(f"there is no picture {name!r}: {', '.join(_pictures())}")
        draw = getattr(find("picture", name), name)

        @wraps(draw)
        def drawn(*args: Any, **kwargs: Any) -> Figure:
            figure: Figure = draw(self._data, *args, **kwargs)
            return figure

        return drawn

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_pictures()]
