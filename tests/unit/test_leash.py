"""Processes that tests start end with them, even if a test is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from support.documents import ROOT
from support.leash import leashed_shell


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_killed_test_has_started_ends(tmp_path, number):
    os.mkfifo(tmp_path / "started")
    commands = f"sleep 600 & sleep 600 & echo $$ > {tmp_path}/started; wait"
    with subprocess.Popen(
        [sys.executable, "-m", "support.leash", commands],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        stderr=subprocess.DEVNULL,
    ) as test:
        shell = psutil.Process(int((tmp_path / "started").read_text()))
        started = [shell, *shell.children(recursive=True)]
        assert len(started) >= 3
        test.send_signal(number)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive


def test_what_is_left_running_ends_with_the_context():
    with leashed_shell("sleep 600 & sleep 600 & wait") as shell:
        leader = psutil.Process(shell.pid)
    _, alive = psutil.wait_procs([leader], timeout=60)
    assert not alive
