"""Settings of every test: one thread, and reproducible hypothesis runs."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A shell that starts tests in the background has Ctrl-C ignored in them and in what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure, and a failure prints how to repeat it. On CI the examples are
# always the same ones, so that a red build means a changed program.
# ``--hypothesis-profile thorough`` tries ten times as many examples where a test names no number.
settings.register_profile(
    "local",
    max_examples=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("local"), max_examples=200)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_pycollect_makemodule() -> None:
    """Set up what a process uses that collects tests: the one that starts them imports nothing."""
    gc.disable()  # until all tests are collected
    import torch  # noqa: F401  so that its threads are set
    from transformers.utils import logging

    from cntbench.parallel.processes import use_one_thread

    use_one_thread()
    logging.disable_progress_bar()


def pytest_collection_finish() -> None:
    """Exempt what imports and collection have made from garbage collection, which it outlives."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Measure the golden results anew."
    )
    parser.addoption(
        "--every-checkpoint",
        action="store_true",
        help="Compare every checkpoint of the golden trajectory on every task, not some.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden", default=False) and os.environ.get("CI"):
        raise pytest.UsageError("CI never updates golden results")


#: What parts the tests of files that take long: the task of golden results, or the function.
PARTS = {
    "tests/golden/test_golden.py": r"\[\w+-",
    "tests/property/test_claims_calibration.py": r"::\w+",
    "tests/property/test_common_ablation_checks.py": r"::\w+",
}


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Start one worker more than there are cores: tests of processes and browsers often wait."""
    count = yield
    return count if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else count + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give workers whole files, whose fixtures are made once, or the parts of long ones."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            """Name the work unit of a test: its file, and what else parts it, if that is long."""
            file = super()._split_scope(nodeid)
            part = re.search(PARTS.get(file, "$"), nodeid)
            return f"{file}{part[0]}" if part else file

    return Scheduler(config, log)


@pytest.fixture(scope="module")
def forked_workers() -> Iterator[None]:
    """Fork the workers of Dask clusters as those of runs on processes: they start at once."""
    from multiprocessing import forkserver

    import dask
    from distributed.utils import get_mp_context

    from cntbench.parallel.interrupts import starting_processes

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context()  # sets what Dask preloads, once; the next line adds the rest
        multiprocessing.set_forkserver_preload(
            [
                *("cntbench.parallel._gc_pause", "distributed", "cntbench.runs.run"),
                *("cntbench.runs.executors.dask", "transformers.modeling_utils"),
                "cntbench.parallel._gc_freeze",
            ]
        )
        with starting_processes():
            forkserver.ensure_running()
        yield


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with a small model's revisions step0, step8, step100, which this process asks."""
    from support.hub_server import serving, use
    from support.trajectories import write_trajectory

    write_trajectory(tmp_path / "served")
    with serving(tmp_path / "served") as served:
        use(served, tmp_path / "home", monkeypatch)
        yield served
