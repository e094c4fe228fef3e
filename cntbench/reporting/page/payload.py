"""The page's data: labels as JSON, and arrays of all tasks, ablations and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.roles import ROLES
from cntbench.reporting.page.circuits import finite
from cntbench.reporting.sentences.head import lost, phase_words
from cntbench.results.film import usable
from cntbench.results.schema import STATUS
from cntbench.views.bump import bump
from cntbench.views.colours import scale
from cntbench.views.effects import effects
from cntbench.views.emergence import emergence, moments
from cntbench.views.film import FilmView, film
from cntbench.views.heads import BEHAVIOURS, THRESHOLD, Behaviour
from cntbench.views.metrics import FOREMOST, PhaseView, metric, metric_names, phases, recurrence
from cntbench.views.missing import Missing
from cntbench.views.readouts import readouts, task_of_interest
from cntbench.views.steps import step_axis
from cntbench.views.tasks import kinds

Array = NDArray[np.float64]

#: Largest number of edge weights on a page; of larger films, only the strongest edges are kept.
EDGE_VALUES = 1_000_000
#: Smallest number of edges kept for each cell.
_FEWEST_EDGES = 60
#: Number of edges that are drawn by default.
DRAWN = 150


@dataclass(frozen=True)
class Payload:
    """Labels and numbers of the page.

    Parameters
    ----------
    labels
        Becomes JSON.
    arrays
        Arrays by name; their shapes are in ``labels["dims"]``. Their dims are ``task, ablation``
        (readouts and attention lack ``ablation``), then components, edges or metrics, then
        ``checkpoint``; the last dim of ``recurrence`` is the pairs of checkpoints above the
        diagonal.
    """

    labels: Mapping[str, Any]
    arrays: Mapping[str, Array]


def payload(tree: xr.DataTree) -> Payload:
    """Collect what the page draws from a result."""
    root = tree.to_dataset(inherit=False)
    cells = [
        (str(task), str(ablation))
        for task in root["task"].values
        for ablation in root["ablation"].values
    ]
    films = [film(tree, *cell) for cell in cells]
    arrays, dims = _behaviour(tree)
    held = _held(films)
    per_cell = {
        "edge": [_edge_codes(view, edges) for view, edges in zip(films, held, strict=True)],
        "weight": [view.weight.T[edges] for view, edges in zip(films, held, strict=True)],
        "error": [view.error.T[edges] for view, edges in zip(films, held, strict=True)],
        **_of_components(tree, films, cells),
        **_of_graphs(tree, cells),
    }
    shape = root.sizes["task"], root.sizes["ablation"]
    for name, parts in per_cell.items():
        stacked = np.stack(parts)
        arrays[name] = stacked.reshape(*shape, *stacked.shape[1:])
        dims[name] = list(arrays[name].shape)
    return Payload(_labels(tree, films[0], cells, held[0]) | {"dims": dims}, arrays)


def _behaviour(tree: xr.DataTree) -> tuple[dict[str, Array], dict[str, list[int]]]:
    """Return readouts and attention scores, which no ablation changes."""
    view = readouts(tree)
    root = tree.to_dataset(inherit=False)
    arrays: dict[str, Array] = {"readout": view.value, "readout_error": view.error}
    for behaviour in _known(root):
        scores = root[behaviour.score].broadcast_like(root["status"].isel(ablation=0, drop=True))
        values = scores.variable.transpose("task", "source", "checkpoint").values.astype(np.float64)
        arrays[behaviour.score] = np.where(usable(root), values, np.nan)
    return arrays, {name: list(values.shape) for name, values in arrays.items()}


def _known(root: xr.Dataset) -> list[Behaviour]:
    """Return the behaviours of heads whose scores the result has."""
    return [behaviour for behaviour in BEHAVIOURS if behaviour.score in root]


def _held(films: list[FilmView]) -> list[NDArray[np.int64]]:
    """Return, for each film, the indices of the edges that the page holds."""
    checkpoints, edges = films[0].weight.shape
    count = max(_FEWEST_EDGES, EDGE_VALUES // max(1, len(films) * checkpoints))
    if edges <= count:
        return [np.arange(edges)] * len(films)
    largest = (np.nan_to_num(view.weight).max(axis=0, initial=0) for view in films)
    return [np.sort(np.argsort(-row, kind="stable")[:count]) for row in largest]


def _edge_codes(view: FilmView, edges: NDArray[np.int64]) -> Array:
    """Return each edge as source × number of components + target."""
    layout = view.layout
    return (layout.source[edges] * len(layout.component) + layout.target[edges]).astype(np.float64)


def _of_components(
    tree: xr.DataTree, films: list[FilmView], cells: list[tuple[str, str]]
) -> dict[str, list[Array]]:
    """Return effects, and strengths by role, of each cell; dims ``component, checkpoint``."""
    of_effects = [effects(tree, *cell) for cell in cells]
    arrays = {
        "effect": [view.effect.T for view in of_effects],
        "effect_error": [view.error.T for view in of_effects],
    }
    for role, sums in zip(ROLES, ("sent", "received"), strict=True):
        views = [bump(tree, role, *cell) for cell in cells]
        ranked = [view for view in views if not isinstance(view, Missing)]
        if not ranked:
            arrays[role] = [getattr(view, sums).T for view in films]
            continue
        arrays[role] = [view.strength.T for view in ranked]
        arrays[f"{role}_error"] = [view.error.T for view in ranked]
        arrays[f"{role}_rank"] = [view.rank.T for view in ranked]
        arrays[f"{role}_change"] = [view.reconfigures.astype(np.float64) for view in ranked]
    return arrays


def _of_graphs(tree: xr.DataTree, cells: list[tuple[str, str]]) -> dict[str, list[Array]]:
    """Return metrics and their null models, dims ``metric, checkpoint``, and recurrence."""
    names = metric_names(tree)
    if isinstance(names, Missing):
        return {}
    views = [[metric(tree, name, *cell) for name in names] for cell in cells]
    arrays = {
        name: [np.stack([getattr(view, field) for view in row]) for row in views]
        for name, field in (
            ("metric", "value"),
            ("null_mean", "mean"),
            ("null_deviation", "deviation"),
        )
    }
    matrices = [recurrence(tree, *cell) for cell in cells]
    upper = np.triu_indices(tree.sizes["checkpoint"], 1)
    values = [view.values[upper] for view in matrices if not isinstance(view, Missing)]
    return arrays | ({"recurrence": values} if values else {})


def _labels(
    tree: xr.DataTree, first: FilmView, cells: list[tuple[str, str]], held: NDArray[np.int64]
) -> dict[str, Any]:
    root = tree.to_dataset(inherit=False)
    behaviour = readouts(tree)
    axis = step_axis(first.step)
    layout = first.layout
    names = metric_names(tree)
    known = () if isinstance(names, Missing) else names
    foremost = [known.index(name) for name in FOREMOST if name in known]
    similarity = recurrence(tree, *cells[0])
    about = {} if isinstance(similarity, Missing) else similarity.attrs
    counts = np.flatnonzero(usable(root))
    status = root["status"].variable.transpose("task", "ablation", "checkpoint").values
    return {
        "task": behaviour.task,
        "ablation": [str(name) for name in root["ablation"].values],
        "readout": behaviour.readout,
        "unit": behaviour.unit,
        "step": first.step.tolist(),
        "status": status.astype(str).tolist(),
        "axis": {"first": axis.first, "ticks": axis.ticks},
        "component": layout.component,
        "kind": layout.kind,
        "behaviour": [{"score": does.score, "name": does.name} for does in _known(root)],
        "threshold": THRESHOLD,
        "layer": layout.layer.tolist(),
        "depth": layout.depth.tolist(),
        "height": layout.height.tolist(),
        "edges": len(layout.source),
        "kept": len(held),
        "drawn": DRAWN,
        "scale": {"light": scale(dark=False), "dark": scale(dark=True)},
        "roles": "roles" in tree.children,
        "metric": [_about(tree, name, cells[0]) for name in known],
        "foremost": foremost or list(range(len(known)))[:6],
        "recurrence": str(about.get("comment", about.get("long_name", ""))),
        "phases": [_phases(phases(tree, *cell), *cell) for cell in cells],
        "lost": {word: lost(word) for word in STATUS},
        "emergence": _emergence(root),
        "moments": moments(tree),
        "kinds": kinds(root, task_of_interest(root)),
        "start": {
            "task": behaviour.task.index(task_of_interest(root)),
            "ablation": 0,
            "checkpoint": int(counts[-1]) if len(counts) else 0,
        },
    }


def _about(tree: xr.DataTree, name: str, cell: tuple[str, str]) -> dict[str, Any]:
    view = metric(tree, name, *cell)
    return {key: getattr(view, key) for key in ("name", "summary", "unit", "null", "draws")}


def _emergence(root: xr.Dataset) -> dict[str, Any] | None:
    """Return the steps that the first figure marks, each with its interval."""
    risen = emergence(root, task_of_interest(root))
    if risen is None:
        return None
    return {
        name: finite([moment.step, moment.low, moment.high])
        for name in ("onset", "halfway")
        for moment in [getattr(risen, name)]
    }


def _phases(view: PhaseView | Missing, task: str, ablation: str) -> dict[str, Any] | None:
    if isinstance(view, Missing):
        return None
    return {
        "boundary": np.stack([view.lower, view.step, view.upper], axis=1).tolist(),
        "words": phase_words(view, task, ablation),
    }
