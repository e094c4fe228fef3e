"""How far results in another precision lie from those in float32, on the golden trajectory.

``PYTHONPATH=tests python -m support.precision`` prints the table of docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from cntbench.readouts import STANDARD
from cntbench.runs.catalogue import load_catalogue
from cntbench.specs import Precision
from support.golden import measure_golden

TRAJECTORY = Path(__file__).parents[2] / "golden" / "nano" / "trajectory"
#: Edges below this are left out of relative deviations.
STRONG = 1e-3
OTHERS: tuple[Precision, ...] = ("bfloat16", "float64")


@dataclass(frozen=True)
class Deviation:
    """How far two results lie apart.

    Parameters
    ----------
    edges
        Number of edges compared, those of all tasks, ablations and checkpoints.
    median, p99, largest
        Relative deviation of their influence.
    rank, lowest_rank
        Spearman's correlation of the edges of one task, ablation and checkpoint: median, and least.
    readouts
        Largest deviation of each readout of the clean model, in its unit.
    """

    edges: int
    median: float
    p99: float
    largest: float
    rank: float
    lowest_rank: float
    readouts: dict[str, float]


def deviation(reference: xr.Dataset, actual: xr.Dataset) -> Deviation:
    """Compare two results of the same trajectory, tasks and ablations."""
    ours, theirs = (d["influence"].values.astype(np.float64) for d in (reference, actual))
    strong = ours > STRONG
    apart = abs(theirs[strong] - ours[strong]) / ours[strong]
    feasible = ~np.isnan(ours[0, 0, 0])
    ranks = [
        spearmanr(ours[cell][feasible], theirs[cell][feasible]).statistic
        for cell in np.ndindex(ours.shape[:3])
    ]
    of_readouts = abs(actual["readout_value"] - reference["readout_value"])
    return Deviation(
        edges=int(strong.sum()),
        median=float(np.median(apart)),
        p99=float(np.quantile(apart, 0.99)),
        largest=float(apart.max()),
        rank=float(np.median(ranks)),
        lowest_rank=float(min(ranks)),
        readouts={name: float(of_readouts.sel(readout=name).max()) for name in STANDARD},
    )


def kinds() -> dict[str, list[str]]:
    """Return the shipped ablations by what they measure, and how."""
    tensors: dict[str, list[str]] = {}
    for entry in load_catalogue().ablations.values():
        tensors.setdefault(entry.spec.effect, []).append(entry.name)
    return tensors


def main() -> None:
    """Print the table."""
    reference = measure_golden(TRAJECTORY)
    print("| dtype | ablations | edges | median | 99 % | largest | ranks | lowest |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in OTHERS:
        rounded = measure_golden(TRAJECTORY, dtype=dtype)
        for kind, names in kinds().items():
            of = deviation(reference.sel(ablation=names), rounded.sel(ablation=names))
            print(
                f"| {dtype} | {kind} | {of.edges} | {of.median:.2g} | {of.p99:.2g} | "
                f"{of.largest:.2g} | {of.rank:.6f} | {of.lowest_rank:.4f} |"
            )
        print(dtype, {name: f"{value:.2g}" for name, value in of.readouts.items()})


if __name__ == "__main__":
    main()
