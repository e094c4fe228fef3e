"""A result in a notebook: one line of its contents, and a small film of its graphs."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from cntbench.errors import CntbenchError, listed, printable
from cntbench.results import selection

#: Moments of the small film, and edges drawn at each.
_MOMENTS, _EDGES = 5, 60
#: Size of a moment, and the margin around its graph [pixel].
_WIDTH, _HEIGHT, _ROOM = 112, 88, 12
#: Number of names listed of each kind.
_NAMED = 3


def is_film(root: xr.Dataset) -> bool:
    """Return whether a dataset looks like the root of a result or a selection from one."""
    return all(name in root.variables for name in selection.OF_FILMS)


def card(root: xr.Dataset) -> str:
    """Return a summary of a film as HTML, or why it is not a film; reads only drawn values."""
    try:
        return _card(root)
    except CntbenchError as error:
        return f"<pre>{escape(str(error))}</pre>"


def _card(root: xr.Dataset) -> str:
    from cntbench.views.film import film

    dataset = selection.with_schema_dims(root, selection.OF_FILMS)
    status = dataset["status"].compute()
    usable = np.flatnonzero((status == "ok").all(["task", "ablation"]).values)
    if not len(usable):
        usable = np.arange(dataset.sizes["checkpoint"])
    moments = usable[np.unique(np.linspace(0, len(usable) - 1, _MOMENTS).round().astype(int))]
    cell = dataset.isel(task=[0], ablation=[0], checkpoint=moments).compute()
    task, ablation = str(cell["task"].item()), str(cell["ablation"].item())
    view = film(xr.DataTree(cell), task, ablation)
    strongest = float(np.nanmax(view.weight, initial=0.0)) or 1.0
    panels = "".join(_panel(view, moment, strongest) for moment in range(len(moments)))
    return (
        f'<div style="font:13px/1.5 system-ui,sans-serif"><div>{_line(dataset)}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:4px 12px">{panels}</div>'
        f'<div style="opacity:.7">Influence on {_text(task)} by {_text(ablation)}, the '
        f"{min(_EDGES, view.weight.shape[1])} strongest edges. The film: <code>.cnt.film()</code>"
        "</div></div>"
    )


def _line(dataset: xr.Dataset) -> str:
    from cntbench.reporting.page.context import title

    source, study = (str(dataset.attrs.get(name, "")) for name in ("source", "study"))
    steps = dataset["step"].values
    count = len(steps)
    when = f"step {steps[0]:,}"
    if count > 1:
        when = f"{count} checkpoints, step {steps[0]:,} to {steps[-1]:,}"
    parts = [
        f"<b>{_text(title(source, study))}</b>",
        when,
        f"{dataset.sizes['source']} components",
        *(_text(listed(selection.labels_of(dataset, dim), _NAMED)) for dim in ("task", "ablation")),
    ]
    return " · ".join(parts)


def _panel(view: Any, moment: int, strongest: float) -> str:
    layout = view.layout
    x = _scaled(layout.depth, _WIDTH)
    y = _scaled(-layout.height, _HEIGHT)
    lines = []
    for edge in view.strongest(moment, _EDGES)[::-1]:
        source, target = layout.source[edge], layout.target[edge]
        share = view.weight[moment, edge] / strongest
        bend = 0.15 * (x[target] - x[source]) * (1 if y[source] + y[target] > _HEIGHT else -1)
        middle = f"{(x[source] + x[target]) / 2:.1f} {(y[source] + y[target]) / 2 + bend:.1f}"
        lines.append(
            f'<path d="M{x[source]:.1f} {y[source]:.1f}Q{middle} {x[target]:.1f} {y[target]:.1f}" '
            f'stroke-opacity="{0.12 + 0.88 * share:.2f}" stroke-width="{0.4 + 2.6 * share:.1f}"/>'
        )
    dots = "".join(
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="2.2"><title>{_text(name)}</title></circle>'
        for cx, cy, name in zip(x, y, layout.component, strict=True)
    )
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    step = f"step {view.step[moment]:,}"
    return (
        f'<figure style="margin:0;text-align:center"><svg {size} role="img" '
        f'aria-label="graph at {step}"><g fill="none" stroke="#0072b2">{"".join(lines)}</g>'
        f'<g fill="currentColor">{dots}</g></svg>'
        f'<figcaption style="font-size:12px">{step}</figcaption></figure>'
    )


def _scaled(values: np.ndarray, length: int) -> np.ndarray:
    """Return positions within a length, with a margin at both ends; centred if all are equal."""
    low, extent = values.min(), np.ptp(values)
    if not extent:
        return np.full(len(values), length / 2)
    return _ROOM + (values - low) / extent * (length - 2 * _ROOM)


def _text(text: str) -> str:
    return escape(printable(text))


def register_display() -> None:
    """In IPython, show results as a card above xarray's own display."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    html = shell.display_formatter.formatters["text/html"]
    for kind in (xr.Dataset, xr.DataTree):
        html.for_type(kind, _shown)


def _shown(data: xr.Dataset | xr.DataTree) -> str:
    root = data.to_dataset(inherit=False) if isinstance(data, xr.DataTree) else data
    plain_display = data._repr_html_()
    return card(root) + plain_display if is_film(root) else plain_display
