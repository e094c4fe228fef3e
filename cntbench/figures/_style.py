"""The style of figures: sizes for print, colours for everybody, reproducible bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike, NDArray

from cntbench.errors import printable, unknown
from cntbench.files.output import FileKind, begins, check_output, contains, path_tuple
from cntbench.results.storage import write_atomically
from cntbench.views.colours import ON_LIGHT
from cntbench.views.steps import StepAxis

#: Widths of one and of two columns [inch].
SINGLE, DOUBLE = 3.5, 7.2

#: Okabe and Ito's colours, which everybody can distinguish, without yellow (too pale for lines).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Line styles, after all colours have been used.
STYLES = ("-", "--", ":", "-.")
GREY, PALE, BAND, INK = "#8a8a8a", "#e8e8e8", "#f5f5f5", "#222222"
#: Colour of lines behind those that have names.
OTHERS = "#cfcfcf"
#: Scale of numbers that are never negative, as in the report: dark is strong.
SCALE = ON_LIGHT

#: Kinds of files of figures, by their endings.
KINDS = {
    "svg": FileKind("an SVG picture", contains(b"<svg")),
    "pdf": FileKind("a PDF", begins(b"%PDF-")),
    "png": FileKind("a PNG picture", begins(b"\x89PNG\r\n")),
}
FORMATS = tuple(KINDS)
#: Dots per inch of PNG.
RESOLUTION = 300
#: Dots per inch of a notebook.
SCREEN = 120

_LOOKS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "figure.titlesize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "cntbench",
    "pdf.fonttype": 42,
    # Names in a result are names, whatever they hold.
    "text.parse_math": False,
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function so that it draws and lays out in this style, not the user's."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _looks():
            figure = draw(*args, **kwargs)
            if kwargs.get("ax") is None and (layout := figure.get_layout_engine()):
                # Ticks are made when first needed, and take their style then.
                layout.execute(figure)
        return figure

    return drawn


@contextmanager
def _looks() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOKS)
        yield


class ShownFigure(Figure):
    """A figure that a notebook can show without pyplot."""

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the picture as PNG, with two pixels for each pixel of the screen."""
        file = BytesIO()
        with _looks():
            self.savefig(file, format="png", dpi=2 * SCREEN, metadata={"Software": None})
        width, height = (round(float(inches) * SCREEN) for inches in self.get_size_inches())
        return (
            {"image/png": file.getvalue(), "text/plain": repr(self)},
            {"image/png": {"width": width, "height": height}},
        )


def blank(width: float, height: float) -> ShownFigure:
    """Return an empty figure of a size [inch], laid out by matplotlib's constrained layout."""
    return ShownFigure(figsize=(width, height), layout="constrained")


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and axes to draw on: the user's, or new ones of a size [inch]."""
    if ax is None:
        figure = blank(width, height)
        return figure, figure.subplots()
    owner = ax.get_figure(root=True)
    assert owner is not None
    return owner, ax


def save(figure: Figure, path: str | Path, *, force: bool = False) -> None:
    """Write a figure; with one version of matplotlib, the same figure has the same bytes.

    Text stays text in SVG and PDF, in DejaVu Sans.

    Parameters
    ----------
    figure
        A figure of `cntbench.figures`.
    path
        The file; its suffix selects the format, one of `FORMATS`.
    force
        Whether a file of another format may be replaced.

    Raises
    ------
    CntbenchError
        If there is no such format, or the file cannot be written.
    """
    (path,) = path_tuple(path)
    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        raise unknown("format", kind, KINDS, where=str(path))
    check_output(path, KINDS[kind], force=force)
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}

    def write(unfinished: Path) -> None:
        figure.savefig(unfinished, format=kind, dpi=RESOLUTION, metadata=dated[kind])
        if kind == "svg":  # XML cannot hold control characters, which names can
            svg = unfinished.read_text(encoding="utf-8")
            unfinished.write_text(printable(svg), encoding="utf-8")

    with _looks():
        write_atomically(path, write)


def colour(index: int) -> dict[str, str]:
    """Return the style of the line with an index in the legend."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": STYLES[index // len(COLOURS) % len(STYLES)],
    }


def line(ax: Axes, x: ArrayLike, y: ArrayLike, **looks: Any) -> None:
    """Draw a line with gaps at undefined values; a single point between gaps is a dot."""
    isolated = _alone(y)
    if len(isolated):
        looks |= {"marker": "o", "markersize": 2, "markevery": isolated.tolist()}
    ax.plot(x, y, **looks)


def band(ax: Axes, x: ArrayLike, lower: ArrayLike, upper: ArrayLike, **looks: Any) -> None:
    """Draw a band with gaps at undefined values; a single point between gaps is a bar."""
    x, lower, upper = np.asarray(x), np.asarray(lower), np.asarray(upper)
    ax.fill_between(x, lower, upper, linewidth=0, **looks)
    isolated = _alone(lower)
    ax.vlines(x[isolated], lower[isolated], upper[isolated], linewidth=2, **looks)


def _alone(y: ArrayLike) -> NDArray[np.int64]:
    """Return the indices of defined values without a defined neighbour."""
    defined = np.concatenate([[False], np.isfinite(np.asarray(y)), [False]])
    return np.flatnonzero(defined[1:-1] & ~defined[:-2] & ~defined[2:])


def matrix(ax: Axes, values: NDArray[np.float64], **looks: Any) -> AxesImage:
    """Draw a matrix on the scale of colours, with undefined values in grey."""
    scale = mpl.colormaps[SCALE].with_extremes(bad=PALE)
    return ax.imshow(np.ma.masked_invalid(values), cmap=scale, **looks)


def logarithmic(ax: Axes) -> None:
    """Make x logarithmic, with plain numbers at its ticks: 1, 2, 5, 10, 20, 50, …"""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


def scale_beside(ax: Axes, image: ScalarMappable, label: str) -> None:
    """Draw the scale of an image, as high as the image itself."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, cax=ax.inset_axes((1.03, 0, 0.045, 1)))
    bar.set_label(label)
    bar.outline.set_visible(False)


def checkpoints_below(ax: Axes, steps: NDArray[np.int64]) -> None:
    """Label evenly spaced checkpoints along x with their training steps."""
    places = np.unique(np.linspace(0, len(steps) - 1, min(6, len(steps))).round().astype(int))
    ax.set_xticks(places, [f"{steps[place]:,}" for place in places])
    ax.set_xlabel("training step (a place for each checkpoint)")


def steps_below(ax: Axes, axis: StepAxis, steps: NDArray[np.int64]) -> None:
    """Label x with training steps."""
    ax.set_xticks(axis.places, [f"{step:,}" for step in axis.ticks])
    minor = [m * 10.0**d for d in range(12) for m in range(2, 10)]
    last = int(steps[-1]) if len(steps) else 1
    ax.set_xticks(axis.place([s for s in minor if axis.first <= s <= last]), minor=True)
    ends = axis.place([steps[0], steps[-1]]) if len(steps) else np.array([0.0, 1.0])
    room = max(0.02 * (ends[1] - ends[0]), 0.02)
    ax.set_xlim(ends[0] - room, ends[1] + room)
    ax.set_xlabel("training step")
