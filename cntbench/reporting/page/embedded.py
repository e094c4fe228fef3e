"""The film of the page by itself, inside a notebook."""

from __future__ import annotations

from html import escape

import xarray as xr

from cntbench.reporting.page.write import film_page
from cntbench.views.layout import layout

#: Height of what stands around the graph, of a row of components, and of the tallest frame
#: [pixel]. A taller film scrolls.
_AROUND, _ROW, _TALLEST = 480, 104, 900


class InteractiveFilm:
    """The film that a notebook shows as the last line of a cell.

    It holds all numbers and the script that draws them, some two megabytes, and needs no network.

    Parameters
    ----------
    height
        Of its frame [pixel]; by default, as the graph needs, up to 900.
    """

    def __init__(self, tree: xr.DataTree, height: int | None = None) -> None:
        rows = 2 * layout(tree.to_dataset(inherit=False)).height.max()
        self._page = film_page(tree)
        self._height = height or min(_TALLEST, _AROUND + round(_ROW * rows))

    def __repr__(self) -> str:
        return "The interactive film, which a notebook shows."

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self._page)}" width="100%" height="{self._height}" '
            'style="border:0" sandbox="allow-scripts" title="The film"></iframe>'
        )
