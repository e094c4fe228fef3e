"""What results show of themselves in a notebook."""

from __future__ import annotations

import io
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from support.films import random_film
from support.results import HOSTILE

from cntbench.accessor.card import card, register_display
from cntbench.errors import CntbenchError
from cntbench.reporting import progress
from cntbench.reporting.progress import progress_bar
from cntbench.reporting.terminal import Terminal

NAMES = [f"step{step}" for step in (0, 1, 8, 16, 32, 64, 128)]


class Page(HTMLParser):
    """Elements of HTML by name, with their attributes, and all its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def film() -> xr.Dataset:
    film = random_film(names=NAMES, tasks=("induction", HOSTILE), ablations=("zero", "mean"))
    film["status"][:, :, 2] = "failed"
    film["influence"][:, :, 2] = np.nan
    return film


def test_a_figure_shows_itself_and_is_a_figure(film):
    figure = film.cnt.plot.heatmap(task="induction", ablation="zero")
    assert isinstance(figure, Figure)
    shown, how = figure._repr_mimebundle_()
    picture = matplotlib.image.imread(io.BytesIO(shown["image/png"]), format="png")
    size = how["image/png"]
    assert picture.shape[:2] == (2 * size["height"], 2 * size["width"])
    assert np.ptp(picture[..., :3]) > 0.5, "something is drawn"
    assert shown["text/plain"] == repr(figure)


def test_a_card_has_a_small_film_of_what_was_measured(film):
    page = Page(film.cnt._repr_html_())
    steps = [a["aria-label"] for a in page.all("svg")]
    assert steps == [f"graph at step {step:,}" for step in (0, 1, 16, 64, 128)]
    components = film.sizes["source"]
    assert len(page.all("circle")) == len(steps) * components
    edges = int((film["influence"][0, 0, 0] > 0).sum())
    assert len(page.all("path")) == len(steps) * edges
    assert "7 checkpoints, step 0 to 128" in page.words
    assert not page.all("script")
    assert not page.all("img"), "a name is a name"


def test_wide_lines_are_strong_edges(film):
    moment = film.isel(task=0, ablation=0, checkpoint=0)
    svg = card(moment).split("<svg")[1].split("</svg>")[0]
    paths = ElementTree.fromstring(f"<svg{svg}</svg>").findall(".//path")
    widths = [float(path.get("stroke-width") or 0) for path in paths]
    assert widths == sorted(widths), "strong ones are drawn last"
    weights = np.sort(moment["influence"].values[moment["influence"].values > 0])
    np.testing.assert_allclose(widths, 0.4 + 2.6 * weights / weights[-1], atol=0.051)


@pytest.mark.parametrize(
    "select",
    [
        lambda film: film.isel(task=0),
        lambda film: film.isel(task=0, ablation=0, checkpoint=0),
        lambda film: film.swap_dims(checkpoint="step").sel(step=[8]),
        lambda film: xr.DataTree(film),
    ],
)
def test_selections_have_a_card(film, select):
    assert Page(select(film).cnt._repr_html_()).all("svg")


def test_what_is_no_film_says_so():
    assert "variable 'influence' is missing" in Page(xr.Dataset().cnt._repr_html_()).words
    with pytest.raises(CntbenchError):
        xr.Dataset().cnt.film()


def test_the_interactive_film_is_a_page_in_a_frame(film):
    shown = film.cnt.film(height=500)
    [frame] = Page(shown._repr_html_()).all("iframe")
    assert frame["height"] == "500"
    assert frame["sandbox"] == "allow-scripts"
    page = Page(str(frame["srcdoc"]))
    ids = {attributes.get("id") for _, attributes in page.found}
    assert {"film", "play", "checkpoint", "labels", "array-weight", "plotly"} <= ids
    assert not {"heatmap", "claims", "provenance"} & ids
    assert len(page.all("option")) >= 4, "tasks and ablations are chosen from"
    assert "notebook" in repr(shown)


class Shell:
    """What IPython's shell is to this package."""

    def __init__(self) -> None:
        self.execution_count = 1
        self.kinds: dict[type, object] = {}
        html = SimpleNamespace(for_type=self.kinds.__setitem__)
        self.display_formatter = SimpleNamespace(formatters={"text/html": html})


def test_results_show_a_card_in_ipython(film, monkeypatch):
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    register_display()
    html = shell.kinds
    for data in (film, xr.DataTree(film)):
        shown = html[type(data)](data)
        assert Page(shown).all("svg")[0]["aria-label"] == "graph at step 0"
        assert "xr-wrap" in shown, "what xarray shows follows"
    other = xr.Dataset({"a": 1})
    assert "graph at" not in html[xr.Dataset](other)


def test_calls_of_one_cell_share_a_bar(monkeypatch):
    pytest.importorskip("IPython")
    import IPython.core.getipython
    import IPython.display

    shell, bars = Shell(), []

    def display(first, display_id):
        bars.append([first.data])
        return SimpleNamespace(update=lambda html: bars[-1].append(html.data))

    monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress, "_latest", None)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)

    def work(**options):
        with progress_bar(jupyter(), **options) as report:
            for done in range(2):
                report("measuring <b>", done, 2)

    def jupyter() -> Terminal:
        terminal = Terminal(stderr=True)
        terminal.is_jupyter = True
        return terminal

    work()
    work()
    assert len(bars) == 1
    assert Page(bars[0][2]).all("progress") == [{"value": "1", "max": "2"}]
    assert "measuring <b>, 1 of 2" in Page(bars[0][2]).words
    assert bars[0][-1] == "", "it is gone when the work is done"
    shell.execution_count = 2
    work()
    work(shown=False)
    assert len(bars) == 2
