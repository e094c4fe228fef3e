"""The device, processes and memory of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cntbench.errors import CntbenchError, shown

if TYPE_CHECKING:
    from cntbench.models.device import Device

#: Allowed memory [GiB].
LEAST_MEMORY, MOST_MEMORY = 0.001, 2**20


@dataclass(frozen=True)
class Resources:
    """What the processes of a run may use.

    Parameters
    ----------
    memory_budget
        Memory of each process beyond the model [bytes]; 0 for what the device has.
    keep
        Number of downloaded checkpoints to keep on disk besides those being measured.
    device
        Where models are computed.
    """

    memory_budget: int = 2**30
    keep: int = 2
    device: Device = "cpu"

    @property
    def copies_ahead(self) -> bool:
        """Whether the next model is copied to the device while the present one is measured."""
        return self.device != "cpu"


DEFAULT_RESOURCES = Resources()


class DeviceChoice(StrEnum):
    """Devices to compute on."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


def resolve_device(device: DeviceChoice, scheduler: str | None, where: str = "--device") -> Device:
    """Return the device; workers of a running scheduler check by themselves if they have a GPU.

    Errors are those of `cntbench.models.device.resolve`.
    """
    from cntbench.models.device import resolve

    if scheduler and device is DeviceChoice.CUDA:
        return "cuda"
    return resolve(device, where)


def chosen_gpus(devices: str | None, jobs: int | None, scheduler: str | None) -> list[str]:
    """Return the GPUs of ``--devices``, which this process and its workers see from now on.

    Raises a `CntbenchError` if a name is empty or repeated, there are not as many GPUs, or another
    number of processes is asked for.
    """
    import torch

    from cntbench.models.device import resolve, use_gpus

    if devices is None:
        return []
    names = [name.strip() for name in devices.split(",")]
    where = "command line: devices"
    if not all(names) or len(set(names)) < len(names):
        raise CntbenchError(
            f"{shown(devices)} is not a list of GPUs", where=where, hint="Write 0,1,2,3."
        )
    if scheduler is not None:
        raise CntbenchError(
            "the workers of a running cluster have GPUs of their own",
            where=where,
            hint="Start each with its own CUDA_VISIBLE_DEVICES, or with dask cuda worker, and use "
            "--device cuda.",
        )
    if jobs not in (None, len(names)):
        raise CntbenchError(
            f"{len(names)} GPUs have one process each, and jobs = {jobs}",
            where=where,
            hint="Leave --jobs out.",
        )
    use_gpus(names)
    resolve("cuda")
    present = torch.cuda.device_count()
    if present < len(names):
        raise CntbenchError(
            f"torch finds {present} of the {len(names)} GPUs {devices}",
            where=where,
            hint="nvidia-smi lists their numbers.",
        )
    return names


def processes_for(device: Device) -> int:
    """Return the default number of processes: one on a GPU, which they would share."""
    return 1 if device == "cuda" else cores()


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_budget(memory: float, where: str) -> int:
    """Return memory [GiB] in bytes, or raise an error if it is out of range."""
    if not isinstance(memory, int | float) or not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise CntbenchError(
            f"memory = {shown(memory)} is not allowed",
            where=where,
            hint=f"Allowed: {LEAST_MEMORY} to {MOST_MEMORY} GiB.",
        )
    return int(memory * 2**30)
