"""How much of the machine a run has used: FLOPs per second, beside those of one large product."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from cntbench.engine.meter import predicted_work, total
from cntbench.models import checkpoint_files
from cntbench.models.device import Device, prepare
from cntbench.models.outline import Outline
from cntbench.models.precision import TYPES
from cntbench.parallel.processes import one_thread
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import Plan
from cntbench.runs.run import Outcome

#: Rows and columns of the matrices of the large product, by device.
SIZE = {"cpu": 1024, "cuda": 8192}
#: Shorter runs mostly start processes and read files [s].
SHORTEST = 10.0


@dataclass(frozen=True)
class Utilisation:
    """The use of the machine while models were measured.

    Parameters
    ----------
    flops
        Work of matrix products [FLOP].
    seconds
        Time in which models were fetched, read and measured [s].
    peak
        FLOPs per second of one process in a large product, now.
    """

    flops: float
    seconds: float
    processes: int
    peak: float

    @property
    def share(self) -> float:
        """The share of the peak that was reached."""
        return self.flops / self.seconds / (self.peak * self.processes)


def utilisation(plan: Plan, outcome: Outcome, jobs: int, device: Device) -> Utilisation | None:
    """Return how much of the machine a run has used; None if it was short or cannot be counted."""
    trajectory, spec = plan.trajectory, plan.study.spec
    if outcome.seconds < SHORTEST or not outcome.models or spec.until_se:
        return None
    if trajectory.config is None:
        return None
    dtype = TYPES[spec.dtype]
    model = Outline(checkpoint_files.read_config(trajectory.config)).decoder(dtype)
    work = total(predicted_work(request) for request in requests_of(plan, model))
    prepare(device, spec.dtype)
    processes = min(jobs, outcome.models * plan.blocks)
    return Utilisation(
        outcome.models * work.flops, outcome.seconds, processes, _peak(dtype, device)
    )


@one_thread()
def _peak(dtype: torch.dtype, device: Device) -> float:
    """Return the FLOPs per second of a product of large matrices, on one thread."""
    size, times = SIZE[device], []
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    for _ in range(4):  # the first one also starts the library
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times))
