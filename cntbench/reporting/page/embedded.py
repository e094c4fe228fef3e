"""The film of the page by itself, inside a notebook."""

from __future__ import annotations

from html import escape

import xarray as xr

from cntbench.reporting.page.write import film_page

#: Height of the film in a notebook [pixel].
HEIGHT = 640


class InteractiveFilm:
    """The film that a notebook shows as the last line of a cell.

    It holds all numbers and the script that draws them, some two megabytes, and needs no network.

    Parameters
    ----------
    tree
        A result.
    height
        Of its frame [pixel].
    """

    def __init__(self, tree: xr.DataTree, height: int = HEIGHT) -> None:
        self._page = film_page(tree)
        self._height = height

    def __repr__(self) -> str:
        return "The interactive film, which a notebook shows."

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self._page)}" width="100%" height="{self._height}" '
            'style="border:0" sandbox="allow-scripts" title="The film"></iframe>'
        )
