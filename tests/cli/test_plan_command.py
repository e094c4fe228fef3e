"""``cntbench plan``: counts before a run, errors as of the run itself."""

from __future__ import annotations

import json
import re

import pytest
from support.runs import write_study
from support.trajectories import write_trajectory

from cntbench.cli.options import names_in
from cntbench.runs.options import study_changes


@pytest.fixture
def study(tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints")
    return ["--trajectory", f"dir:{folder}", "--tasks", "induction", "--prompts", "2", "-j", "1"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A study of which a run derives little."""
    write_study(
        tmp_path / "specs", "small", write_trajectory(tmp_path / "checkpoints"), untrained=0
    )
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    return ["small", "-j", "1"]


def test_plan_prints_the_counts_and_writes_nothing(cli, study, tmp_path):
    code, out, err = cli("plan", *study, "--ablations", "zero")
    assert (code, err) == (0, "")
    assert not (tmp_path / "runs").exists()
    assert "Checkpoints: 3, 0 of them already measured, 3 to measure." in out
    assert "Tasks × ablations: 1 × 1 at each checkpoint, 3 cells to measure." in out
    assert "Components: 6. Feasible edges: 9." in out
    # Two stages of two blocks; 32 tokens of which 15 are scored; 1 clean run, 4 of which 3 ablated,
    # the clean one once more at all positions: (32 + 4 · 15 + 32) tokens of each of two prompts.
    assert re.search(r"induction +2 +32 +15 +248 ", out)
    assert "Work: 248 layer-tokens" in out
    assert "744 and" in out
    assert re.search(r"Time: about \S+ s, an estimate: 1 × \S+ .?FLOP/s, ", out)


def test_plan_knows_what_a_run_has_done(cli, small):
    assert cli("run", *small, "-o", "mine")[0] == 0
    code, out, _ = cli("plan", *small, "-o", "mine")
    assert code == 0
    assert "Checkpoints: 3, 3 of them already measured, 0 to measure." in out


def test_a_variant_can_be_planned_after_a_run(cli, small):
    """A run of it needs another folder; that its default one is taken is no mistake of a plan."""
    assert cli("run", *small)[0] == 0
    code, out, err = cli("plan", *small, "--prompts", 3)
    assert (code, err) == (0, "")
    assert "0 of them already measured, 3 to measure." in out
    assert "runs/small holds another run: choose another folder with -o." in out
    assert "holds another run" not in cli("plan", *small)[1]
    code, _, err = cli("plan", *small, "--prompts", 3, "-o", "runs/small")
    assert code == 2
    assert "belongs to another study; different: prompts" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "inductoin"], "induction"),
        (["--ablations", "resample_other", "--prompts", "1"], "takes outputs from other prompts"),
        (["--trajectory", "dir:nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_told_as_by_run(cli, study, options, message):
    planned, ran = (cli(command, *study, *options) for command in ("plan", "run"))
    assert planned == ran
    assert planned[0] == 2
    assert message in planned[2]


def test_the_name_of_a_file_of_prompts_may_have_commas(cli, study, tmp_path):
    rows = [{"clean": [1, 2, seed], "answer": seed} for seed in (3, 4)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "mine, by hand.jsonl").write_text(text)
    tasks = "induction, mine, by hand.jsonl"
    code, out, err = cli("plan", *study, "--ablations", "zero", "--tasks", tasks)
    assert (code, err) == (0, "")
    assert re.search(r"mine, by hand +2 +3 ", out)
    code, _, err = cli("plan", *study, "--ablations", "zero", "--tasks", tasks.upper())
    assert code == 2
    assert "unknown task 'INDUCTION'" in err


def test_only_what_the_options_name_is_changed():
    changes = study_changes(tasks=names_in("a, b"), ablations=None, prompts=3, seed=0)
    assert changes == {"tasks": ("a", "b"), "prompts": 3, "seed": 0}
