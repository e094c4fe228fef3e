"""Standard errors against how far sets of prompts differ: ``python -m benchmarks.standard_errors``.

The golden model is measured on sets of 16 prompts that have none in common. For each ablation the
standard deviation of means over the sets is printed, relative to the standard error that each set
states (root mean square, pooled over edges or sources): 1 where errors are right, less where they
are conservative.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue

GOLDEN = Path(__file__).parents[1] / "golden" / "nano" / "trajectory"
SETS, PROMPTS = 48, 16


def ratio(means: np.ndarray, errors: np.ndarray) -> float:
    """Return the pooled spread of means, dims ``set, …``, relative to their stated errors."""
    stated = np.square(errors).mean(axis=0)
    return float(np.sqrt(np.nanmean(means.var(axis=0, ddof=1)[stated > 0] / stated[stated > 0])))


def main() -> None:
    """Print the ratios."""
    catalogue = load_catalogue()
    trajectory = open_trajectory(f"dir:{GOLDEN}", lambda *_: None)
    model = trajectory.load(trajectory.checkpoints[-1], torch.float32)
    task = catalogue.task("induction")
    prompts = task.prompts(trajectory.language, count=SETS * PROMPTS, seed=0)
    names = ("zero", "mean", "mean_direct", "resample", "resample_other", "resample_other_4")
    methods = [catalogue.ablations[name].method for name in names]
    results = [
        influence(Request(model, prompts.take(slice(first, first + PROMPTS)), methods))
        for first in range(0, len(prompts), PROMPTS)
    ]
    for i, name in enumerate(names):
        on_targets = ratio(
            *(
                np.stack([getattr(f, key)[i] for f in results])
                for key in ("influence", "influence_se")
            )
        )
        on_readout = ratio(
            *(
                np.stack([getattr(f, key)[i, 2] for f in results])
                for key in ("readout_effect", "readout_effect_se")
            )
        )
        print(f"{name:20} influence {on_targets:.2f}  logit difference {on_readout:.2f}")


if __name__ == "__main__":
    main()
