"""The commands of the page about clusters work as written; test_documents runs all others.

Dask's own run in a shell; those of cntbench run in this process, as on the other pages.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys

import pytest
from support.documents import ROOT, commands, page_block
from support.leash import leashed_shell
from support.runs import write_study
from support.trajectories import run_cli, write_trajectory


@pytest.fixture
def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_the_way_to_a_cluster_works_as_written(tmp_path, free_port, monkeypatch, capsys):
    """All commands run, with a study that takes a second and one process per shard."""
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    page = ROOT / "docs" / "cluster.md"
    text = page_block(page, "local cluster") + page_block(page, "shards")
    text = text.replace("8786", str(free_port)).replace("run nano", "run tiny")
    text = text.replace("run tiny --shard", "run tiny --jobs 1 --shard")
    text = text.replace("--nworkers 2", "--nworkers 1")  # each imports libraries, for seconds
    lines = text.splitlines(keepends=True)
    background = [line for line in lines if line.startswith("dask ")]
    foreground = [line for line in lines if line not in background]
    dask = tmp_path / "dask"
    dask.write_text(f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n')
    dask.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with (
        (tmp_path / "errors").open("w") as errors,
        leashed_shell(
            "".join([*background, "wait"]),
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stderr=errors,
        ),
    ):
        for command in commands("".join(foreground)):
            program, *arguments = shlex.split(command)
            assert program == "cntbench"
            code, out, err = run_cli(monkeypatch, capsys, *arguments)
            assert code == 0, f"{command}\n{out}\n{err}\n{(tmp_path / 'errors').read_text()}"
    results = {path.parent.name: path.read_bytes() for path in tmp_path.glob("runs/*/results.nc")}
    assert sorted(results) == ["local", "merged", "scheduled"]
    assert len(set(results.values())) == 1
