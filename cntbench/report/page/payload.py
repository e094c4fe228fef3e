"""What the page draws from: labels as JSON, and arrays of all tasks, ablations and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.roles import ROLES
from cntbench.results.film import usable
from cntbench.views.bump import bump
from cntbench.views.effects import effects
from cntbench.views.film import FilmView, film
from cntbench.views.metrics import FOREMOST, metric, metric_names
from cntbench.views.missing import Missing
from cntbench.views.phases import Phases, phases
from cntbench.views.readouts import readouts, task_of_interest
from cntbench.views.recurrence import recurrence
from cntbench.views.steps import step_axis

Array = NDArray[np.float64]

#: Edge weights that a page holds; of larger films, each cell has only its strongest edges.
EDGE_VALUES = 1_200_000
#: Fewest edges of a cell that are kept all the same.
_FEWEST_EDGES = 60
#: Edges that are drawn at a time unless the reader asks for more.
DRAWN = 150


@dataclass(frozen=True)
class Payload:
    """Numbers and labels of the page.

    Parameters
    ----------
    labels
        What becomes JSON.
    arrays
        By name; their shapes are in ``labels["dims"]``. Dims are ``task, ablation`` (but for
        readouts and attention, that no ablation changes), then what the array is about, then
        ``checkpoint``; ``recurrence`` has the pairs of checkpoints above the diagonal instead.
    """

    labels: Mapping[str, Any]
    arrays: Mapping[str, Array]


def payload(tree: xr.DataTree) -> Payload:
    """Gather what the page draws from a result."""
    root = tree.to_dataset(inherit=False)
    cells = [
        (str(task), str(ablation))
        for task in root["task"].values
        for ablation in root["ablation"].values
    ]
    films = [film(tree, *cell) for cell in cells]
    arrays, dims = _behaviour(tree)
    kept = _kept(films)
    per_cell = {
        "edge": [_edge_codes(one, edges) for one, edges in zip(films, kept, strict=True)],
        "weight": [one.weight.T[edges] for one, edges in zip(films, kept, strict=True)],
        "error": [one.error.T[edges] for one, edges in zip(films, kept, strict=True)],
        **_of_components(tree, films, cells),
        **_of_graphs(tree, cells),
    }
    shape = root.sizes["task"], root.sizes["ablation"]
    for name, parts in per_cell.items():
        stacked = np.stack(parts)
        arrays[name] = stacked.reshape(*shape, *stacked.shape[1:])
        dims[name] = list(arrays[name].shape)
    return Payload(_labels(tree, films[0], cells, kept[0]) | {"dims": dims}, arrays)


def _behaviour(tree: xr.DataTree) -> tuple[dict[str, Array], dict[str, list[int]]]:
    """Return what is said of a task, whatever the ablation."""
    found = readouts(tree)
    root = tree.to_dataset(inherit=False)
    arrays: dict[str, Array] = {"readout": found.value, "readout_error": found.error}
    for name in ("previous_token", "prefix_matching"):
        arrays[name] = (
            root[name].transpose("task", "source", "checkpoint").values.astype(np.float64)
        )
    return arrays, {name: list(values.shape) for name, values in arrays.items()}


def _kept(films: list[FilmView]) -> list[NDArray[np.int64]]:
    """Return the numbers of the edges of each film that the page holds."""
    checkpoints, edges = films[0].weight.shape
    count = max(_FEWEST_EDGES, EDGE_VALUES // max(1, len(films) * checkpoints))
    if edges <= count:
        return [np.arange(edges)] * len(films)
    largest = (np.nan_to_num(one.weight).max(axis=0, initial=0) for one in films)
    return [np.sort(np.argsort(-row, kind="stable")[:count]) for row in largest]


def _edge_codes(one: FilmView, edges: NDArray[np.int64]) -> Array:
    """Return each edge as source × number of components + target."""
    places = one.layout
    return (places.source[edges] * len(places.component) + places.target[edges]).astype(np.float64)


def _of_components(
    tree: xr.DataTree, films: list[FilmView], cells: list[tuple[str, str]]
) -> dict[str, list[Array]]:
    """Return strengths by role and effects, dims ``component, checkpoint``."""
    found: dict[str, list[Array]] = {"effect": [], "effect_error": []}
    for cell in cells:
        one = effects(tree, *cell)
        found["effect"].append(one.effect.T)
        found["effect_error"].append(one.error.T)
    for role, sums in zip(ROLES, ("sent", "received"), strict=True):
        views = [bump(tree, role, *cell) for cell in cells]
        held = [view for view in views if not isinstance(view, Missing)]
        if not held:
            found[role] = [getattr(one, sums).T for one in films]
            continue
        found[role] = [view.strength.T for view in held]
        found[f"{role}_error"] = [view.error.T for view in held]
        found[f"{role}_rank"] = [view.rank.T for view in held]
        found[f"{role}_change"] = [view.reconfigures.astype(np.float64) for view in held]
    return found


def _of_graphs(tree: xr.DataTree, cells: list[tuple[str, str]]) -> dict[str, list[Array]]:
    """Return metrics with their null models, dims ``metric, checkpoint``, and recurrence."""
    names = metric_names(tree)
    if isinstance(names, Missing):
        return {}
    found: dict[str, list[Array]] = {"metric": [], "null_mean": [], "null_deviation": []}
    for cell in cells:
        all_metrics = [metric(tree, name, *cell) for name in names]
        found["metric"].append(np.stack([one.value for one in all_metrics]))
        found["null_mean"].append(np.stack([one.mean for one in all_metrics]))
        found["null_deviation"].append(np.stack([one.deviation for one in all_metrics]))
    matrices = [recurrence(tree, *cell) for cell in cells]
    count = tree.sizes["checkpoint"]
    upper = np.triu_indices(count, 1)
    values = [one.value[upper] for one in matrices if not isinstance(one, Missing)]
    return found | ({"recurrence": values} if values else {})


def _labels(
    tree: xr.DataTree, first: FilmView, cells: list[tuple[str, str]], kept: NDArray[np.int64]
) -> dict[str, Any]:
    root = tree.to_dataset(inherit=False)
    behaviour = readouts(tree)
    axis = step_axis(first.step)
    places = first.layout
    names = metric_names(tree)
    summary = recurrence(tree, *cells[0])
    counts = np.flatnonzero(usable(root))
    status = root["status"].transpose("task", "ablation", "checkpoint").values
    return {
        "task": behaviour.task,
        "ablation": [str(name) for name in root["ablation"].values],
        "readout": behaviour.readout,
        "unit": behaviour.unit,
        "checkpoint": first.checkpoint,
        "step": [int(step) for step in first.step],
        "status": status.astype(str).tolist(),
        "axis": {"first": axis.first, "ticks": axis.ticks},
        "component": places.component,
        "kind": places.kind,
        "layer": [int(layer) for layer in places.layer],
        "depth": [float(depth) for depth in places.depth],
        "height": [float(height) for height in places.height],
        "edges": len(places.source),
        "kept": len(kept),
        "drawn": DRAWN,
        "roles": "roles" in tree.children,
        "metric": () if isinstance(names, Missing) else [_about(tree, n, cells[0]) for n in names],
        "foremost": [] if isinstance(names, Missing) else _foremost(names),
        "recurrence": "" if isinstance(summary, Missing) else summary.summary,
        "phases": [_phases(phases(tree, *cell)) for cell in cells],
        "start": {
            "task": behaviour.task.index(task_of_interest(root)),
            "ablation": 0,
            "checkpoint": int(counts[-1]) if len(counts) else 0,
        },
    }


def _foremost(names: tuple[str, ...]) -> list[int]:
    found = [names.index(name) for name in FOREMOST if name in names]
    return found or list(range(len(names)))[:6]


def _about(tree: xr.DataTree, name: str, cell: tuple[str, str]) -> dict[str, Any]:
    one = metric(tree, name, *cell)
    return {
        "name": one.name,
        "summary": one.summary,
        "unit": one.unit,
        "null": one.null,
        "draws": one.draws,
    }


def _phases(found: Phases | Missing) -> dict[str, Any] | None:
    if isinstance(found, Missing):
        return None
    return {
        "count": found.count,
        "p": _number(found.p_value),
        "boundary": [
            [float(bound) for bound in bounds]
            for bounds in zip(found.lower, found.step, found.upper, strict=True)
        ],
        "name": found.name,
        "readout_step": {name: _number(step) for name, step in found.readout_step.items()},
    }


def _number(value: float) -> float | None:
    """Return a number, None for NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)
