"""What the README says can be typed works."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import write_study
from support.trajectories import run_cli, write_trajectory

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_blocks_run_on_a_result(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = write_trajectory(tmp_path / "checkpoints", heads=4)
    options = ["--tasks", "induction", "--ablations", "resample", "--prompts", 2, "-j", 1]
    assert run_cli(monkeypatch, capsys, "run", "--trajectory", f"dir:{folder}", *options)[0] == 0
    assert blocks("python")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)


def test_every_command_of_the_readme_exists(monkeypatch, capsys):
    commands = re.findall(r"^cntbench (\w+).*$", "\n".join(blocks("sh")), re.MULTILINE)
    assert set(commands) == {
        *("run", "plan", "merge", "show", "claims", "audit", "list", "compare", "report"),
        *("figures", "export", "import", "golden"),
    }
    for command in set(commands):
        assert run_cli(monkeypatch, capsys, command, "--help")[0] == 0


def test_every_option_of_the_readme_exists(monkeypatch, capsys):
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    for line in re.findall(r"^cntbench (golden \w+|\w+)(.*)$", text, re.MULTILINE):
        command, rest = line
        _, shown, _ = run_cli(monkeypatch, capsys, *command.split(), "--help")
        for option in re.findall(r"(?<!\S)(--?\w+)", rest.split("#")[0]):
            assert option in shown, f"{command} {option}"


def marked(name: str) -> str:
    """Return the block that follows a comment."""
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.slow
def test_the_way_to_a_cluster_works_as_written(tmp_path, free_port):
    """All commands by a shell; for the README's study there is one that takes a second."""
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=1)
    commands = (marked("local cluster") + marked("shares")).replace("8786", str(free_port))
    commands = commands.replace("run nano", "run tiny")
    (tmp_path / "cntbench").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from cntbench.cli import main; main()" "$@"\n'
    )
    (tmp_path / "dask").write_text(f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n')
    for name in ("cntbench", "dask"):
        (tmp_path / name).chmod(0o755)
    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            ["sh", "-e", "-c", commands],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "CNTBENCH_SPECS": str(tmp_path / "specs"),
            },
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        ) as shell,
    ):
        try:
            code = shell.wait(timeout=400)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # scheduler and workers run on
    assert code == 0, (tmp_path / "errors").read_text()
    found = {path.parent.name: path.read_bytes() for path in tmp_path.glob("runs/*/results.nc")}
    assert sorted(found) == ["local", "merged", "scheduled"]
    assert len(set(found.values())) == 1
