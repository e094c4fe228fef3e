"""Ctrl-C or SIGTERM at any moment gives exit code 130, and leaves no process and no half file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from rich.progress import Progress
from support.interrupting import start
from support.runs import write_study
from support.trajectories import run_cli, write_trajectory

from cntbench.parallel import interrupts
from cntbench.parallel.interrupts import interrupts_held, starting_processes
from cntbench.results.storage import open_results

RUN = ("run", "tiny", "-o", "run")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    return tmp_path


def alive(group: int) -> list[psutil.Process]:
    """Processes of a group that have not ended."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # one that ends meanwhile
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def interrupted_run(
    folder: Path, place: str, seconds: float, options: list[str], number: int = signal.SIGINT
) -> tuple[int, int]:
    """Interrupt a run at a place; returns how many checkpoints are kept, and of how many.

    Nothing is left of it but them.
    """
    process = start(place, seconds, [*RUN, "-j", "2", *options], folder / "errors", number)
    assert process.pid is not None
    try:
        process.join(timeout=300)
        err = (folder / "errors").read_text()
        assert process.exitcode == 130, err
        assert "Traceback" not in err, err
        assert "Warning" not in err, err
        assert "The same command resumes from there." in err
        kept = re.search(r"Interrupted: (\d+) of (\d+) checkpoints are kept\.", err)
        assert kept, err
        assert len(list(folder.glob("run/checkpoints/*.nc"))) == int(kept[1])
        assert not list(folder.rglob("*.tmp"))
        for _ in range(3000):  # what imports libraries notices when it has
            if not alive(process.pid):
                break
            time.sleep(0.02)
        assert not alive(process.pid)
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    return int(kept[1]), int(kept[2])


@pytest.mark.parametrize(
    ("place", "seconds", "kept", "options"),
    [
        # The server that workers are forked from imports libraries, which takes seconds.
        ("multiprocessing.forkserver:read_signed", 0.3, 0, []),
        ("concurrent.futures.process:ProcessPoolExecutor.submit", 0, 1, []),
        ("distributed:LocalCluster.__init__", 0, 0, ["--executor", "dask"]),
        ("cntbench.analysis.derived:film_metrics", 0, 3, ["-j", "1"]),
    ],
    ids=["importing", "starting", "clustering", "deriving"],
)
def test_a_run_that_starts_is_interrupted(folder, place, seconds, kept, options):
    assert interrupted_run(folder, place, seconds, options) == (kept, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_whose_workers_measure_is_interrupted_and_goes_on(
    folder, monkeypatch, capsys, number
):
    """When the first checkpoint is there, both workers have others."""
    write_trajectory(folder / "checkpoints", steps=tuple(range(200, 206)))
    kept, total = interrupted_run(folder, "cntbench.runs.prefetch:Prefetch.release", 0, [], number)
    assert 1 <= kept < total == 9
    for path in folder.glob("run/checkpoints/*.nc"):
        open_results(path)
    code, out, _ = run_cli(monkeypatch, capsys, *RUN, "-j", 1)
    assert code == 0
    assert f"found {kept} measured before" in out


COMMANDS = {
    "run": [*RUN, "-j", 1],
    "merge": ["merge", "run", "-o", "merged", "-j", 1],
    "claims": ["claims", "run/results.nc", "--draws", 19, "-j", 1],
    "compare": ["compare", "--trajectory", "dir:checkpoints", "--circuits", "chain", "-j", 1],
    "plan": ["plan", "tiny", "-o", "run", "-j", 1],
    "audit": ["audit", "dir:checkpoints"],
    "calibrate": ["calibrate", "long_tailed_weights", "--films", 2, "--draws", 19, "-j", 1],
    "golden": ["golden", "check", "golden", "-j", 1],
}
#: Those that read the result of a run.
READERS = ("merge", "claims", "golden")


def report_calls(monkeypatch, at: int, swallowed: bool) -> list[int]:
    """Have Ctrl-C pressed at one of the reports of progress; returns a list of all of them."""
    calls: list[int] = []
    update = Progress.update

    def interrupted(self, *arguments, **options):
        calls.append(len(calls))
        if len(calls) == at:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if not swallowed:
                    raise
        return update(self, *arguments, **options)

    monkeypatch.setattr(Progress, "update", interrupted)
    return calls


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_interrupted_wherever_it_is(folder, name, monkeypatch, capsys):
    command = COMMANDS[name]
    if name in READERS:
        assert run_cli(monkeypatch, capsys, *COMMANDS["run"])[0] == 0
        freeze = ("golden", "freeze", "run/results.nc", "--to", "golden")
        assert run_cli(monkeypatch, capsys, *freeze)[0] == 0
        before = Path("run/results.nc").read_bytes()
    for at, swallowed in (1, False), (1, True), (2, False):
        with monkeypatch.context() as patched:
            calls = report_calls(patched, at, swallowed)
            code, _, err = run_cli(patched, capsys, *command)
        assert len(calls) == at, "nothing goes on"
        assert (code, "Traceback" in err) == (130, False)
        assert err.count("Interrupted") == 1, "what has happened is said, once"
    if name in READERS:
        assert Path("run/results.nc").read_bytes() == before
    if name == "run":
        assert run_cli(monkeypatch, capsys, *command)[0] == 0
        open_results(Path("run/results.nc"))


def test_an_interrupt_while_a_report_is_written_is_no_success(folder, monkeypatch, capsys):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr("cntbench.reporting.page.write.write_page", interrupted)
        code, _, err = run_cli(patched, capsys, *COMMANDS["run"])
    assert (code, err.count("Interrupted.")) == (130, 1)
    open_results(Path("run/results.nc"))
    assert not interrupts.interrupted()  # nor is what this process does later


@pytest.mark.parametrize("moment", [interrupts_held, starting_processes])
def test_what_is_held_back_arrives(moment):
    done = []

    def interrupted_inside():
        with moment():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        interrupted_inside()
    assert done == ["whole"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_processes_begin_with_interrupts_blocked():
    with starting_processes():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.send_signal(signal.SIGINT)
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0


def test_an_interrupt_while_libraries_are_imported_is_one_sentence(tmp_path):
    """It is no moment of a command yet; a program that imports cntbench sees its interrupts."""
    (tmp_path / "xarray.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])

    def ends(*words: str) -> tuple[int, str]:
        process = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        return process.returncode, process.stderr

    assert ends("-m", "cntbench", "list", "tasks") == (-signal.SIGINT, "Interrupted.\n")
    code, err = ends("-c", "import cntbench")
    assert (code, "Traceback" in err) == (-signal.SIGINT, True)
