"""A Dask cluster gives the bytes of a run in one process, whatever happens to its workers."""

from __future__ import annotations

import http.client
import socket
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster
from support.documents import ROOT, page_block
from support.killing import DeadlyCells, Killer, MeetingCells
from support.runs import plan_for, quiet, write_study
from support.trajectories import run_cli, spoil, write_trajectory

from cntbench.runs.blocks import SourceBlock
from cntbench.runs.executors import dask
from cntbench.runs.run import run


@pytest.fixture(scope="module")
def cluster(forked_workers):
    """A running cluster of two workers, as `dask scheduler` and `dask worker` make one."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectory") / "checkpoints"
    return write_trajectory(folder, steps=tuple(range(6)))


@pytest.fixture(scope="module")
def plan(checkpoints):
    return plan_for(checkpoints)


@pytest.fixture(scope="module")
def result(plan, tmp_path_factory):
    """The result of a run in this process."""
    return run(plan, tmp_path_factory.mktemp("whole") / "run", jobs=1, progress=quiet).path


@pytest.fixture(scope="module")
def whole(result):
    """Its bytes."""
    return result.read_bytes()


def test_a_worker_that_is_killed_costs_nothing(cluster, plan, whole, tmp_path, monkeypatch):
    killer = Killer(tmp_path / "deaths", 1)
    deadly = partial(DeadlyCells, killer=killer, victim=SourceBlock(plan.subjects[2]))
    monkeypatch.setattr("cntbench.runs.run.CheckpointMeasurer", deadly)
    on_cluster = partial(dask.execute, scheduler=cluster.scheduler_address)
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet, execute=on_cluster)
    assert killer.deaths == 1
    assert (outcome.measured, outcome.failed) == (6, {})
    assert outcome.path.read_bytes() == whole


def test_a_users_plug_ins_travel_with_the_plan(cluster, checkpoints, tmp_path, monkeypatch):
    """Workers compute with what the client has read; the file need not be there for them."""
    guide, own = ROOT / "CONTRIBUTING.md", tmp_path / "own"
    for name, mark in (
        ("replacements/shrink.py", "replacement"),
        ("ablations/half.toml", "ablation"),
    ):
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text(page_block(guide, mark))
    monkeypatch.setenv("CNTBENCH_SPECS", str(own))
    plan = plan_for(checkpoints, ablations=("half", "zero"))
    (own / "replacements" / "shrink.py").unlink()
    on_cluster = partial(dask.execute, scheduler=cluster.scheduler_address)
    outcome = run(plan, tmp_path / "run", jobs=2, progress=quiet, execute=on_cluster)
    alone = run(plan, tmp_path / "alone", jobs=1, progress=quiet)
    assert outcome.failed == {}
    assert outcome.path.read_bytes() == alone.path.read_bytes()


def test_a_worker_that_comes_later_is_used(forked_workers, plan, whole, tmp_path, monkeypatch):
    waiting = partial(MeetingCells, place=tmp_path / "workers")
    monkeypatch.setattr("cntbench.runs.run.CheckpointMeasurer", waiting)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as growing,
        Client(growing.scheduler_address) as client,
    ):

        def grow_after_the_first(what: str, done: int, total: int) -> None:
            if what.startswith("measured") and len(client.nthreads()) == 1:
                growing.scale(2)
                client.wait_for_workers(2)

        on_cluster = partial(dask.execute, scheduler=growing.scheduler_address)
        outcome = run(
            plan, tmp_path / "run", jobs=1, progress=grow_after_the_first, execute=on_cluster
        )
    assert len(list((tmp_path / "workers").iterdir())) == 2
    assert outcome.path.read_bytes() == whole


def test_a_checkpoint_that_fails_costs_no_other(cluster, tmp_path):
    checkpoints = write_trajectory(tmp_path / "checkpoints", steps=(0, 1, 3))
    spoil(checkpoints / "step3")
    plan = plan_for(checkpoints)
    here = run(plan, tmp_path / "here", jobs=1, progress=quiet)
    on_cluster = partial(dask.execute, scheduler=cluster.scheduler_address)
    there = run(plan, tmp_path / "there", jobs=1, progress=quiet, execute=on_cluster)
    assert list(there.failed) == ["step3"]
    assert there.failed == here.failed
    assert there.path.read_bytes() == here.path.read_bytes()


def test_the_command_line_measures_on_clusters(
    cluster, result, checkpoints, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "specs", "tiny", checkpoints, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    for ways in (["--scheduler", cluster.scheduler_address], ["--executor", "serial"]):
        folder = tmp_path / ways[1].replace("/", "_")
        options = ["-o", folder, "-j", 2, *ways]
        code, out, err = run_cli(monkeypatch, capsys, "run", "tiny", *options)
        assert (code, err) == (0, "")
        assert "Measured 6 checkpoints" in out
        files = [path.read_bytes() for path in sorted(folder.glob("checkpoints/*.nc"))]
        here = sorted((result.parent / "checkpoints").iterdir())
        assert files == [path.read_bytes() for path in here]


@pytest.fixture
def silent():
    """The address of somebody who takes calls and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"


ADDRESSES = [
    *("zz", "", "a b", "nonsense://x", "silent"),
    *("tcp://", "tcp://x", "tcp://x:1", "tcp://[::1", "tcp://127.0.0.1:x"),
    *("tcp://127.0.0.1:1", "tcp://127.0.0.1:99999", "tls://127.0.0.1:1"),
]


@pytest.mark.parametrize("way", [[], ["--executor", "dask"], ["--shard", "1/2"]])
def test_an_address_where_no_scheduler_answers_leaves_nothing(
    checkpoints, silent, tmp_path, monkeypatch, capsys, way
):
    """One line and a hint, in time, and the next run in the folder may be any other one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask, "PATIENCE", 0.3)
    waits: list[float | None] = []

    class Watched(Future[object]):
        def result(self, timeout: float | None = None) -> object:
            waits.append(timeout)
            return super().result(timeout)

    monkeypatch.setattr(dask, "Future", Watched)
    study = ["--trajectory", f"dir:{checkpoints}", "--tasks", "induction", "--ablations", "zero"]
    for address in ADDRESSES:
        address = silent if address == "silent" else address
        waits.clear()
        code, out, err = run_cli(
            monkeypatch, capsys, "run", *study, "-o", "here", *way, "--scheduler", address
        )
        assert waits == [0.3]
        assert (code, out) == (2, "")
        first, hint = err.splitlines()
        assert "no Dask scheduler answers: " in first
        assert hint.startswith("Start one with 'dask scheduler'")
        assert not Path("here").exists()


def test_whoever_waits_for_a_scheduler_waits_ten_seconds_at_most():
    assert dask.PATIENCE <= 10


def test_a_scheduler_is_dasks(checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ways = ["--executor", "serial", "--scheduler", "tcp://127.0.0.1:1"]
    code, _, err = run_cli(monkeypatch, capsys, "run", "--trajectory", f"dir:{checkpoints}", *ways)
    assert (code, "a scheduler is Dask's" in err) == (2, True)
    assert not Path("runs").exists()


def test_a_cluster_of_this_machine_is_open_to_nobody_else(plan, tmp_path):
    """All it listens on is the loopback; its pages are not there."""
    listening: set[str] = set()
    pages: list[int] = []
    others = set(LocalCluster._instances)

    def look(what: str, done: int, total: int) -> None:
        ours = psutil.Process()
        for process in (ours, *ours.children(recursive=True)):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    listening.add(connection.laddr.ip)
        if what.startswith("measured") and not pages:
            [cluster] = set(LocalCluster._instances) - others
            for page in ("status", "info/main/workers.html", "json/counts.json"):
                door = http.client.HTTPConnection("127.0.0.1", cluster.scheduler.http_server.port)
                door.request("GET", f"/{page}")
                pages.append(door.getresponse().status)
                door.close()

    run(plan, tmp_path / "run", jobs=2, progress=look, execute=dask.execute)
    assert listening == {"127.0.0.1"}
    assert pages == [404] * 3


def test_without_dask_the_extra_is_named(checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = run_cli(
        monkeypatch, capsys, "run", "--trajectory", f"dir:{checkpoints}", "--executor", "dask"
    )
    assert (code, "Dask is not installed\npip install 'cntbench[dask]'" in err) == (2, True)
    assert not (tmp_path / "runs").exists()
