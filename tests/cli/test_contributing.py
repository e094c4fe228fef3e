"""The contributing guide's own examples, added as it says, are picked up with no other edit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import ROOT, page_block


def block(mark: str) -> str:
    """The code block of the guide behind a mark."""
    return page_block(ROOT / "CONTRIBUTING.md", mark)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with the guide's files."""
    copy = tmp_path_factory.mktemp("checkout")
    without = shutil.ignore_patterns("__pycache__")
    for name in ("cntbench", "tasks", "tests", "golden"):
        shutil.copytree(ROOT / name, copy / name, ignore=without)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "cntbench" / "ablations" / "replacements" / "shrink.py").write_text(
        block("replacement")
    )
    (copy / "tasks" / "ablations" / "half.toml").write_text(block("ablation"))
    (copy / "cntbench" / "metrics" / "strongest.py").write_text(block("metric"))
    (copy / "tasks" / "backbones" / "strongest_ten.toml").write_text(block("backbone"))
    (copy / "tasks" / "claims" / "gatherer_hierarchy.toml").write_text(block("claim"))
    (copy / "tasks" / "induction_of_twelve.toml").write_text(block("task"))
    (copy / "tasks" / "ablations" / "noise_half.toml").write_text(block("another ablation"))
    (copy / "tasks" / "planted" / "beside.toml").write_text(block("planted circuit"))
    return copy


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def cntbench(checkout: Path, *arguments: str) -> str:
    done = python(checkout, "-c", "from cntbench.cli.main import main; main()", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed(checkout):
    assert "half v1  (total effect on the target) The component's output is halved." in cntbench(
        checkout, "list", "ablations"
    )
    assert "shrink" in cntbench(checkout, "list", "replacements")


def test_it_is_compared(checkout):
    asked = ["--trajectory", "dir:golden/nano/trajectory", "--checkpoints", "1", "--prompts", "4"]
    circuits = ["--circuits", "constant,random_dag_sparse", "-j", "1"]
    said = cntbench(checkout, "compare", "--ablations", "half,zero,mean", *asked, *circuits)
    verdict = next(line for line in said.splitlines() if line.startswith(" half: "))
    # Half of what never varies is another value than the one it has, as zero is.
    assert "fails constant;" in verdict
    assert "exact AUROC" in verdict


def test_the_common_checks_and_the_golden_tests_ask_for_it(checkout):
    named = python(checkout, "-m", "pytest", "--collect-only", "-q", "-k", "half", "tests")
    assert "test_agrees_with_the_naive_oracle[half]" in named.stdout
    assert "test_no_number_has_moved[induction-half]" in named.stdout
    check = "tests/property/test_common_ablation_checks.py"
    chosen = "half and not noise and (feasible_edges or naive_oracle)"
    done = python(checkout, "-m", "pytest", "-q", check, "-k", chosen, "-n", "0")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_metric_and_the_backbone_are_listed_and_checked(checkout):
    assert "strongest  Largest weight of an edge, max w." in cntbench(checkout, "list", "metrics")
    assert "strongest_ten v1  The ten strongest edges" in cntbench(checkout, "list", "backbones")
    checks = ["test_common_metric_checks.py", "test_backbones.py"]
    files = [f"tests/property/{name}" for name in checks]
    done = python(checkout, "-m", "pytest", "-q", *files, "-k", "strongest", "-n", "0")
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout


def test_the_claim_is_listed(checkout):
    listed = cntbench(checkout, "list", "claims")
    assert "gatherer_hierarchy v1  One line for listings and tables." in listed


def test_what_is_added_breaks_no_test_that_lists_what_there_is(checkout):
    lists = ["unit/test_catalogue.py", "unit/test_plugins.py", "unit/test_planted_specs.py"]
    claims = ["unit/test_claims.py", "cli/test_claims.py"]
    files = [f"tests/{name}" for name in (*lists, *claims)]
    chosen = "not claims or shipped or chosen_by_name or keeps_its_verdicts"
    done = python(checkout, "-m", "pytest", "-q", *files, "-k", chosen, "-n", "0")
    assert done.returncode == 0, done.stdout
