"""Several GPUs: which are taken, and that every process sees its own. There are none here."""

from __future__ import annotations

import os
from concurrent.futures import wait
from types import SimpleNamespace

import pytest
import torch

from cntbench.errors import CntbenchError
from cntbench.models.device import VISIBLE, gpus_of, use_gpus
from cntbench.parallel.processes import Workers
from cntbench.runs.executors import processes
from cntbench.runs.resources import Resources, chosen_gpus


@pytest.fixture(autouse=True)
def four(monkeypatch):
    """A machine with four GPUs."""
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def test_processes_have_the_visible_gpus_in_turn(monkeypatch):
    assert gpus_of("cpu", 3) == []
    assert gpus_of("cuda", 6) == ["0", "1", "2", "3", "0", "1"]
    monkeypatch.setenv(VISIBLE, "2,3")
    assert gpus_of("cuda", 3) == ["2", "3", "2"]
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpus_of("cuda", 3) == []


def test_the_gpus_that_are_asked_for_are_the_visible_ones():
    assert chosen_gpus(None, 7, None) == []
    assert chosen_gpus(" 1, 3", None, None) == chosen_gpus("1,3", 2, None) == ["1", "3"]
    assert gpus_of("cuda", 2) == ["1", "3"]


@pytest.mark.parametrize(
    ("devices", "jobs", "scheduler", "says"),
    [
        ("0,,1", None, None, '"0,,1" is not a list of GPUs'),
        ("0,0", None, None, '"0,0" is not a list of GPUs'),
        ("0,1", 3, None, "2 GPUs have one process each, and jobs = 3"),
        ("0,1", None, "tcp://a:1", "the workers of a running cluster have GPUs of their own"),
        ("0,1,2,3,4", None, None, "torch finds 4 of the 5 GPUs 0,1,2,3,4"),
    ],
)
def test_what_cannot_be_is_said(devices, jobs, scheduler, says):
    with pytest.raises(CntbenchError, match=f"devices: {says}"):
        chosen_gpus(devices, jobs, scheduler)


def test_without_a_gpu_that_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CntbenchError, match="torch finds no GPU"):
        chosen_gpus("0,1", None, None)


def test_every_worker_sees_its_own():
    with Workers(os.getenv, 2, start=use_gpus, seats=("3", "5")) as workers:
        for _ in range(2):
            workers.add(VISIBLE)
        seen = set()
        while workers.busy:
            ready, _ = wait(workers.busy)
            seen |= {value for _, value in workers.collect(ready)}
    assert seen == {"3", "5"}


@pytest.mark.parametrize(
    ("device", "jobs", "seats"),
    [("cuda", 3, ["0", "1", "2"]), ("cuda", 1, ["0"]), ("cpu", 3, [])],
)
def test_the_executor_seats_its_workers(monkeypatch, device, jobs, seats):
    given = {}

    class Seen:
        __class_getitem__ = classmethod(lambda cls, _: cls)

        def __init__(self, *_: object, **options: object) -> None:
            given.update(options)
            raise InterruptedError

    monkeypatch.setattr(processes, "Workers", Seen)
    measurer = SimpleNamespace(resources=Resources(device=device))
    with pytest.raises(InterruptedError):
        list(processes.execute(measurer, None, jobs))
    assert given["ahead"] == (device == "cuda")
    assert given["seats"] == seats
