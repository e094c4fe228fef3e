"""The next model is read and copied while the present one is measured. There is no GPU here."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from support.ahead import CopiedAhead, told_next
from support.killing import DeadlyCells, Killer
from support.models import decoder, random_model
from support.runs import plan_for, quiet
from support.trajectories import write_trajectory

from cntbench.models import precision
from cntbench.models.checkpoint_files import config_identity
from cntbench.models.device import memory_of
from cntbench.models.precision import copied_ahead, mapped, weight_bytes
from cntbench.parallel.processes import Workers
from cntbench.runs import measurer as measurer_module
from cntbench.runs import run as runner
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.executors import Executor, processes, select_executor
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.resources import Resources
from cntbench.runs.run import run

#: How long a thread waits for another one before it fails [s].
PATIENCE = 60


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectory") / "checkpoints"
    return plan_for(write_trajectory(folder, steps=(0, 8, 16, 24)), untrained=1, blocks=2)


@pytest.fixture(scope="module")
def expected(plan, tmp_path_factory):
    """The bytes of a run where nothing is copied ahead."""
    folder = tmp_path_factory.mktemp("expected") / "run"
    return run(plan, folder, jobs=1, progress=quiet).path.read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_have_the_same_bytes(plan, expected, tmp_path, jobs):
    folder = tmp_path / "run"
    outcome = run(plan, folder, jobs=jobs, progress=quiet, resources=CopiedAhead())
    assert (outcome.measured, outcome.failed) == (4, {})
    assert outcome.path.read_bytes() == expected


class Watched:
    """A measurer whose threads note what they do, and wait for each other.

    Parameters
    ----------
    reads
        How many models have to be read before one is finished.
    patience
        How long it waits for that [s].
    meet
        Whether the second model is not read before the first one is measured.
    """

    def __init__(
        self, plan, folder, monkeypatch, reads: int, patience: float = PATIENCE, meet: bool = True
    ) -> None:
        self.measurer = CheckpointMeasurer(plan, RunFolder(folder), CopiedAhead())
        files = plan.trajectory.fetch(plan.trajectory.checkpoints[0])
        self.measurer._verified = frozenset({config_identity(files)})
        self.reads = reads
        self.meet = meet
        self.patience = patience
        self.read = 0
        self.measuring = 0
        self.read_while_measuring: list[str] = []
        self.changed = threading.Condition()
        really = self.measurer._read
        monkeypatch.setattr(self.measurer, "_read", partial(self._read, really))
        monkeypatch.setattr(measurer_module, "measure", self._measure)
        monkeypatch.setattr(RunFolder, "write_block", lambda *_: None)

    def _read(self, really, subject, files):
        with self.changed:
            self.read += 1
            if self.read == 2 and self.meet:  # so that it is not read before
                self.changed.wait_for(lambda: self.measuring, self.patience)
            if self.measuring:
                self.read_while_measuring.append(subject.name)
            self.changed.notify_all()
        return really(subject, files)

    def _measure(self, *_, **__):
        with self.changed:
            assert not self.measuring, "two models are measured together"
            self.measuring += 1
            self.changed.notify_all()
            in_time = self.changed.wait_for(self._read_enough, self.patience)
            self.measuring -= 1
        assert in_time, "the next model is not read"
        return SimpleNamespace(assign_attrs=lambda _: None, drop_dims=lambda *_, **__: self)

    def assign_attrs(self, _):
        """Stand for the dataset of an untrained model."""

    def _read_enough(self) -> bool:
        return self.read >= self.reads and (not self.meet or bool(self.read_while_measuring))

    def attempt(self, subjects, threads: int):
        """Attempt models in their order on threads, and return why they failed."""
        with ThreadPoolExecutor(threads) as executor:
            attempts = [
                executor.submit(
                    self.measurer.attempt,
                    SourceBlock(subject),
                    self.measurer.plan.trajectory.fetch(subject),
                )
                for subject in subjects
            ]
        return [attempt.result() for attempt in attempts]


def test_the_next_model_is_read_while_one_is_measured(plan, tmp_path, monkeypatch):
    watched = Watched(plan, tmp_path, monkeypatch, reads=2)
    _, *others = plan.trajectory.checkpoints  # the first one is compared with transformers
    assert watched.attempt(others, 2) == [None] * 3
    assert others[1].name in watched.read_while_measuring


def test_no_third_model_is_read(plan, tmp_path, monkeypatch):
    watched = Watched(plan, tmp_path, monkeypatch, reads=3, patience=0.2)
    _, *others = plan.trajectory.checkpoints
    outcomes = watched.attempt(others, 3)
    assert outcomes[0] is not None
    assert "the next model is not read" in outcomes[0].reason


def test_what_changes_settings_of_the_process_waits(plan, tmp_path, monkeypatch):
    watched = Watched(plan, tmp_path, monkeypatch, reads=4, patience=0.2, meet=False)
    first, second, *_ = plan.trajectory.checkpoints
    outcomes = watched.attempt([second, first, *plan.untrained], 2)
    assert all(outcome is not None for outcome in outcomes)
    waiting = {first.name, *(subject.name for subject in plan.untrained)}
    assert waiting.isdisjoint(watched.read_while_measuring)


def test_no_two_files_are_written_at_once(plan, tmp_path, monkeypatch):
    watched = Watched(plan, tmp_path, monkeypatch, reads=1, meet=False)
    meeting, met = threading.Barrier(2), []

    def keep(*_):
        with suppress(threading.BrokenBarrierError):
            met.append(meeting.wait(1))

    monkeypatch.setattr(RunFolder, "write_block", keep)
    _, *others = plan.trajectory.checkpoints
    assert watched.attempt(others[:2], 2) == [None, None]
    assert not met


def test_a_process_gets_the_item_that_it_was_told():
    next_of, order = {}, {}
    with Workers[int, tuple[int, int | None]](told_next, 2, ahead=True) as workers:
        for item in range(9):
            workers.add(item)
        while workers.busy:
            ready, _ = wait(workers.busy, return_when=FIRST_COMPLETED)
            for item, (process, following) in workers.collect(ready):
                order.setdefault(process, []).append(item)
                next_of[item] = following
    assert sorted(item for items in order.values() for item in items) == [*range(9)]
    told = {item: following for item, following in next_of.items() if following is not None}
    assert len(told) >= 3
    for items in order.values():
        for item, after in pairwise(items):
            assert told.get(item, after) == after


@pytest.mark.parametrize(("victim", "most", "failed"), [(1, 1, False), (2, 10, True)])
def test_a_model_that_kills_costs_nothing_but_itself(
    plan, expected, tmp_path, monkeypatch, victim, most, failed
):
    """Also if it kills while it is read and another one is measured."""
    subject = plan.subjects[victim]
    killer = Killer(tmp_path / "deaths", most)
    deadly = partial(DeadlyCells, killer=killer, victim=SourceBlock(subject, 1, 2))
    monkeypatch.setattr(runner, "CheckpointMeasurer", deadly)
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet, resources=CopiedAhead())
    assert outcome.failed.keys() == ({subject.label} if failed else set())
    assert killer.deaths in ((2, 3) if failed else (1,))
    if not failed:
        assert outcome.path.read_bytes() == expected


def test_the_serial_executor_stays_in_this_process(plan, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "Workers", None)
    execute, jobs = select_executor(Executor.SERIAL, None, 4, where="here")
    resources = CopiedAhead()
    outcome = run(
        plan, tmp_path / "run", jobs=jobs, progress=quiet, resources=resources, execute=execute
    )
    assert outcome.path.read_bytes() == expected


def test_there_is_room_for_the_next_model(monkeypatch):
    """A tenth of the memory is another program's; what the process has cached is its own."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 30)
    assert memory_of("cuda") == 72
    assert memory_of("cuda", 25) == 52 - 25
    assert memory_of("cuda", 30) == 48
    assert memory_of("cuda", 80) == 8
    assert memory_of("cpu", 80) == 2**30


def test_all_weights_are_copied_on_a_stream_of_their_own(monkeypatch):
    model = decoder(random_model("llama"))
    events = []
    stream = SimpleNamespace(synchronize=lambda: events.append("synchronized"))
    monkeypatch.setattr(precision, "_copying_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda taken: events.append(taken) or nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    copy = copied_ahead(model, "meta")
    assert events == [stream, "synchronized"]
    devices = set()
    mapped(copy, lambda value: devices.add(value.device.type) or value)
    assert devices == {"meta"}
    assert weight_bytes(copy) == weight_bytes(model) > 0


def test_all_copies_share_a_stream(monkeypatch):
    """Torch reuses the memory of a copy only on the stream that it was made on."""
    monkeypatch.setattr(torch.cuda, "Stream", object)
    precision._copying_stream.cache_clear()
    try:
        assert precision._copying_stream() is precision._copying_stream()
    finally:
        precision._copying_stream.cache_clear()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_model_that_does_not_fit_beside_another_is_copied_later(monkeypatch, error):
    """On the GPU, or in memory that is pinned."""

    def full(tensor):
        raise error("out of memory")

    model = decoder(random_model("llama"))
    monkeypatch.setattr(precision, "_copying_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    assert copied_ahead(model, "cuda") is model


def test_nothing_is_copied_ahead_on_a_cpu():
    model = decoder(random_model("gpt2"))
    assert copied_ahead(model, "cpu") is model
    assert not Resources().copies_ahead
    assert Resources(device="cuda").copies_ahead
