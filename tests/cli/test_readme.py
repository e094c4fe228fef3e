"""What the README says can be typed works."""

from __future__ import annotations

import re
from pathlib import Path

from support.trajectories import run_cli, write_trajectory

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_blocks_run_on_a_result(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = write_trajectory(tmp_path / "checkpoints", heads=4)
    options = ["--tasks", "induction", "--ablations", "resample", "--prompts", 2, "-j", 1]
    assert run_cli(monkeypatch, capsys, "run", "--trajectory", f"dir:{folder}", *options)[0] == 0
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), {})


def test_every_command_of_the_readme_exists(monkeypatch, capsys):
    commands = re.findall(r"^cntbench (\w+).*$", "\n".join(blocks("sh")), re.MULTILINE)
    assert {"run", "plan", "show", "audit", "list", "compare"} == set(commands)
    for command in set(commands):
        assert run_cli(monkeypatch, capsys, command, "--help")[0] == 0


def test_every_option_of_the_readme_exists(monkeypatch, capsys):
    for line in re.findall(r"^cntbench (\w+)(.*)$", "\n".join(blocks("sh")), re.MULTILINE):
        command, rest = line
        _, shown, _ = run_cli(monkeypatch, capsys, command, "--help")
        for option in re.findall(r"(?<!\S)(--?\w+)", rest.split("#")[0]):
            assert option in shown, f"{command} {option}"
