"""Check that a command on a page exists, with all its options, without running it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

import typer

from cntbench.cli.main import app
from support.documents import ROOT


def check(command: str) -> None:
    """Fail if a command, one of its options or a file that it names does not exist."""
    words = shlex.split(command)
    while re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    name = "python" if words[0].startswith("python") else words[0]
    assert name in CHECKS, f"nothing is known of {name}: {command}"
    CHECKS[name](words[1:])


def _cntbench(words: list[str]) -> None:
    group = _commands()
    while hasattr(group, "commands"):
        assert words[0] in group.commands, f"no command {words[0]}"
        group, words = group.commands[words[0]], words[1:]
    group.make_context("cntbench", list(words))  # reads the options, and refuses unknown ones


@cache
def _commands() -> Any:
    return typer.main.get_command(app)


def _python(words: list[str]) -> None:
    assert words[0] == "-m"
    module = words[1].replace(".", "/")
    if module == "venv":
        return
    folders = (ROOT, ROOT / "tests")
    paths = [folder / f"{module}.py" for folder in folders if (folder / f"{module}.py").is_file()]
    assert paths, f"no module {words[1]}"
    package = "".join(path.read_text("utf-8") for path in paths[0].parent.glob("*.py"))
    for option in _options(words[2:]):
        assert f'"{option}"' in package, f"{words[1]} knows no {option}"


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    for extras in re.findall(r"\[(.*?)\]", " ".join(words)):
        for extra in extras.split(","):
            assert extra in _extras(), f"no extra {extra}"


def _pytest(words: list[str]) -> None:
    for option in _options(words):
        known = re.search(rf"(?<![\w-]){option}(?![\w-])", _pytest_options())
        assert known, f"pytest knows no {option}"
    for path in (word for word in words if word.startswith(("tests", "benchmarks"))):
        assert (ROOT / path).exists(), f"there is no {path}"


def _developing(program: str) -> Callable[[list[str]], None]:
    """Tools that whoever changes the project runs on it."""

    def check(words: list[str]) -> None:
        assert any(needed.startswith(program) for needed in _extras()["dev"])

    return check


def _tool(program: str, module: str) -> Callable[[list[str]], None]:
    def check(words: list[str]) -> None:
        for option in _options(words):
            assert option in _help(module, words[0]), f"{program} {words[0]} knows no {option}"

    return check


def _sphinx(words: list[str]) -> None:
    for option in _options(words):
        assert option in _help("sphinx"), f"sphinx-build knows no {option}"
    assert (ROOT / words[-2] / "conf.py").is_file()


def _source(words: list[str]) -> None:
    assert words == [".venv/bin/activate"]


CHECKS = {
    "cntbench": _cntbench,
    "python": _python,
    "pip": _pip,
    "pytest": _pytest,
    "ruff": _developing("ruff"),
    "mypy": _developing("mypy"),
    "pre-commit": _developing("pre-commit"),
    "hf": _tool("hf", "huggingface_hub.cli.hf"),
    "dask": _tool("dask", "dask"),
    "sphinx-build": _sphinx,
    ".": _source,
}


def _options(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("-")]


@cache
def _help(module: str, *words: str) -> str:
    command = [sys.executable, "-m", module, *words, "--help"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


@cache
def _pytest_options() -> str:
    """Return the help of pytest and what defines options of this project.

    The project's files are read, not run: they import torch, which takes seconds.
    """
    files = ("tests/conftest.py", "benchmarks/conftest.py", "cntbench/testing.py")
    own = [(ROOT / name).read_text("utf-8") for name in files]
    return "\n".join([_help("pytest", "--noconftest"), *own])


@cache
def _extras() -> dict[str, list[str]]:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras: dict[str, list[str]] = about["project"]["optional-dependencies"]
    return extras
