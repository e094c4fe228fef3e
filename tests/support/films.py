"""Random films that satisfy the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.components import components, feasible
from cntbench.engine.influence import Influence
from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint
from cntbench.readouts import known_readouts
from cntbench.results.film import Axes, checkpoint_dataset, film


def random_influence(rng: np.random.Generator, nodes, ablations: int) -> Influence:
    """Numbers of the right shape and range."""
    n, k = len(nodes), len(known_readouts())
    edges = np.where(feasible(nodes), rng.random((ablations, n, n)), np.nan)
    is_head = np.array([node.kind == "head" for node in nodes])
    return Influence(
        influence=edges,
        influence_se=edges / 10,
        readout_value=rng.random(k),
        readout_se=rng.random(k),
        readout_effect=rng.standard_normal((ablations, k, n)),
        readout_effect_se=rng.random((ablations, k, n)),
        edge_effect=np.where(feasible(nodes), rng.standard_normal((ablations, n, n)), np.nan),
        edge_effect_se=edges / 20,
        prefix_matching=np.where(is_head, rng.random(n), np.nan),
        previous_token=(previous := np.where(is_head, rng.random(n), np.nan)),
        duplicate_token=1 - previous,
        positional=np.sqrt(previous),
    )


def random_film(
    *,
    names: Sequence[str] = ("step0", "step8", "step100"),
    tasks: Sequence[str] = ("induction",),
    ablations: Sequence[str] = ("zero", "mean"),
    revisions: Sequence[str] | None = None,
    seed: int = 0,
    layers: int = 2,
    heads: int = 2,
) -> xr.Dataset:
    """A film of a model with few layers."""
    rng = np.random.default_rng(seed)
    nodes = components(layers, heads, parallel=True)
    parts = []
    for index, name in enumerate(names):
        revision = revisions[index] if revisions else f"{1000 * seed + index:064x}"
        checkpoint = Checkpoint(name, int(name.removeprefix("step")), revision, Folder(Path()))
        measured = [random_influence(rng, nodes, len(ablations)) for _ in tasks]
        copying = 2 * measured[0].previous_token - 1
        axes = Axes(nodes, tasks, ablations)
        parts.append(checkpoint_dataset(checkpoint, axes, measured, copying))
    return film(parts, {"seed": seed})
