"""The documentation builds without a warning and contains what it generates from the program."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from unittest.mock import patch

import pytest
import sphinx.cmd.build
from sphinx.builders.html import StandaloneHTMLBuilder
from support.documents import ROOT

import cntbench
from cntbench.errors import (
    EXIT_CHECKPOINTS_FAILED,
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_MOVED,
    EXIT_OK,
    EXIT_READER_ENDED,
    EXIT_USER_ERROR,
)
from cntbench.plugins import ROOMS, room
from cntbench.results.schema import COORDINATES, KEPT, VARIABLES
from cntbench.runs.catalogue import load_catalogue


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build all pages; a warning is an error, and nothing is written beside them.

    The search has no index, which would take seconds.
    """
    folder = tmp_path_factory.mktemp("site")
    arguments = ["-W", "--keep-going", "-q"]
    arguments += ["-d", str(folder / "trees"), str(ROOT / "docs"), str(folder / "html")]
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(printed),
        patch.object(StandaloneHTMLBuilder, "search", False),
    ):
        code = sphinx.cmd.build.main(arguments)
    assert code == 0, printed.getvalue()
    return folder / "html"


@pytest.fixture(scope="module")
def outputs(site):
    """What the cells of the example notebook have shown, by their code, as the build ran it."""
    notebook = json.loads((site.parent / "jupyter_execute" / "notebook.ipynb").read_text("utf-8"))
    return {
        "".join(cell["source"]): {
            kind: "".join(text)
            for output in cell["outputs"]
            for kind, text in output.get("data", {}).items()
        }
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }


def test_the_example_notebook_shows_what_it_says(outputs):
    card = outputs["tree"]["text/html"]
    assert card.index("graph at step 0") < card.index("xr-wrap")
    assert "srcdoc=" in outputs["tree.cnt.film()"]["text/html"]
    assert outputs["tree.cnt.plot.readouts()"]["image/png"]
    [line] = [shown for code, shown in outputs.items() if "plot.line" in code]
    assert line["image/png"]
    assert any("'report.html'" in shown.get("text/plain", "") for shown in outputs.values())
    assert "progress" not in str([shown for code, shown in outputs.items() if ".run(" in code])


def test_the_example_notebook_stands_in_the_pages(site):
    page = (site / "notebook.html").read_text("utf-8")
    assert "<iframe srcdoc=" in page
    assert page.count("data:image/png") + page.count("_images/") >= 2
    assert "Traceback" not in page


def text(page) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_every_name_stands_in_its_page(site):
    catalogue = load_catalogue()
    specs = ("tasks", "ablations", "studies", "planted", "backbones", "claims")
    kinds = [kind for kind in ROOMS if kind != "metric"]
    expected = {
        "dataset": [*COORDINATES, *VARIABLES, *KEPT, *room("metric")],
        "reference/catalogue": [name for kind in specs for name in getattr(catalogue, kind)],
        "reference/metrics": list(room("metric")),
        "reference/methods": [name for kind in kinds for name in room(kind)],
        "reference/python": [f"cntbench.{name}" for name in (*cntbench.__all__, "figures.film")],
    }
    for page, names in expected.items():
        shown = text(site / f"{page}.html")
        assert not [name for name in names if name not in shown], page


def test_only_what_a_claim_quotes_stands_in_quotation_marks(site):
    shown = " ".join(text(site / "reference" / "catalogue.html").split()).replace("\u2019", "'")
    claims = load_catalogue().claims.values()
    assert all(claim.spec.text in shown for claim in claims)
    assert not [claim.name for claim in claims if f"“{claim.spec.text}" in shown]


def test_no_mark_is_left_over(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert not [page for page in pages if "<!-- generated:" in page.read_text("utf-8")]


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link)[^>]+(?:src|href)=\"(https?:[^\"]+)", page.read_text()
        )
        assert not loaded, page


def test_every_exit_code_is_explained(site):
    shown = (site / "reference" / "commands.html").read_text("utf-8")
    codes = re.findall(r"<td><p>(\d+)</p></td>", shown)
    every = (
        EXIT_OK,
        EXIT_MOVED,
        EXIT_USER_ERROR,
        EXIT_CHECKPOINTS_FAILED,
        EXIT_INTERRUPTED,
        EXIT_READER_ENDED,
        EXIT_DEFECT,
    )
    assert codes == [str(code) for code in every]
