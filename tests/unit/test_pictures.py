"""Every picture of the page is a figure, every figure is on the page, the docs show all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cntbench
from cntbench import figures

PACKAGE = Path(cntbench.__file__).parent
TEMPLATES = PACKAGE / "reporting" / "page" / "templates"
DOCS = Path(__file__).parents[2] / "docs"
PAGE = "\n".join(path.read_text("utf-8") for path in sorted(TEMPLATES.glob("*.html")))
NAMES = sorted(set(figures.__all__) - {"save"})
#: By the name of a figure in `cntbench.figures`, the element of the page that shows the same: an
#: interactive picture, or a section whose tables have the same numbers.
ON_PAGE = {
    "film": "film",
    "heatmap": "heatmap",
    "circuit": "answers",
    "readouts": "readout-figure",
    "effects": "effect-figure",
    "scores": "head-figure",
    "metrics": "metric-figure",
    "recurrence": "recurrence",
    "bump": "bump",
    "claims": "claims",
    "agreement": "comparison",
    "comparison": "comparison",
    "pareto": "costs",
    "faithfulness": "circuits",
}
#: Parts of the first screen, and the figures that show the same at full size.
FIRST_SCREEN = {"curve": "readouts", "moments": "film", "circuit": "circuit"}


def test_every_figure_has_its_place_on_the_page():
    assert sorted(ON_PAGE) == NAMES
    drawn = set(re.findall(r'figure\("([\w-]+)"', PAGE))
    there = drawn | set(re.findall(r'<section id="([\w-]+)"', PAGE))
    assert set(ON_PAGE.values()) <= there


def test_every_picture_of_the_page_is_a_figure():
    drawn = set(re.findall(r'figure\("([\w-]+)"', PAGE))
    assert drawn
    assert drawn <= set(ON_PAGE.values())
    first = (TEMPLATES / "first.html").read_text("utf-8")
    parts = set(re.findall(r'class="(?:plot" id=")?(curve|moments|circuit)"', PAGE))
    assert parts == set(FIRST_SCREEN)
    assert "curve" in first
    assert set(FIRST_SCREEN.values()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_gallery_shows_the_figure_and_its_command(name):
    if not DOCS.is_dir():
        pytest.skip("the docs are not installed with the package")
    gallery = (DOCS / "figures.md").read_text("utf-8")
    [section] = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", gallery, flags=re.M | re.S)
    assert f"`cntbench figures RESULTS -o FOLDER --only {name}" in section
    [picture] = re.findall(r"!\[.+\]\((pictures/[\w-]+\.svg)\)", section)
    assert picture == f"pictures/{name}.svg"
    assert (DOCS / picture).is_file()
