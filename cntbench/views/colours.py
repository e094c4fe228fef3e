"""The one colour scale of influence: cividis, which is perceptually uniform for every reader.

Nuñez, Anderton & Renslow 2018, "Optimizing colormaps with consideration for color vision
deficiency". On light paper dark is strong, on dark paper light is strong: weak influence is near
the paper's colour in both.
"""

from __future__ import annotations

import numpy as np

#: matplotlib's name of the scale on light paper.
ON_LIGHT = "cividis_r"
#: Its colours at equal distances, from dark to light.
STOPS = (
    "#00224e",
    "#002e6c",
    "#1e3a6f",
    "#35456c",
    "#47516c",
    "#575d6d",
    "#666970",
    "#757575",
    "#848279",
    "#948e77",
    "#a59c74",
    "#b7a96e",
    "#c8b866",
    "#dbc75a",
    "#eed649",
    "#fee838",
)


def scale(*, dark: bool) -> tuple[str, ...]:
    """Return the colours from weak to strong, on dark paper or on light paper."""
    return STOPS if dark else STOPS[::-1]


def at(share: float, *, dark: bool) -> str:
    """Return the colour of a share of the largest influence, as ``#rrggbb``.

    Parameters
    ----------
    share
        From 0 to 1.

    Examples
    --------
    >>> at(1, dark=False), at(0, dark=True)
    ('#00224e', '#00224e')
    """
    stops = np.array([[*bytes.fromhex(colour[1:])] for colour in scale(dark=dark)])
    position, places = share * (len(stops) - 1), np.arange(len(stops))
    mixed = (np.interp(position, places, channel) for channel in stops.T)
    return "#" + "".join(f"{round(value):02x}" for value in mixed)
