"""The circuit as a picture: the components that stand out, and the influence between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from cntbench.components import kind_of
from cntbench.reporting.wording import number
from cntbench.views.circuit import CircuitView, circuit
from cntbench.views.colours import at
from cntbench.views.readouts import task_of_interest

#: Size of the picture, and room at its sides for half of the longest name [pixel].
WIDTH, HEIGHT, _SIDE = 380, 156, 62
#: Largest radius of a component, width of an edge, and height of a name [pixel].
_LARGEST, _WIDEST, _NAME = 12.0, 5.0, 12


def picture(tree: xr.DataTree) -> dict[str, Any] | None:
    """Return the places of components and edges [pixel]; None if no component stands out."""
    view = circuit(tree, task_of_interest(tree.to_dataset(inherit=False)))
    if view is None or not view.part:
        return None
    places = _places(view)
    most = max(abs(part.effect) for part in view.part)
    widest = max((share for *_, share in view.edge), default=1.0)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "title": f"Influence between the components that stand out on {view.task} "
        f"at step {view.step:,}",
        "readout": view.readout.replace("_", " "),
        "nodes": [
            {
                "x": round(x, 1),
                "y": round(y, 1),
                "radius": round(5 + (_LARGEST - 5) * float(np.sqrt(abs(part.effect) / most)), 1),
                "name": part.component,
                "does": part.does[0].behaviour.name if part.does else "",
                "effect": number(part.effect),
            }
            for part, (x, y) in zip(view.part, places, strict=True)
        ],
        "edges": [
            {
                "path": _path(*places[source], *places[target]),
                "width": round(0.8 + (_WIDEST - 0.8) * share / widest, 1),
                "light": at(share, dark=False),
                "dark": at(share, dark=True),
                "words": f"{view.part[source].component} → {view.part[target].component}",
            }
            for source, target, share in reversed(view.edge)
        ],
    }


def _places(view: CircuitView) -> list[tuple[float, float]]:
    """Return a column for each layer, MLP or experts half a column further, members in rows."""
    depths = [part.layer + 0.5 * (kind_of(part.component) != "head") for part in view.part]
    columns = sorted(set(depths))
    wide = (WIDTH - 2 * _SIDE) / max(1, len(columns) - 1)
    places = [(0.0, 0.0)] * len(depths)
    for k, depth in enumerate(columns):
        members = sorted(
            (i for i, other in enumerate(depths) if other == depth),
            key=lambda i: view.part[i].component,
        )
        x = _SIDE + k * wide if len(columns) > 1 else WIDTH / 2
        room = (HEIGHT - _NAME) / len(members)
        for row, i in enumerate(members):
            places[i] = (x, (row + 0.5) * room)
    return places


def _path(x0: float, y0: float, x1: float, y1: float) -> str:
    """Return a curve that leaves and arrives along the flow."""
    bend = 0.45 * (x1 - x0)
    if abs(bend) < 1:
        return f"M{x0:.1f} {y0:.1f}Q{x0 + 26:.1f} {(y0 + y1) / 2:.1f} {x1:.1f} {y1:.1f}"
    return f"M{x0:.1f} {y0:.1f}C{x0 + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
