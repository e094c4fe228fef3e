"""The commands of the page about clusters work as written; test_documents runs all others."""

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
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_the_way_to_a_cluster_works_as_written(tmp_path, free_port):
    """A shell runs all commands, with a study that takes a second and one process per shard."""
    write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=1)
    commands = (
        "".join(
            page_block(ROOT / "docs" / "cluster.md", mark) for mark in ("local cluster", "shards")
        )
    ).replace("8786", str(free_port))
    commands = commands.replace("run nano", "run tiny")
    commands = commands.replace("run tiny --shard", "run tiny --jobs 1 --shard")
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
    results = {path.parent.name: path.read_bytes() for path in tmp_path.glob("runs/*/results.nc")}
    assert sorted(results) == ["local", "merged", "scheduled"]
    assert len(set(results.values())) == 1
