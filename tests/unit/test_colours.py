"""The colour scale of influence: one for page and figures, uniform, strong far from the paper."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from cntbench.figures._style import SCALE
from cntbench.views.colours import at, scale


def lightness(colour):
    """CIELAB's L*, by sRGB's luminance."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_page_and_figures_have_the_same_scale():
    colours = scale(dark=False)
    places = np.linspace(0, 1, len(colours))
    assert list(colours) == [to_hex(mpl.colormaps[SCALE](place)) for place in places]


@pytest.mark.parametrize("dark", [False, True])
def test_equal_steps_look_equal_and_strong_is_far_from_the_paper(dark):
    values = np.array([lightness(at(share, dark=dark)) for share in np.linspace(0, 1, 9)])
    steps = np.diff(values) * (1 if dark else -1)
    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()
    paper = 8 if dark else 99
    assert abs(values[-1] - paper) > 70
    assert abs(values[0] - paper) < 15


def test_shares_between_stops_are_mixed():
    assert at(-1, dark=True) == at(0, dark=True) == scale(dark=True)[0]
    assert at(2, dark=False) == scale(dark=False)[-1]
