"""The hub from the command line: exit codes, messages, and the audit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download
from support.trajectories import run_cli, spoil

from cntbench.results.storage import open_results
from cntbench.runs import golden as golden_folder

ALL = "hub:lab/tiny@step0,step8,step100"
#: A study without what is derived from many models and draws.
QUICK = """
version = 1
summary = "Takes no time."
trajectory = "hub:lab/tiny@step0,step8,step100"
tasks = ["induction"]
ablations = ["zero"]
prompts = 2
untrained = 0
null_draws = 0
planted = false
"""


@pytest.fixture
def specs(tmp_path):
    """A folder of specs with the study ``quick``."""
    (tmp_path / "specs" / "studies").mkdir(parents=True)
    (tmp_path / "specs" / "studies" / "quick.toml").write_text(QUICK)
    return tmp_path / "specs"


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path, specs):
    """Run a command line in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CNTBENCH_SPECS", str(specs))
    return lambda *arguments: run_cli(monkeypatch, capsys, *arguments)


def study(trajectory: str = ALL, *options: object) -> list[object]:
    return ["run", "quick", "--trajectory", trajectory, "-j", 1, *options]


def test_a_run_over_the_hub(cli, hub, tmp_path):
    code, out, err = cli(*study())
    assert (code, err) == (0, "")
    assert "Measured 3 checkpoints, found 0 measured before." in out
    left = {path.name for path in (tmp_path / "work" / "runs" / "quick").iterdir()}
    assert left == {
        *("study.json", "request.json", "checkpoints", "untrained"),
        *("results.nc", "report.html", ".lock"),
    }


def test_what_could_not_be_had_is_listed_and_tried_again(cli, hub):
    hub.break_("step8", "model.safetensors", "status", status=500)
    code, out, err = cli(*study("hub:lab/tiny@step0,step4,step8,step100"))
    assert code == 3
    assert err.splitlines() == [
        "2 checkpoints could not be measured; the same command tries them again:",
        "  step4: missing: the repository has no such revision",
        "  step8: failed: could not be downloaded: the hub answers 500. To work offline, download "
        "it into the hub cache on a machine with a network: hf download lab/tiny config.json "
        "tokenizer.json model.safetensors --revision REVISION",
    ]
    assert "step8: failed: could not be downloaded" in out
    hub.mend()
    code, out, err = cli(*study("hub:lab/tiny@step0,step4,step8,step100"))
    assert code == 3
    assert "Measured 1 checkpoint, found 2 measured before." in out
    assert err.splitlines()[1:] == ["  step4: missing: the repository has no such revision"]
    assert hub.asked() == ["step8"]


def test_without_a_network_one_line_says_what_could_not_be_had(cli, hub, monkeypatch):
    hub.break_("step8", "model.safetensors", "status", status=403)
    hub.break_("step100", "model.safetensors", "status", status=403)
    assert cli(*study())[0] == 3
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, err = cli(*study())
    assert code == 3
    assert "Measured 0 checkpoints, found 1 measured before." in out
    _, line = err.splitlines()
    assert line.startswith(
        "  step8 and step100: failed: could not be downloaded: HF_HUB_OFFLINE is set. To work "
    )
    assert "hf download lab/tiny" in line


@pytest.mark.parametrize(
    ("trajectory", "says"),
    [
        ("hub:lab/tiny", ["needs revisions", "hub:ORG/NAME@step1000..step143000:1000"]),
        ("hub:lab/tiny@step9", ["no revision 'step9'", "Did you mean 'step8'?"]),
        ("hub:lab/other@step0", ["there is no repository 'lab/other'"]),
        ("hub:lab/tiny@pythai", ["Did you mean 'pythia'?"]),
    ],
)
def test_a_trajectory_that_cannot_be_opened_is_exit_code_2(cli, hub, tmp_path, trajectory, says):
    code, out, err = cli(*study(trajectory))
    assert (code, out) == (2, "")
    assert err.startswith("error: hub:lab/")
    for part in says:
        assert part in err
    assert not list((tmp_path / "work").iterdir())


def test_nothing_that_is_known_and_no_network_is_exit_code_2(cli, hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, err = cli("run", "pythia-14m")
    assert (code, out) == (2, "")
    message = "hub:EleutherAI/pythia-14m@step1000: could not be downloaded: HF_HUB_OFFLINE is set"
    assert err.startswith(f"error: {message}\nTo work offline, download it into the hub cache")
    assert not list((tmp_path / "work").iterdir())


def test_plan_asks_for_no_weights(cli, hub, tmp_path):
    code, out, err = cli("plan", "quick", "-j", 1)
    assert (code, err) == (0, "")
    assert "Checkpoints: 3, 0 of them already measured" in out
    assert "Components: 6. Feasible edges: 9." in out
    size = (hub.folder / "step0" / "model.safetensors").stat().st_size
    assert f"Download: 3 checkpoints × {size / 2**20:,.1f} MiB = " in out
    assert "(file sizes from the hub). At most" in out
    assert "just now on a part of this study, with random weights, without downloading" in out
    assert {(revision, file) for _, revision, file in hub.requests} == {
        ("", "refs"), ("step0", "config.json"), ("step0", "tree")
    }  # fmt: skip
    assert not list((tmp_path / "work").iterdir())


def test_plan_counts_what_is_measured_or_in_the_hub_cache_as_had(cli, hub):
    assert cli(*study())[0] == 0
    (Path("runs") / "quick" / "checkpoints" / "step8.nc").unlink()
    printed = cli("plan", "quick", "-o", "runs/quick")[1]
    assert "Checkpoints: 3, 2 of them already measured, 1 to measure." in printed
    assert "Download: 1 checkpoint ×" in printed
    for name in ("config.json", "model.safetensors"):
        hf_hub_download("lab/tiny", name, revision="step8")
    assert "Download" not in cli("plan", "quick", "-o", "runs/quick")[1]


def test_plan_does_not_count_revisions_that_do_not_exist(cli, hub):
    code, out, _ = cli("plan", "quick", "--trajectory", f"{ALL},step200")
    assert code == 0
    message = (
        "Checkpoints: 4, 0 of them already measured, 3 to measure, 1 that the repository does not"
    )
    assert message in out
    assert "3 cells to measure" in out


def test_plan_goes_by_the_config_where_the_hub_tells_no_sizes(cli, hub):
    hub.break_("step0", "tree", "status", status=403)
    code, out, _ = cli("plan", "quick")
    assert code == 0
    assert "(parameters × bytes of their stored type: the hub reports no sizes)" in out


def test_plan_of_a_model_whose_config_is_shipped_needs_no_network(cli, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, err = cli("plan", "pythia-14m", "--prompts", 4)
    assert (code, err) == (0, "")
    assert "Checkpoints: 143, 0 of them already measured" in out
    assert "1,287 cells to measure. Components: 30. Feasible edges: 375." in out
    # 14,067,712 parameters of two bytes, and six masks of 2048 × 2048.
    assert "Download: 143 checkpoints × 50.8 MiB = 7.1 GiB (parameters in float16 and" in out
    assert not hub.requests


def test_plan_of_another_model_needs_its_config(cli, hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, err = cli("plan", "quick")
    assert (code, out) == (2, "")
    assert err.startswith(
        "error: hub:lab/tiny@step0: could not be downloaded: HF_HUB_OFFLINE is set"
    )
    assert not list((tmp_path / "work").iterdir())


def rows(out: str) -> dict[str, list[str]]:
    """The audit's table: words of each row by its checkpoint."""
    words = (line.split() for line in out.splitlines())
    return {first: rest for first, *rest in filter(None, words) if first.startswith("step")}


def make_trouble(hub) -> str:
    shutil.rmtree(hub.folder / "step8")
    shutil.copytree(hub.folder / "step0", hub.folder / "step1")
    shutil.copytree(hub.folder / "step100", hub.folder / "step200")
    spoil(hub.folder / "step200")
    return "hub:lab/tiny@step0,step1,step8,step100,step200"


@pytest.mark.parametrize("of", ["trajectory", "results", "run"])
def test_an_audit_lists_what_is_wrong(cli, hub, of):
    text = make_trouble(hub)
    if of != "trajectory":
        assert cli(*study(text))[0] == 3
        text = {"results": "runs/quick/results.nc", "run": "runs/quick"}[of]
        hub.requests.clear()
    code, out, err = cli("audit", text)
    assert (code, err) == (3, "")
    table = rows(out)
    assert list(table) == ["step0", "step1", "step8", "step100", "step200"]
    revision = table["step0"][1]
    assert len(revision) == 12
    assert table["step0"] == ["0", revision, "ok"]
    assert table["step1"] == ["1", revision, "duplicate", "same", "weights", "as", "step0"]
    assert table["step8"][:3] == ["8", "missing", "the"]
    assert table["step100"][0::2] == ["100", "ok"]
    assert table["step200"][:3] == ["200", "failed", "tensor"]
    assert "5 checkpoints: 2 ok, 1 missing, 1 duplicate, 1 failed." in out
    if of == "trajectory":
        assert sorted(hub.asked()) == ["step0", "step1", "step100", "step200"]
    else:
        assert not hub.requests


def test_an_audit_that_finds_duplicates_at_most_is_exit_code_0(cli, hub):
    shutil.copytree(hub.folder / "step0", hub.folder / "step1")
    code, out, _ = cli("audit", "hub:lab/tiny@step0,step1")
    assert code == 0
    assert "2 checkpoints: 1 ok, 1 duplicate." in out
    code, out, _ = cli("audit", f"dir:{hub.folder}")
    assert code == 0
    assert "4 checkpoints: 3 ok, 1 duplicate." in out


def test_an_audit_keeps_nothing(cli, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    assert cli("audit", ALL)[0] == 0
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("none.nc", "none.nc: no such file"),
        ("runs/nope", "runs/nope: is neither a file, nor a folder, nor a trajectory"),
        (
            "empty",
            "empty: is not the folder of a run: it has no study.json",
        ),
        ("nowhere", "nowhere: is neither a file, nor a folder, nor a trajectory"),
        ("dir:nowhere", "nowhere: no such folder"),
    ],
)
def test_an_audit_of_nothing_is_exit_code_2(cli, what, says):
    Path("empty").mkdir()
    code, out, err = cli("audit", what)
    assert (code, out) == (2, "")
    assert says in err


def test_the_audit_of_a_run_without_a_result_says_so(cli, tmp_path):
    (tmp_path / "work" / "runs").mkdir()
    (tmp_path / "work" / "runs" / "study.json").write_text("{}")
    code, _, err = cli("audit", "runs")
    assert code == 2
    assert "results.nc: no such file" in err


@pytest.mark.slow
def test_the_environment_of_huggingface_hub_counts(hub, tmp_path, specs):
    """A process of its own, workers and all, which knows of the hub by its environment alone."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "CNTBENCH_CACHE": str(tmp_path / "cache"),
        "CNTBENCH_SPECS": str(specs),
    }
    command = [sys.executable, "-c", "from cntbench.cli.main import main; main()", "run", "quick"]

    def ran(jobs: int, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "-j", str(jobs)],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
        )

    hub.break_("step8", "model.safetensors", "status", status=404)
    first = ran(2)
    assert first.returncode == 3, first.stderr
    (line,) = first.stderr.splitlines()[1:]
    assert line == "  step8: missing: the hub cannot find its files"
    hub.mend()
    for file in ("config.json", "model.safetensors"):
        hf_hub_download("lab/tiny", file, revision="step8", cache_dir=tmp_path / "hf" / "hub")
    hub.requests.clear()
    again = ran(1, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stderr) == (0, "")
    assert "Measured 1 checkpoint, found 2 measured before." in again.stdout
    assert not hub.requests
    film = open_results(tmp_path / "runs" / "quick" / "results.nc")
    assert (film["status"] == "ok").all()


def test_golden_results_are_of_the_commits_that_were_frozen(hub, cli, monkeypatch):
    cli(*study())
    cli("golden", "freeze", "runs/quick/results.nc", "--to", "golden")
    hub.moved.add("step8")
    plans = []
    measure = golden_folder.run_shard
    monkeypatch.setattr(
        golden_folder,
        "run_shard",
        lambda plan, *rest, **options: plans.append(plan) or measure(plan, *rest, **options),
    )
    assert cli("golden", "check", "golden", "-j", 1)[0] == 0
    identities = plans[0].identity["checkpoints"]
    assert identities["step8"] == hub.commit("step8", moved=False)
