"""The circuit of a task: the components that its readout depends on, and what joins them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from cntbench.dynamics.film import prompts_of
from cntbench.results.film import usable
from cntbench.views.effects import EffectView, effects
from cntbench.views.film import film
from cntbench.views.heads import ScoredBehaviour, behaviours

Array = NDArray[np.float64]

#: Components and edges of a picture, at most.
_COMPONENTS, _EDGES = 6, 9
#: Probability that any component of a model stands out by chance.
_LEVEL = 0.05


@dataclass(frozen=True)
class Part:
    """A component of a circuit.

    Parameters
    ----------
    component
        Its name.
    index
        Its place among all components.
    layer
        Its layer.
    effect, error
        Change of the readout when it is ablated, by the circuit's first ablation, and its standard
        error.
    does
        What it does, if it is a head that does something.
    largest
        The ablation by which its effect is largest, that effect and its standard error; None if
        that is the circuit's first ablation.
    """

    component: str
    index: int
    layer: int
    effect: float
    error: float
    does: tuple[ScoredBehaviour, ...]
    largest: tuple[str, float, float] | None = None


@dataclass(frozen=True)
class CircuitView:
    """The components that stand out at a checkpoint.

    Parameters
    ----------
    task, readout, step
        What the components have an effect on, and when.
    ablation
        All ablations, those with effects first; a component stands out if it does by each of them.
    measured
        Whether any effect was measured.
    part
        The components that stand out, by their largest effect, largest first.
    foremost
        The component with the largest effect, whether it stands out or not; None if none has one.
    edge
        Indices into ``part`` of source and target, and influence by the first ablation as a share
        of the largest one of the checkpoint, strongest first.
    """

    task: str
    readout: str
    step: int
    ablation: tuple[str, ...]
    measured: bool
    part: tuple[Part, ...]
    foremost: Part | None
    edge: tuple[tuple[int, int, float], ...]


def circuit(tree: xr.DataTree, task: str, checkpoint: int | None = None) -> CircuitView | None:
    """Return the circuit of a task at a checkpoint, by default the last usable one.

    A component stands out if, by every ablation, ablating it changes the readout by more than its
    standard error explains, at a level of 5 % for all components together (Student's t over
    prompts, Bonferroni). On a single prompt, which has no standard error, none does.

    Returns
    -------
    CircuitView or None
        None if there is no such checkpoint.
    """
    root = tree.to_dataset(inherit=False)
    counts = np.flatnonzero(usable(root))
    if checkpoint is None and not len(counts):
        return None
    at = int(counts[-1]) if checkpoint is None else checkpoint
    of_ablation = {name: effects(tree, task, name) for name in map(str, root["ablation"].values)}
    sizes = {name: np.nan_to_num(abs(view.effect[at])) for name, view in of_ablation.items()}
    ablations = tuple(sorted(sizes, key=lambda name: not sizes[name].any()))
    views = [of_ablation[name] for name in ablations]
    first, size = views[0], np.max([*sizes.values()], axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > 0]
    does = behaviours(root, task, at)

    def largest(i: int) -> tuple[str, float, float] | None:
        name = max(ablations, key=lambda name: sizes[name][i])
        view = of_ablation[name]
        return (
            None if view is first else (name, float(view.effect[at, i]), float(view.error[at, i]))
        )

    parts = {
        i: Part(
            component=first.component[i],
            index=i,
            layer=int(root["source_layer"].values[i]),
            effect=float(first.effect[at, i]),
            error=float(first.error[at, i]),
            does=does.get(first.component[i], ()),
            largest=largest(i),
        )
        for i in order
    }
    counted = root[["status", *({"prompts_measured"} & root.keys())]]
    prompts = prompts_of(counted.sel(task=task).isel(checkpoint=at))
    clear = _stand_out(views, at, float(prompts))
    chosen = tuple(parts[i] for i in order if clear[i])[:_COMPONENTS]
    return CircuitView(
        task=task,
        readout=views[0].readout,
        step=int(root["step"].values[at]),
        ablation=ablations,
        measured=bool(order),
        part=chosen,
        foremost=parts[order[0]] if order else None,
        edge=_edges(tree, task, ablations[0], at, chosen),
    )


def _stand_out(views: list[EffectView], at: int, prompts: float) -> NDArray[np.bool_]:
    """Return which components have an effect beyond their standard error by every ablation."""
    count = max(1, len(views[0].component))
    bound = -float(special.stdtrit(max(prompts - 1, 1), _LEVEL / (2 * count)))
    clear = np.ones(count, dtype=np.bool_)
    for view in views:
        size = np.abs(view.effect[at])
        if np.isfinite(size).any():  # ablations without effects say nothing
            clear &= np.nan_to_num(size) > bound * view.error[at]
    return clear


def _edges(
    tree: xr.DataTree, task: str, ablation: str, at: int, parts: tuple[Part, ...]
) -> tuple[tuple[int, int, float], ...]:
    view = film(tree, task, ablation)
    weights = np.nan_to_num(view.weight[at])
    most = float(weights.max(initial=0.0))
    positions = {part.index: i for i, part in enumerate(parts)}
    edges = [
        (positions[int(source)], positions[int(target)], float(weight) / most)
        for source, target, weight in zip(
            view.layout.source, view.layout.target, weights, strict=True
        )
        if weight > 0 and int(source) in positions and int(target) in positions
    ]
    return tuple(sorted(edges, key=lambda edge: -edge[2])[:_EDGES])
