"""The common checks as a pytest plug-in: on a user's files and on nothing else."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from hypothesis import settings
from support.documents import ROOT, page_block

from cntbench.testing import CHECKS


class Reports:
    """What became of each test."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.outcomes[report.nodeid.rpartition("::")[2]] = report.outcome


@pytest.fixture
def check(tmp_path):
    """Run the checks on a folder; returns exit code and what became of each."""
    profile = settings.get_current_profile_name()

    def run(folder: Path) -> tuple[int, dict[str, str]]:
        reports = Reports()
        # Nothing of this repository: neither its settings nor its fixtures.
        options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
        plugin = ["-p", "cntbench.testing", "--cntbench-specs", str(folder), "--noconftest"]
        code = pytest.main([*options, *plugin, "-o", "addopts="], plugins=[reports])
        return int(code), reports.outcomes

    yield run
    settings.load_profile(profile)


def test_a_users_files_are_held_to_the_common_checks(check, tmp_path):
    readouts = tmp_path / "own" / "readouts"
    readouts.mkdir(parents=True)
    good = page_block(ROOT / "CONTRIBUTING.md", "readout")
    (readouts / "entropy.py").write_text(good)
    (readouts / "wrong.py").write_text(good.replace("return -(logs", "return 2 * (logs"))
    estimators = tmp_path / "own" / "estimators"
    estimators.mkdir()
    guide = page_block(ROOT / "CONTRIBUTING.md", "estimator")
    (estimators / "gradient_activation.py").write_text(guide)
    (readouts / "broken.py").write_text('"""Broken."""\nimport no_such_package\n')
    code, outcomes = check(tmp_path / "own")
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    assert code == pytest.ExitCode.TESTS_FAILED
    assert failed == {
        "test_it_can_be_used[readout broken]",
        "test_it_is_the_mean_of_its_plain_definition[gpt_neox-wrong]",
        "test_it_is_the_mean_of_its_plain_definition[gemma2-wrong]",
    }
    for model in ("gpt_neox", "gemma2"):
        assert outcomes[f"test_it_is_the_mean_of_its_plain_definition[{model}-entropy]"] == "passed"
    assert outcomes["test_the_same_input_gives_the_same_bits[gradient_activation]"] == "passed"
    assert not [name for name in outcomes if "accuracy" in name], "shipped ones are not checked"
    assert all("[" in name for name in outcomes)


def test_a_folder_that_is_none_is_said_to_be(check, tmp_path, capsys):
    assert check(tmp_path / "none")[0] == pytest.ExitCode.USAGE_ERROR
    assert "none: is not a folder of specs" in capsys.readouterr().err


def test_the_package_ships_the_checks_with_all_that_they_import():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed, left = set(), [f"tests/{name}" for name in CHECKS]
    while left:
        path = left.pop()
        needed.add(path)
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("support"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                modules = [str(node.module), *names, "support.__init__"]
                files = [f"tests/{module.replace('.', '/')}.py" for module in modules]
                left += [f for f in files if (ROOT / f).is_file() and f not in needed]
    assert {path: path.replace("tests/", "cntbench/checks/", 1) for path in needed} == {
        path: place for path, place in shipped.items() if path != "tasks"
    }
