"""The command line: what users type, what they see, and exit codes."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys

import pytest
import typer
from support.runs import write_study
from support.trajectories import run_cli_in, spoil, write_trajectory

from cntbench.cli.main import app
from cntbench.plugins import room, shipped_folder
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import Catalogue


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The name and the options of a study that takes a second: two tasks, nothing derived."""
    folder = write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", folder, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    return ["tiny", "--tasks", "induction, bigram"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder in which such a study was run, and what the run printed."""
    folder = tmp_path_factory.mktemp("measured")
    checkpoints = write_trajectory(folder / "checkpoints")
    write_study(folder / "specs", "tiny", checkpoints, untrained=0)
    study = ["tiny", "--specs", "specs", "--tasks", "induction, bigram"]
    code, out, _ = run_cli_in(folder, "run", *study, "-j", 1)
    assert code == 0
    return folder, out


@pytest.fixture
def again(cli, measured, tmp_path):
    """Run it again in a copy, with other options."""
    shutil.copytree(measured[0], tmp_path, dirs_exist_ok=True)
    study = ["tiny", "--specs", "specs", "--tasks", "induction, bigram"]
    return lambda *options: cli("run", *study, "-j", 1, *options)


def test_run_measures_and_says_what_it_found_and_where(cli, tmp_path, monkeypatch):
    """A study with all that a run derives, on one task, few prompts and circuits and few draws."""
    known = Catalogue.known_circuits
    monkeypatch.setattr(Catalogue, "known_circuits", lambda self: known(self, ["chain"]))
    folder = write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "whole", folder, untrained=1, null_draws=19)
    spec = tmp_path / "specs" / "studies" / "whole.toml"
    spec.write_text(spec.read_text().replace("planted = false", "planted = true"))
    study = ["whole", "--specs", "specs"]
    code, out, err = cli("run", *study, "-j", 1)
    assert (code, err) == (0, "")
    assert "Readouts of the clean model at steps 0, 8, 100" in out
    assert "Strongest sources and targets on induction at step 100" in out
    assert "± standard error" in " ".join(out.split())
    assert "Measured 3 checkpoints, found 0 measured before." in out
    path = tmp_path / "runs" / "whole" / "results.nc"
    assert set(open_results(path).children) >= {"claims", "comparison", "metrics", "nulls", "roles"}
    assert f"cntbench show {path.relative_to(tmp_path)}" in out
    assert open_results(path).sizes["checkpoint"] == 3
    page = path.with_name("report.html")
    assert f"is in {page.relative_to(tmp_path)}." in out
    assert "induction" in page.read_text(encoding="utf-8")
    code, out, err = cli("run", *study, "-j", 1)
    assert (code, err) == (0, "")
    assert "Measured 0 checkpoints, found 3 measured before." in out


def test_a_report_that_cannot_be_written_costs_nothing_else(again, tmp_path):
    page = tmp_path / "runs" / "tiny" / "report.html"
    page.unlink()
    page.mkdir()
    code, out, err = again()
    assert code == 0
    assert "Measured 0 checkpoints, found 3 measured before." in out
    assert err.startswith("The report was not written: runs/tiny/report.html: is a folder")


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_models_of_other_architectures_are_measured(cli, study, tmp_path, architecture):
    write_trajectory(tmp_path / "checkpoints", architecture=architecture)
    code, out, err = cli("run", *study, "-j", 1)
    assert (code, err) == (0, "")
    assert "Measured 3 checkpoints, found 0 measured before." in out
    influence = open_results(tmp_path / "runs" / "tiny" / "results.nc")["influence"]
    assert (influence.sel(source="L0.H1", target="L0.MLP") > 0).all()
    assert influence.sel(source="L0.MLP", target="L0.H1").isnull().all()


def test_the_command_it_prints_reads_the_result(measured):
    folder, out = measured
    command = re.search(r"python -c \"(.*)\"\n", out)
    shown = subprocess.run(
        [sys.executable, "-c", command[1]], cwd=folder, capture_output=True, text=True, check=True
    )
    for name in ("influence", "readout_value", "target_layer", "step", "status"):
        assert name in shown.stdout


def test_garbage_is_seldom_searched_for_while_libraries_are_imported(cli):
    gc.set_threshold(700)
    assert cli("list", "tasks")[0] == 0
    assert gc.get_threshold()[0] == 10_000


def test_show_prints_the_tables_of_a_result(cli, measured):
    folder, ran = measured
    code, shown, err = cli("show", folder / "runs" / "tiny" / "results.nc")
    assert (code, err) == (0, "")
    assert shown.strip()
    assert shown.strip() in ran


def test_an_encoding_without_some_characters_and_no_width_lose_nothing(measured):
    folder, _ = measured
    words = [sys.executable, "-m", "cntbench", "show", "runs/tiny/results.nc"]
    odd = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "0"}
    shown = subprocess.run(words, cwd=folder, env=odd, capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\xb1" in shown.stdout, "±, with which other encodings would end the command"
    assert "L0.MLP" in shown.stdout


@pytest.mark.parametrize("words", ["show runs/tiny/results.nc", "list metrics", "--help"])
def test_a_reader_that_has_ended_ends_a_command_quietly(measured, words):
    """As the signal that other programs end by; 1 would say that numbers have moved."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cntbench", *words.split()]
    ended = subprocess.run(command, cwd=measured[0], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_package_with_a_malformed_file_of_entry_points_is_named(tmp_path):
    """No library that looks for plug-ins of its own can be imported beside it."""
    folder = tmp_path / "damaged-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[console_scripts]\na line without a value\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-m", "cntbench", "list", "tasks"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert f"{tmp_path}: the entry_points.txt of the installed package damaged" in ended.stderr


def test_a_folder_whose_name_is_not_utf8_is_no_defect(cli, measured, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xe4")
    odd.mkdir()
    result = measured[0] / "runs" / "tiny" / "results.nc"
    copy = shutil.copy(result, tmp_path)
    code, _, err = cli("compare", "--results", result, "--results", copy, "-o", odd / "c.nc")
    assert code == 2
    assert r"\udce4/" in err
    assert "Rename the file or the folder." in err


def test_a_failed_checkpoint_is_named_and_the_exit_code_is_3(cli, study, monkeypatch):
    from cntbench.models.trajectory import Trajectory

    read = Trajectory.read

    def broken(self, checkpoint, folder, dtype):
        if checkpoint.name == "step8":
            raise RuntimeError("no [luck]")
        return read(self, checkpoint, folder, dtype)

    monkeypatch.setattr(Trajectory, "read", broken)
    code, out, err = cli("run", *study, "-j", 1)
    assert code == 3
    assert "1 checkpoint could not be measured; the same command tries them again" in err
    assert "step8: failed: RuntimeError: no [luck]" in err
    assert "step8: failed: RuntimeError: no [luck]" in out
    monkeypatch.setattr(Trajectory, "read", read)
    code, out, _ = cli("run", *study, "-j", 1)
    assert code == 0
    assert "Measured 1 checkpoint, found 2 measured before." in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nanno"], ["unknown study 'nanno'", "Did you mean 'nano'"]),
        (["run", "--tasks", "inducton"], ["unknown task 'inducton'", "Did you mean 'induction'"]),
        (["run", "--tasks", ","], ["tasks = [] is not allowed"]),
        (["run", "--ablations", "zer"], ["unknown ablation 'zer'", "Did you mean 'zero'"]),
        (["run", "--trajectory", "nanoo"], ["unknown trajectory source 'nanoo'", "'nano'"]),
        (["run", "--trajectory", "dir:nowhere"], ["nowhere: no such folder"]),
        (["run", "--prompts", "0"], ["prompts = 0 is not allowed"]),
        (["run", "--specs", "nowhere"], ["nowhere: is not a folder of specs"]),
        (["show", "none.nc"], ["none.nc: no such file"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(mistake, tmp_path, arguments, says):
    mistake(*arguments, says=says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["runn"], ["run", "--job", "2"], ["list", "task"], ["run", "-j", "0"]]
)
def test_a_mistyped_command_is_exit_code_2(cli, arguments):
    code, _, err = cli(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_checkpoints_of_the_same_fate_are_told_in_one_line(cli, study, tmp_path):
    write_trajectory(tmp_path / "checkpoints", steps=tuple(range(200, 210)))
    for step in (8, *range(200, 210)):
        spoil(tmp_path / "checkpoints" / f"step{step}")
    code, _, err = cli("run", *study, "-j", 1)
    assert code == 3
    first, *lines = err.splitlines()
    assert first == "11 checkpoints could not be measured; the same command tries them again:"
    assert lines == [
        "  step8, step200, step201, step202, step203, step204, step205, step206 and 3 more: "
        "failed: tensor 'gpt_neox.final_layer_norm.bias' has non-finite numbers"
    ]
    status = open_results(tmp_path / "runs" / "tiny" / "results.nc")["status"]
    assert (
        list((status == "failed").all(["task", "ablation"]).values)
        == [False, True, False] + [True] * 10
    )


def test_a_damaged_result_is_refused(cli, measured, tmp_path):
    path = tmp_path / "results.nc"
    whole = measured[0] / "runs" / "tiny" / "results.nc"
    path.write_bytes(whole.read_bytes()[:5000])
    code, _, err = cli("show", path)
    assert code == 2
    assert "truncated" in err


def test_the_folder_of_another_study_is_refused(again):
    code, _, err = again("--seed", 5)
    assert code == 2
    assert "belongs to another study; different: seed" in err


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tasks", ["induction v1", "single_repeat v1"]),
        ("ablations", ["zero v1", "resample v1"]),
        ("studies", ["nano v1"]),
        ("planted", ["chain v1", "induction v1"]),
        ("generators", ["repeated_block"]),
        ("replacements", ["zero", "noise"]),
        ("measures", ["relative_l2", "cosine"]),
        ("estimators", ["exact", "eap", "eap_ig"]),
        ("metrics", ["gini", "turnover", "modularity"]),
        ("nulls", ["layer_pairs", "time_order"]),
        ("backbones", ["disparity v1", "top_k v1"]),
        ("sources", ["nano", "dir", "planted"]),
        ("architectures", ["llama", "olmo", "gemma", "gpt2"]),
    ],
)
def test_list_shows_names_summaries_and_files(cli, kind, names):
    code, out, err = cli("list", kind)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name in names:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}  "))
        assert len(lines[at]) > len(name) + 10
        path = lines[at + 1].strip()
        assert os.path.isfile(path), path  # noqa: PTH113


def test_list_says_what_an_ablation_measures(cli):
    _, out, _ = cli("list", "ablations")
    for line in [
        "zero v1  (total effect on the target) ",
        "zero_direct v1  (direct effect on the target) ",
        "resample_readout v1  (direct effect on the readout) ",
        "resample_eap_ig v1  (direct effect on the readout, by eap_ig) ",
    ]:
        assert f"\n{line}" in f"\n{out}"


def test_list_says_what_is_exact_of_an_architecture(cli):
    _, out, _ = cli("list", "architectures")
    assert "model_type olmo2, olmo3\n    exact: norms after sublayers, QK-norm" in out
    assert out.count("    exact: ") == len(room("adapter"))


def test_list_shows_a_users_specs(cli, tmp_path):
    shipped = shipped_folder() / "ablations" / "zero.toml"
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "mine.toml").write_text(shipped.read_text())
    code, out, _ = cli("list", "ablations", "--specs", tmp_path)
    assert code == 0
    assert "mine v1" in out


def test_version_and_help(cli):
    assert cli("--version")[1].startswith("cntbench ")
    code, out, _ = cli("run", "--help")
    assert code == 0
    assert "--trajectory" in out


def test_help_says_what_is_written_of_options():
    """Brackets would be taken for markup, and left out."""
    commands = typer.main.get_command(app).commands
    groups = {
        name: getattr(command, "commands", {"": command}) for name, command in commands.items()
    }
    texts = {
        f"{name} {below} {option.name}": option.help or ""
        for name, subcommands in groups.items()
        for below, command in subcommands.items()
        for option in command.params
        if hasattr(option, "help")
    }
    assert any("default: runs/STUDY" in text for text in texts.values())
    assert not {name: text for name, text in texts.items() if "[" in text}
