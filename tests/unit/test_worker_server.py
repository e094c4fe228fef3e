"""The server that workers are forked from imports beside its process, and ends with it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from cntbench import cli
from cntbench.cli.options import MEASURING

needs_server = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")

#: Imports for longer than the command that has started it lives.
SLOW = """
import os, time
open("server", "w").write(str(os.getpid()))
time.sleep(600)
"""

PRELOADED = """
import sys
from cntbench.parallel.processes import parallel_map
from cntbench.parallel.server import start_server

if __name__ == "__main__":
    start_server("library")
    known = "'library' in __import__('sys').modules"
    searched = "[__import__('library').SEARCHED, __import__('gc').isenabled()]"
    threads = "__import__('os').environ['OMP_NUM_THREADS']"
    torch = "'torch' in __import__('sys').modules"
    print(*parallel_map(eval, [known, threads, torch, searched], jobs=2))
"""


def ended(process: psutil.Process) -> bool:
    """Whether a process ends within a while."""
    for _ in range(500):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_the_modules_that_commands_name_for_their_workers_exist():
    """The server would silently go without one that has moved."""
    named = set(MEASURING)
    for path in Path(cli.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "begin_workers":
                named |= {part.value for part in node.args if isinstance(part, ast.Constant)}
    assert len(named) > len(MEASURING)
    assert not [name for name in named if find_spec(name) is None]


@needs_server
def test_a_command_that_ends_early_neither_waits_for_the_server_nor_leaves_it(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    script = (
        "import pathlib, time; from cntbench.parallel.server import start_server\n"
        "start_server('slow')\n"
        "while not (server := pathlib.Path('server')).exists() or not server.read_text():\n"
        "    time.sleep(0.02)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        check=True,
        timeout=300,
    )
    number = int((tmp_path / "server").read_text())
    assert not psutil.pid_exists(number) or ended(psutil.Process(number))


@needs_server
def test_workers_have_what_the_server_imported_and_no_more(tmp_path):
    """A worker of work without torch does not spend seconds on importing it.

    While the server imports, nothing is garbage.
    """
    (tmp_path / "script.py").write_text(PRELOADED)
    (tmp_path / "library.py").write_text("import gc\nSEARCHED = gc.isenabled()\n")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    printed = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    assert printed.split() == ["True", "1", "False", "[False,", "True]"]


def test_workers_search_for_garbage_even_if_a_library_is_broken(tmp_path):
    (tmp_path / "netCDF4.py").write_text("raise ImportError('broken')\n")
    script = (
        "import gc, contextlib, cntbench.parallel._gc_pause\n"
        "with contextlib.suppress(ImportError): import cntbench.parallel._gc_freeze\n"
        "print(gc.isenabled())\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    assert printed == "True\n"
