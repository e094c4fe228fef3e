"""The contributing guide's own examples, added as it says, are picked up with no other edit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.documents import ROOT, page_block


def block(mark: str) -> str:
    """The code block of the guide after a mark."""
    return page_block(ROOT / "CONTRIBUTING.md", mark)


#: Files of the rooms for which the guide has no example, each by what it takes from another one.
ALIKE = {
    "ablations/measures/angle.py": "ablations.measures.cosine import RANGE, measure",
    "estimators/gradients.py": "estimators.eap import OBSERVES, USES, estimate",
    "dynamics/nulls/shuffled.py": "dynamics.nulls.layer_pairs import draw",
    "dynamics/statistics/tail.py": "dynamics.statistics.tail_weight import Parameters",
    "prompts/generators/tokens.py": "prompts.generators.random_tokens import Parameters",
    "models/sources/folder.py": "models.sources.dir import open_trajectory",
    "models/adapters/other.py": "models.adapters.llama import EXACT, decoder, shape\n\n"
    "MODEL_TYPES = ()",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with the guide's files."""
    copy = tmp_path_factory.mktemp("checkout")
    without = shutil.ignore_patterns("*.pyc.*")  # which another process is writing
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
    (copy / "cntbench" / "readouts" / "entropy.py").write_text(block("readout"))
    (copy / "cntbench" / "figures" / "histogram.py").write_text(block("picture"))
    (copy / "cntbench" / "exchange" / "formats" / "npz.py").write_text(block("export format"))
    for path, code in ALIKE.items():
        (copy / "cntbench" / path).write_text(f'"""One like another."""\n\nfrom cntbench.{code}\n')
    return copy


#: Runs commands one after another, each a line of JSON: the program and its arguments.
INTERPRETER = """
import contextlib, io, json, sys
import pytest
from cntbench.cli.main import main

for line in sys.stdin:
    program, *arguments = json.loads(line)
    code = 0
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            if program == "pytest":
                code = int(pytest.main(arguments))
            else:
                sys.argv = [program, *arguments]
                main()
        except SystemExit as stop:
            code = stop.code or 0
    print(json.dumps([code, out.getvalue()]), flush=True)
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(checkout: Path, tmp_path_factory) -> Iterator[Run]:
    """Run commands in one process that imports the copy; return what they print."""
    errors = tmp_path_factory.mktemp("errors") / "stderr"
    environment = os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"}
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", INTERPRETER],
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        requests, answers = process.stdin, process.stdout

        def run(*command: str) -> str:
            print(json.dumps(command), file=requests, flush=True)
            answer = answers.readline()
            assert answer, errors.read_text()
            code, printed = json.loads(answer)
            assert code == 0, printed + errors.read_text()
            return str(printed)

        yield run
        requests.close()


def test_it_is_listed(run):
    assert "half v1  (total effect on the target) The component's output is halved." in run(
        "cntbench", "list", "ablations"
    )
    assert "shrink" in run("cntbench", "list", "replacements")


def test_it_is_compared(run):
    command = ["--trajectory", "dir:golden/nano/trajectory", "--checkpoints", "1", "--prompts", "4"]
    command += ["--tasks", "induction"]
    circuits = ["--circuits", "constant,random_dag_narrow", "-j", "1"]
    printed = run("cntbench", "compare", "--ablations", "half,zero,mean", *command, *circuits)
    verdict = next(line for line in printed.splitlines() if line.startswith(" half: "))
    # Half of what never varies is another value than the one it has, as zero is.
    assert "fails constant;" in verdict
    assert "exact AUROC" in verdict


def test_the_common_checks_and_the_golden_tests_ask_for_it(run):
    check, golden = "tests/property/test_common_ablation_checks.py", "tests/golden/test_golden.py"
    named = run("pytest", "--collect-only", "-q", "-n", "0", "-k", "half", check, golden)
    assert "test_agrees_with_the_naive_oracle[half]" in named
    assert "test_no_number_has_moved[induction-half]" in named
    chosen = "half and not noise and (feasible_edges or naive_oracle)"
    assert "2 passed" in run("pytest", "-q", check, "-k", chosen, "-n", "0")


def test_the_metric_and_the_backbone_are_listed_and_checked(run):
    assert "strongest  Largest weight of an edge, max w." in run("cntbench", "list", "metrics")
    assert "strongest_ten v1  The ten strongest edges" in run("cntbench", "list", "backbones")
    checks = ["test_common_metric_checks.py", "test_backbones.py"]
    files = [f"tests/property/{name}" for name in checks]
    assert "13 passed" in run("pytest", "-q", *files, "-k", "strongest", "-n", "0")


def test_the_claim_is_listed(run):
    listed = run("cntbench", "list", "claims")
    assert "gatherer_hierarchy v1  One line for listings and tables." in listed


def test_what_is_added_breaks_no_test_that_lists_what_there_is(run):
    lists = ["unit/test_catalogue.py", "unit/test_plugins.py", "unit/test_planted_specs.py"]
    claims = ["unit/test_claims.py", "cli/test_claims.py"]
    files = [f"tests/{name}" for name in (*lists, *claims)]
    chosen = "not claims or shipped or chosen_by_name or keeps_its_verdicts"
    assert " passed" in run("pytest", "-q", *files, "-k", chosen, "-n", "0")


def test_the_readout_the_picture_and_the_format_are_used(checkout, run, tmp_path):
    task = (checkout / "tasks" / "induction.toml").read_text()
    listed = 'effects = ["logit_difference", "entropy"]\n\n[parameters]'
    (tmp_path / "sure.toml").write_text(task.replace("[parameters]", listed))
    (tmp_path / "studies").mkdir()
    study = 'version = 1\nsummary = "x"\ntrajectory = "dir:golden/nano/trajectory"\nprompts = 2\n'
    study += (
        'tasks = ["sure"]\nablations = ["zero"]\nplanted = false\nnull_draws = 0\nuntrained = 0\n'
    )
    (tmp_path / "studies" / "small.toml").write_text(study)
    folder, result = str(tmp_path / "run"), str(tmp_path / "run" / "results.nc")
    options = ["--specs", str(tmp_path), "-o", folder, "-j", "1", "--checkpoints", "0,1112"]
    assert "entropy" in run("cntbench", "run", "small", *options)
    with xr.open_dataset(result) as dataset:
        values = dataset["readout_value"].sel(readout="entropy")
        assert dataset["readout_unit"].sel(readout="entropy").item() == "nat"
        assert not dataset["readout_effect"].sel(readout="entropy").isnull().any()
        assert values.isel(checkpoint=0) > values.isel(checkpoint=-1) > 0
    run("cntbench", "figures", result, "-o", str(tmp_path), "--only", "histogram")
    assert (tmp_path / "histogram.svg").stat().st_size > 0
    run("cntbench", "export", result, "-o", str(tmp_path / "numbers.npz"))
    assert set(np.load(tmp_path / "numbers.npz")) >= {"influence", "readout_value"}
    check = "tests/property/test_common_readout_checks.py"
    assert "13 passed" in run("pytest", "-q", check, "-k", "entropy and not cross", "-n", "0")
