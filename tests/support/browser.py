"""A page in a headless browser, as its reader has it, and whatever goes wrong there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """A page, and what its reader would not want to see.

    Parameters
    ----------
    page
        Playwright's.
    wrong
        Errors of scripts and the console, and requests beyond the file itself.
    """

    page: Any
    wrong: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until every figure shows the moment that was chosen, also what cannot be seen."""
        self.page.wait_for_selector("html:not([data-behind])")

    def data(self, figure: str) -> Any:
        """Return the traces that a figure has drawn."""
        return self.page.evaluate(
            "id => JSON.parse(JSON.stringify(document.getElementById(id).data))", figure
        )

    def layout(self, figure: str) -> Any:
        """Return the layout that a figure has."""
        return self.page.evaluate(
            "id => JSON.parse(JSON.stringify(document.getElementById(id).layout))", figure
        )


@contextmanager
def browser() -> Iterator[Any]:
    """Start the system's browser; without one, or without playwright, skip."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install '.[test]'"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: install one of {', '.join(NAMES)}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program)
        yield started
        started.close()


@contextmanager
def opened(started: Any, path: Path, **options: Any) -> Iterator[Opened]:
    """Open a report and wait until its figures are drawn; what cannot be seen follows at once.

    Parameters
    ----------
    started
        The browser.
    path
        The page's file.
    options
        Of the reader: viewport, colour scheme, …
    """
    reader = started.new_context(**options)
    page = Opened(reader.new_page())
    address = path.as_uri()
    page.page.on(
        "console",
        lambda message: (
            page.wrong.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.page.on(
        "request",
        lambda request: (
            None
            if request.url == address or request.url.startswith(("data:", "blob:"))
            else page.wrong.append(request.url)
        ),
    )
    page.page.goto(address)
    page.page.wait_for_selector("html[data-ready]", timeout=60_000)
    page.page.evaluate("cntbench.rest = 0")
    yield page
    reader.close()
