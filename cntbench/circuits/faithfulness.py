"""Faithfulness of circuits: how much of a readout a circuit alone recovers, over edge budgets.

With m(C) the readout of circuit C, all of whose complement is patched, M the whole model and ∅ no
edge at all,

    f(C) = (m(C) − m(∅)) / (m(M) − m(∅)),

so that f(∅) = 0 and f(M) = 1. With C_k the circuit of the share k of the edges, over the budgets
asked for and k = 1, by the trapezoidal rule,

    CPR = ∫ f(C_k) dk    (circuit performance ratio; larger is better),
    CMD = ∫ |1 − f(C_k)| dk    (circuit-model distance; smaller is better).

Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark" (arXiv 2504.13151), and
its code, ``evaluate_area_under_curve``: the budgets `MIB`, ⌊k n⌋ of n edges, pruned of edges on no
path from the embedding to the readout. Edges are ranked by their signed effect (those whose loss
hurts the readout most come first) or by its absolute value; the choice changes both numbers.

The complement of C asks for completeness (Wang et al. 2022, arXiv 2211.00593): a circuit that does
all of the work leaves a complement of faithfulness 0. Random circuits have as many edges between
each pair of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.analysis.intervals import CONFIDENCE
from cntbench.attributes import described
from cntbench.circuits.selection import (
    SELECTIONS,
    Edges,
    Ranking,
    Scores,
    Selection,
    layer_pairs,
    pruned,
    shuffled,
)
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import statistics_of
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.prompts import random_state

Array = NDArray[np.float64]

#: Shares of the edges at which MIB evaluates circuits.
MIB = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
RANKINGS: tuple[Ranking, ...] = ("signed", "absolute")
#: Random circuits of each circuit, and resamples of the prompts.
DRAWS = 10
RESAMPLES = 1000
#: The clean and the empty readout differ if by more than this share of their size.
DIFFERS = 1e-6

#: The variables, their dims beside the method's, and what they mean.
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "circuit_edges": (("ranking", "budget"), "edges of the circuit, pruned; unscored ones apart"),
    "circuit_readout": (("ranking", "budget"), "readout of the circuit, mean over prompts"),
    "faithfulness": (("ranking", "budget"), "share of the readout that the circuit recovers"),
    "faithfulness_lower": (("ranking", "budget"), "lower end of its bootstrap over prompts, 95 %"),
    "faithfulness_upper": (("ranking", "budget"), "upper end of its bootstrap over prompts, 95 %"),
    "complement_faithfulness": (
        ("ranking", "budget"),
        "share of the readout that all edges but the circuit's recover; 0 if it is complete",
    ),
    "random_faithfulness": (
        ("ranking", "budget", "draw"),
        "faithfulness of random circuits with as many edges between each pair of layers",
    ),
    **{
        f"{name}{end}": (("ranking",), about + which)
        for name, about in (
            ("cpr", "area under the faithfulness over shares of edges"),
            ("cmd", "area between the faithfulness and 1 over shares of edges"),
        )
        for end, which in (
            ("", ""),
            ("_lower", ", lower end of its bootstrap over prompts, 95 %"),
            ("_upper", ", upper end of its bootstrap over prompts, 95 %"),
        )
    },
    "random_cpr": (("ranking", "draw"), "area under the faithfulness of random circuits"),
    "random_cmd": (("ranking", "draw"), "area between the faithfulness of random circuits and 1"),
    "clean_readout": ((), "readout of the whole model, mean over prompts"),
    "empty_readout": ((), "readout with every scored edge patched, mean over prompts"),
}


@dataclass(frozen=True)
class Choice:
    """Which circuits are put to work.

    Parameters
    ----------
    budgets
        Shares of the scored edges, rising, above 0 and at most 1.
    rankings
        ``"signed"``: the edges whose patching hurts the readout most come first; ``"absolute"``:
        those whose patching changes it most.
    selection
        ``"top"``: the best edges; ``"greedy"``: the best edges into what is already reached,
        walking from the readout.
    threshold
        Instead of budgets: all edges of at least this score.
    draws
        Random circuits for each circuit.
    seed
        Of random circuits and of the bootstrap.
    """

    budgets: Sequence[float] = MIB
    rankings: Sequence[Ranking] = RANKINGS
    selection: Selection = "top"
    threshold: float | None = None
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        for share in self.budgets:
            if not 0 < share <= 1:
                raise CntbenchError(
                    f"a budget of {100 * share:g} % of the edges is not allowed",
                    hint="Allowed: more than 0 %, at most 100 %.",
                )
        if list(self.budgets) != sorted(set(self.budgets)):
            raise CntbenchError("budgets have to rise, each once", hint="For instance 1,5,20,50.")


@dataclass(frozen=True)
class EdgeScores:
    """What a method says of the edges of a model.

    Parameters
    ----------
    values
        Dims ``source, target`` as in `cntbench.circuits.selection`. If ``signed``, effects of
        patching the edge that are positive where patching hurts the readout. NaN where there is no
        edge, or none is scored.
    signed
        Whether the sign means anything. If not, both rankings are the same.
    """

    values: Scores
    signed: bool = True

    def by(self, ranking: Ranking) -> Scores:
        """Return what edges are ranked by."""
        return self.values if ranking == "signed" and self.signed else np.abs(self.values)


def faithfulness(request: Request, scores: EdgeScores, choice: Choice | None = None) -> xr.Dataset:
    """Put the circuits of one method to work.

    Parameters
    ----------
    request
        The model, the prompts, one ablation whose replacement patches the edges outside of
        circuits, and the readout.
    scores
        Of the method.
    choice
        Which circuits; by default those of MIB.

    Returns
    -------
    xarray.Dataset
        The `VARIABLES`, dims ``ranking, budget, draw``; the coordinate ``budget`` is a share of the
        scored edges.

    Raises
    ------
    CntbenchError
        If scores do not fit the model, or score no edge.
    """
    choice, request = choice or Choice(), request.checked()
    edges = edges_of(request.model)
    if scores.values.shape[-2:] != edges.shape:
        raise CntbenchError(
            f"scores of {scores.values.shape[-2] - 1} components do not fit a model of "
            f"{len(request.model.components)}"
        )
    values = np.where(edges, scores.values, np.nan)
    scored = np.isfinite(values)
    if not scored.any():
        raise CntbenchError("no edge has a score, so that there is no circuit")
    chosen = [_circuits(EdgeScores(values, scores.signed).by(r), choice) for r in choice.rankings]
    return measured(request, np.stack(chosen), scored, choice)


def measured(request: Request, kept: Edges, scored: Edges, choice: Choice) -> xr.Dataset:
    """Put circuits to work, dims ``ranking, budget`` and those of edges; see `faithfulness`."""
    edges = edges_of(request.model)
    unscored = edges & ~scored
    layers = np.array([node.layer for node in request.model.components])
    groups = layer_pairs(layers, scored.shape)
    rng = random_state(choice.seed, "random circuits")
    random = np.array(
        [[shuffled(circuit, scored, groups, rng, choice.draws) for circuit in row] for row in kept]
    )
    circuits = _working(kept, unscored)
    parts = {
        "ends": np.stack([unscored, edges | unscored]),
        "circuit": circuits,
        "complement": (scored & ~circuits) | unscored,
        "random": _working(random, unscored),
    }
    sizes = [part.size // scored.size for part in parts.values()]
    flat = np.concatenate([part.reshape(-1, *scored.shape) for part in parts.values()])
    found = circuit_readouts(request, statistics_of(request), flat)
    readouts = {
        name: rows.reshape(*part.shape[: part.ndim - scored.ndim], -1)
        for (name, part), rows in zip(
            parts.items(), np.split(found, np.cumsum(sizes)[:-1]), strict=True
        )
    }
    count = int(scored.sum())
    shares = (
        np.array(choice.budgets)
        if choice.threshold is None
        else kept.sum(axis=tuple(range(2, kept.ndim)))[0] / count
    )
    axes = tuple(range(2, circuits.ndim))
    numbers: dict[str, Any] = {"circuit_edges": (circuits & scored).sum(axis=axes)}
    numbers |= _summary(readouts, shares, choice)
    return _dataset(numbers, shares, count, choice)


def _circuits(scores: Scores, choice: Choice) -> Edges:
    """Return the circuits of all budgets, dims ``budget`` and those of scores."""
    if choice.threshold is not None:
        kept = np.isfinite(scores) & (scores >= choice.threshold)
        if not kept.any():
            raise CntbenchError(
                f"no edge has a score of at least {choice.threshold:g}",
                hint=f"The largest is {np.nanmax(scores):g}.",
            )
        return kept[None]
    count, select = int(np.isfinite(scores).sum()), SELECTIONS[choice.selection]
    return np.stack([select(scores, size_of(share, count)) for share in choice.budgets])


def size_of(share: float, count: int) -> int:
    """Return the number of edges of a share of them, rounded down as MIB does."""
    return int(share * count + 1e-9)


def _working(kept: Edges, unscored: Edges) -> Edges:
    """Return circuits with all edges that are not scored, pruned."""
    flat = kept.reshape(-1, *unscored.shape)
    working = np.array([pruned(circuit | unscored) | unscored for circuit in flat], dtype=bool)
    return working.reshape(kept.shape)


def _summary(readouts: dict[str, Array], shares: Array, choice: Choice) -> dict[str, Any]:
    """Return means over prompts, faithfulness and areas, with intervals by resampling prompts."""
    means = {name: values.mean(axis=-1) for name, values in readouts.items()}
    share_of = {name: _share(mean, means["ends"]) for name, mean in means.items()}
    resampled = _resampled(readouts, choice.seed)
    again = _share(resampled["circuit"], resampled["ends"])
    numbers = {
        "circuit_readout": means["circuit"],
        "faithfulness": share_of["circuit"],
        "complement_faithfulness": share_of["complement"],
        "random_faithfulness": share_of["random"],
        "clean_readout": means["ends"][1],
        "empty_readout": means["ends"][0],
    }
    intervals = {"faithfulness": again}
    for name, height in (("cpr", _recovered), ("cmd", _missed)):
        numbers[name] = _area(height, share_of["circuit"], shares)
        numbers[f"random_{name}"] = _area(height, np.moveaxis(share_of["random"], 1, -1), shares)
        intervals[name] = _area(height, again, shares)
    if choice.threshold is not None:  # a single circuit has no area
        areas = [name for name in numbers if name.endswith(("cpr", "cmd"))]
        numbers |= {name: np.full_like(numbers[name], np.nan) for name in areas}
        intervals |= {name: np.full_like(intervals[name], np.nan) for name in ("cpr", "cmd")}
    tail = (1 - CONFIDENCE) / 2
    for name, values in intervals.items():
        enough = readouts["ends"].shape[-1] > 1
        ends = np.quantile(values, [tail, 1 - tail], axis=0) if enough else [np.nan, np.nan]
        for end, value in zip(("lower", "upper"), ends, strict=True):
            numbers[f"{name}_{end}"] = np.broadcast_to(value, numbers[name].shape)
    return numbers


def _share(values: Array, ends: Array) -> Array:
    """Return (m(C) − m(∅)) / (m(M) − m(∅)); NaN where the two ends do not differ.

    Dims of ``ends`` are those that ``values`` starts with, but for the first of its own: end.
    """
    empty, clean = np.moveaxis(ends, -1, 0)
    apart = clean - empty
    apart = np.where(abs(apart) > DIFFERS * np.maximum(abs(clean), abs(empty)), apart, np.nan)
    more = (...,) + (None,) * (values.ndim - apart.ndim)
    share: Array = (values - empty[more]) / apart[more]
    return share


def _resampled(readouts: dict[str, Array], seed: int) -> dict[str, Array]:
    """Return means over resampled prompts, dims ``resample`` and those of the circuits."""
    count = readouts["ends"].shape[-1]
    weights = random_state(seed, "prompts").multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return {
        name: np.moveaxis(readouts[name] @ (weights.T / count), -1, 0)
        for name in ("ends", "circuit")
    }


def _recovered(share: Array) -> Array:
    return share


def _missed(share: Array) -> Array:
    return abs(1 - share)


def _area(height: Callable[[Array], Array], share: Array, budgets: Array) -> Array:
    """Return an area up to budget 1, where faithfulness is 1; the last axis is the budget."""
    if budgets[-1] < 1:
        share = np.concatenate([share, np.ones_like(share[..., :1])], axis=-1)
        budgets = np.append(budgets, 1.0)
    return np.asarray(np.trapezoid(height(share), budgets, axis=-1))


def _dataset(numbers: dict[str, Any], shares: Array, count: int, choice: Choice) -> xr.Dataset:
    units = {"circuit_edges": "1"}
    return xr.Dataset(
        {
            name: (dims, numbers[name], described(name, about, units.get(name)))
            for name, (dims, about) in VARIABLES.items()
        },
        coords={
            "ranking": (
                "ranking",
                list(choice.rankings),
                {"long_name": "what edges are ranked by"},
            ),
            "budget": ("budget", shares, {"long_name": "share of the scored edges", "units": "1"}),
            "draw": ("draw", np.arange(choice.draws), {"long_name": "random circuit"}),
        },
        attrs={"scored_edges": count, "selection": choice.selection, "seed": choice.seed},
    )
