"""Options of ``pytest benchmarks/``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="race the engine against all opponents on the full workloads and print the table",
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run in this process, so that nothing else runs while code is timed."""
    return 0


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Work on one thread: two that wait for each other would measure other load on the machine."""
    from cntbench.parallel.processes import one_thread

    with one_thread():
        yield


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether full mode is on."""
    return bool(request.config.getoption("--full"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in getattr(report, "user_properties", [])
        if name == "race"
    ]
    if lines:
        terminalreporter.section("races")
        for line in lines:
            terminalreporter.write_line(line)
