"""What may happen to a run, and that it costs no finished checkpoint and changes no byte."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
from support.losses import count_operations, in_process, run_and_die, run_command, start
from support.runs import plan_for, quiet
from support.trajectories import run_cli, write_trajectory

from cntbench.errors import CntbenchError, StorageError
from cntbench.results import storage
from cntbench.results.storage import open_results
from cntbench.runs import measurer as cells
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import LEAST_MEMORY, CheckpointMeasurer
from cntbench.runs.resources import Resources
from cntbench.runs.run import run


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("trajectory") / "checkpoints")


@pytest.fixture(scope="module")
def plan(checkpoints):
    return plan_for(checkpoints)


@pytest.fixture(scope="module")
def uninterrupted(plan, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run, which no test changes."""
    return run(
        plan, tmp_path_factory.mktemp("uninterrupted") / "run", jobs=1, progress=quiet
    ).path.parent


@pytest.fixture(scope="module")
def whole(uninterrupted):
    """The bytes of an uninterrupted run."""
    return (uninterrupted / "results.nc").read_bytes()


def test_kill_9_at_any_moment_costs_nothing(plan, checkpoints, whole, tmp_path):
    counted = tmp_path / "counted"
    assert in_process(count_operations, checkpoints, tmp_path / "count", 1, counted) == 0
    operations = int(counted.read_text())
    assert operations > 20
    kept = set()
    for at in np.random.default_rng(6).choice(operations, size=4, replace=False).tolist():
        folder = tmp_path / f"killed{at}"
        assert in_process(run_and_die, checkpoints, folder, 1, at) == -signal.SIGKILL
        assert not (folder / "results.nc").exists() or at > operations - 5
        finished = {path: path.stat().st_mtime_ns for path in folder.glob("checkpoints/step*.nc")}
        outcome = run(plan, folder, jobs=1, progress=quiet)
        assert outcome.path.read_bytes() == whole
        assert outcome.reused == len(finished)
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        assert not list(folder.rglob("*.tmp"))
        kept.add(len(finished))
    assert len(kept) > 1, "killed before and after checkpoint files were finished"


def test_kill_9_of_a_run_on_processes_costs_nothing(plan, checkpoints, whole, tmp_path):
    folder = tmp_path / "killed"
    assert in_process(run_and_die, checkpoints, folder, 2, 8) == -signal.SIGKILL
    outcome = run(plan, folder, jobs=1, progress=quiet)
    assert outcome.path.read_bytes() == whole


def test_what_killed_workers_wrote_is_removed_on_the_way_out(plan, tmp_path):
    """SIGTERM to a group reaches workers, too, and ends them while they write."""
    folder = RunFolder(tmp_path / "run")
    with suppress(KeyboardInterrupt), folder.locked(plan):
        folder.checkpoint_file(plan.subjects[0]).with_name(".step0.nc.0123.tmp").touch()
        raise KeyboardInterrupt
    assert not list(folder.path.rglob("*.tmp"))


def write_anew(path: Path, content: bytes) -> None:
    """Write another file in its place: HDF5 may have the old one open, and would go on with it."""
    path.unlink()
    path.write_bytes(content)


def test_any_damage_of_a_shard_is_found(plan, whole, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    path = folder / "checkpoints" / "step8.nc"
    good = path.read_bytes()
    before = open_results(path)
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.choice(len(good), size=40, replace=False).tolist():
        bad = bytearray(good)
        bad[position] ^= 0xFF
        write_anew(path, bytes(bad))
        read = RunFolder(folder).read_checkpoint_file(plan, plan.trajectory.checkpoints[1])
        refused += read is None
        assert read is None or read.identical(before.to_dataset()), position
    assert refused == 40, "HDF5 itself misses some, and crashes on others"
    for size in (0, 1, len(good) // 2, len(good) - 1):
        write_anew(path, good[:size])
        assert RunFolder(folder).read_checkpoint_file(plan, plan.trajectory.checkpoints[1]) is None
    outcome = run(plan, folder, jobs=1, progress=quiet)
    assert (outcome.measured, outcome.reused) == (1, 2)
    assert outcome.path.read_bytes() == whole


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_is_exit_code_2_and_costs_nothing(
    plan, checkpoints, whole, tmp_path, monkeypatch, capsys, code
):
    monkeypatch.chdir(tmp_path)
    study = ["--trajectory", f"dir:{checkpoints}", "--tasks", "induction", "--ablations", "zero"]
    write = storage.write_atomically

    def failing(path: Path, writer: Callable[[Path], None]) -> None:
        def full(unfinished: Path) -> None:
            writer(unfinished)
            raise OSError(code, os.strerror(code))

        write(path, full if path.name == "step8.nc" else writer)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write_atomically", failing)
        status, _, err = run_cli(
            patched, capsys, "run", *study, "--prompts", 2, "-o", "full", "-j", 1
        )
        assert status == 2
        assert f"step8.nc: cannot be written: {os.strerror(code)}" in err
        assert "Traceback" not in err
        with pytest.raises(StorageError, match="cannot be written"):
            run(plan, tmp_path / "again", jobs=1, progress=quiet)
    assert [path.name for path in (tmp_path / "again" / "checkpoints").iterdir()] == ["step0.nc"]
    outcome = run(plan, tmp_path / "again", jobs=1, progress=quiet)
    assert (outcome.measured, outcome.reused) == (2, 1)
    assert outcome.path.read_bytes() == whole


def test_a_disk_that_is_full_is_said_to_be_whatever_the_library_says(tmp_path, monkeypatch):
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("NetCDF: HDF error")

    with pytest.raises(StorageError, match="NetCDF: HDF error"):
        storage.write_atomically(tmp_path / "x.nc", write)
    usage = type("Usage", (), {"free": 4096})
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        storage.write_atomically(tmp_path / "x.nc", write)
    assert not list(tmp_path.iterdir())


def to_netcdf(path: Path) -> None:
    """Write as results are, by a library that tells a missing folder as missing permission."""
    xr.Dataset({"x": 1.0}).to_netcdf(path, engine="netcdf4")


@pytest.mark.parametrize("write", [to_netcdf, lambda path: path.write_text("x")])
@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("missing", "there is no folder {}"),
        ("file", "there is no folder {}"),
        ("/proc", "nothing new can be made there"),
        ("/sys", os.strerror(errno.EACCES)),
    ],
)
def test_it_is_said_why_a_file_cannot_be_written(tmp_path, write, folder, says):
    (tmp_path / "file").write_text("")
    place = tmp_path / folder
    if folder.startswith("/") and not place.is_mount():
        pytest.skip(f"there is no {folder} of the system")
    with pytest.raises(StorageError) as caught:
        storage.write_atomically(place / "x.nc", write)
    assert str(caught.value).startswith(f"{place}/x.nc: cannot be written: {says.format(place)}\n")


@pytest.mark.skipif(not Path("/proc").is_mount(), reason="there is no /proc")
def test_it_is_said_why_a_folder_cannot_be_made(plan):
    with pytest.raises(StorageError, match="/proc/x/y: the folder cannot be made: nothing new can"):
        storage.make_folder(Path("/proc/x/y"))
    with pytest.raises(CntbenchError, match="/proc/x: cannot be written: nothing new can be made"):
        run(plan, Path("/proc/x"), jobs=1, progress=quiet)


def test_a_worker_that_cannot_write_ends_the_run(plan, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints" / "step8.nc").mkdir(parents=True)  # nothing can be moved there
    with pytest.raises(StorageError, match=r"step8\.nc: is a folder"):
        run(plan, folder, jobs=2, progress=quiet)
    (folder / "checkpoints" / "step8.nc").rmdir()
    assert run(plan, folder, jobs=1, progress=quiet).reused >= 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("not enough memory: you tried to allocate 800 bytes."),
    ],
)
def test_a_model_for_which_memory_does_not_suffice_is_measured_by_smaller_pieces(
    plan, whole, tmp_path, monkeypatch, error
):
    budgets = []
    really = cells.measure

    def measure(*arguments, sources):
        budgets.append(arguments[-1])
        if arguments[-1] > 2**28 and arguments[1].name == "step8":
            raise error
        return really(*arguments)

    monkeypatch.setattr(cells, "measure", measure)
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    assert outcome.failed == {}
    assert budgets == [2**30, 2**30, 2**29, 2**28, 2**30]
    assert outcome.path.read_bytes() == whole, "the same pieces, as the model is a small one"


def test_memory_that_never_suffices_is_recorded(plan, tmp_path, monkeypatch):
    budgets = []

    def measure(*arguments, sources):
        budgets.append(arguments[-1])
        raise MemoryError("too much")

    monkeypatch.setattr(cells, "measure", measure)
    checkpoint = plan.trajectory.checkpoints[0]
    result = CheckpointMeasurer(plan, RunFolder(tmp_path), Resources(3 * LEAST_MEMORY)).measured(
        SourceBlock(checkpoint), checkpoint.origin.path
    )
    assert result.reason == "MemoryError: too much"
    assert budgets == [3 * LEAST_MEMORY, 3 * LEAST_MEMORY // 2, LEAST_MEMORY]


def test_other_errors_are_not_tried_again(plan, tmp_path, monkeypatch):
    tries = []

    def measure(*arguments, sources):
        tries.append(arguments)
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(cells, "measure", measure)
    checkpoint = plan.trajectory.checkpoints[0]
    result = CheckpointMeasurer(plan, RunFolder(tmp_path)).measured(
        SourceBlock(checkpoint), checkpoint.origin.path
    )
    assert (result.reason, len(tries)) == ("RuntimeError: shapes do not fit", 1)


def test_an_interrupt_while_a_file_is_written_waits_until_it_is_whole(
    whole, uninterrupted, tmp_path
):
    tree = open_results(uninterrupted / "results.nc")
    really = xr.Dataset.dump_to_store

    def interrupted(self, *arguments, **options):
        signal.raise_signal(signal.SIGINT)
        really(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(xr.Dataset, "dump_to_store", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.write_results(tree, tmp_path / "copy.nc")
    assert (tmp_path / "copy.nc").read_bytes() == whole


@pytest.mark.parametrize("forked", [False, True])
def test_workers_end_with_the_run_that_started_them(long_run, tmp_path, forked):
    process = start(run_command, [*long_run, str(tmp_path / "run")], forked=forked)
    until(lambda: list((tmp_path / "run").glob("checkpoints/step*.nc")))
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    process.kill()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@pytest.fixture(scope="module")
def long_run(tmp_path_factory) -> list[str]:
    """Arguments of a run that would take a while on two workers."""
    folder = write_trajectory(tmp_path_factory.mktemp("long"), steps=tuple(range(40)))
    return [
        *("run", "--trajectory", f"dir:{folder}", "--tasks", "induction", "--untrained", "0"),
        *("--prompts", "256", "-j", "2", "-o"),
    ]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens within ten minutes, however busy the machine is."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")
