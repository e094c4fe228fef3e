"""The noise assumed for roles, compared with that of prompts: ``python -m benchmarks.role_noise``.

A result stores the standard error of every edge, but not their correlations. Here the edges of the
embedded model are measured prompt by prompt, and the assumed noise is divided by that of the
prompts: by the jackknife for the error of a layer-corrected strength; by the bootstrap, with the
same prompts at all checkpoints, for the change of strengths between windows of checkpoints.
"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cntbench.dynamics.nulls.frozen import measured
from cntbench.dynamics.reconfiguration import WINDOW
from cntbench.dynamics.roles import ROLES, Role, error, strength
from cntbench.engine import influence as engine
from cntbench.engine.request import Request
from cntbench.models.trajectory import Trajectory, open_trajectory
from cntbench.prompts import Prompts
from cntbench.runs.catalogue import load_catalogue

TASKS = ("induction", "bigram", "random_tokens")
ABLATIONS = ("zero", "mean", "resample")
PROMPTS, DRAWS = 32, 200
#: Checkpoints at the centres of windows: early, during the emergence of induction, and late.
MOMENTS = (6, 20, 40, 46, 60, 100, 135)


def by_prompt(trajectory: Trajectory, prompts: Prompts, checkpoint: int) -> np.ndarray:
    """Return the influence of every prompt, dims ``ablation, source, target, prompt``."""
    catalogue = load_catalogue()
    model = trajectory.load(trajectory.checkpoints[checkpoint])
    methods = [catalogue.ablations[name].method for name in ABLATIONS]
    with patch.object(engine, "_summary", wraps=engine._summary) as summary:
        engine.influence(Request(model, prompts, methods))
    change: np.ndarray = summary.call_args.args[1].change
    return change


def of_strengths(values: np.ndarray, layer: np.ndarray, role: Role) -> dict[str, np.ndarray]:
    """Return the reported errors, and those for independent edges, over the jackknife's."""
    count = values.shape[-1]
    mean, errors = values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(count)
    without = np.moveaxis((mean[..., None] * count - values) / (count - 1), -1, 0)
    jackknife = np.sqrt((count - 1) * strength(without, layer, role).var(axis=0))
    noise = np.random.default_rng(0).standard_normal((DRAWS, *mean.shape))
    independent = strength(mean + errors * noise, layer, role).std(axis=0)
    has = jackknife > 0
    return {
        "error of a strength": error(mean, errors, layer, role)[has] / jackknife[has],
        "the same, edges independent": independent[has] / jackknife[has],
    }


def of_changes(values: np.ndarray, layer: np.ndarray, role: Role) -> dict[str, np.ndarray]:
    """Return the assumed noise of changes over the bootstrap's.

    ``values`` are the checkpoints of two windows, dims ``checkpoint, …, prompt``.
    """
    rng, count = np.random.default_rng(0), values.shape[-1]
    mean, errors = values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(count)

    def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return strength(after, layer, role) - strength(before, layer, role)

    resampled = []
    for _ in range(DRAWS):
        moments = values[..., rng.integers(0, count, count)].mean(axis=-1)
        resampled.append(change(moments[:WINDOW].mean(axis=0), moments[WINDOW:].mean(axis=0)))
    graph = np.stack([mean.mean(axis=0)] * 2)
    sides = np.stack([errors[:WINDOW].mean(axis=0), errors[WINDOW:].mean(axis=0)])
    drawn = measured(graph, sides, rng, DRAWS)
    assumed = change(drawn[:, 0], drawn[:, 1]).std(axis=0)
    bootstrap = np.std(resampled, axis=0)
    has = bootstrap > 0
    return {"change of a strength": assumed[has] / bootstrap[has]}


def main() -> None:
    """Print quantiles of the ratios over tasks, ablations, checkpoints and components."""
    torch.set_num_threads(1)
    trajectory = open_trajectory("nano", lambda *_: None)
    layer = np.array([node.layer for node in trajectory.shape.components])
    ratios_by_name: dict[str, list[np.ndarray]] = {}
    for task in TASKS:
        prompts = load_catalogue().tasks[task].prompts(trajectory.language, count=PROMPTS, seed=0)
        for moment in MOMENTS:
            around = range(moment - WINDOW, moment + WINDOW)
            values = np.stack([by_prompt(trajectory, prompts, at) for at in around])
            for role in ROLES:
                ratios = of_strengths(values[WINDOW], layer, role) | of_changes(values, layer, role)
                for name, ratio in ratios.items():
                    ratios_by_name.setdefault(name, []).append(ratio)
    table = Table("assumed / measured", "5 %", "median", "95 %", "below 1")
    for name, parts in ratios_by_name.items():
        ratio = np.concatenate(parts)
        low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
        below = (ratio < 1).mean()
        table.add_row(name, f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}", f"{below:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
