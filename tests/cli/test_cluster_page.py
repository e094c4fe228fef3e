"""The page about clusters works as it is written; test_documents has all else."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from support.documents import ROOT, page_block
from support.leash import leashed_shell
from support.runs import write_study
from support.trajectories import write_trajectory


@pytest.fixture
def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.mark.slow
def test_the_way_to_a_cluster_works_as_written(tmp_path, free_port):
    """All commands by a shell; for the page's study there is one that takes a second."""
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=1)
    commands = (
        "".join(
            page_block(ROOT / "docs" / "cluster.md", mark) for mark in ("local cluster", "shards")
        )
    ).replace("8786", str(free_port))
    commands = commands.replace("run nano", "run tiny")
    (tmp_path / "cntbench").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from cntbench.cli.main import main; main()" "$@"\n'
    )
    (tmp_path / "dask").write_text(f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n')
    for name in ("cntbench", "dask"):
        (tmp_path / name).chmod(0o755)
    with (
        (tmp_path / "errors").open("w") as errors,
        leashed_shell(
            commands,
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "CNTBENCH_SPECS": str(tmp_path / "specs"),
            },
            stderr=errors,
        ) as shell,
    ):
        code = shell.wait(timeout=400)
    assert code == 0, (tmp_path / "errors").read_text()
    found = {path.parent.name: path.read_bytes() for path in tmp_path.glob("runs/*/results.nc")}
    assert sorted(found) == ["local", "merged", "scheduled"]
    assert len(set(found.values())) == 1
