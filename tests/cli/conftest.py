"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.trajectories import run_cli


@pytest.fixture(scope="module", autouse=True)
def short_calibration() -> Iterator[None]:
    """Time a few calls for each plan, not all of a second: no test of commands judges the speed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cntbench.estimate.calibration.SECONDS", 0.05)
        yield


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli(monkeypatch, capsys, *arguments)


@pytest.fixture
def mistake(cli):
    """Run a command line that is a mistake: one message, which has some parts, and exit code 2."""

    def check(*arguments, says):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert "Traceback" not in err
        for part in says:
            assert part in err

    return check
