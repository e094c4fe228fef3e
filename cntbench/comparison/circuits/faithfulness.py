"""Faithfulness of circuits: how much of a readout a circuit alone recovers, over edge budgets.

Let m(C) be the readout of the model with every edge outside circuit C patched, M the whole model
and ∅ the circuit without edges. Then

    f(C) = (m(C) − m(∅)) / (m(M) − m(∅)),

so f(∅) = 0 and f(M) = 1. Let C_k be the circuit of the share k of the edges. By the trapezoidal
rule over the requested budgets and k = 1,

    CPR = ∫ f(C_k) dk    (circuit performance ratio; larger is better),
    CMD = ∫ |1 − f(C_k)| dk    (circuit-model distance; smaller is better).

Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark" (arXiv 2504.13151), and
its code, ``evaluate_area_under_curve``: the budgets `MIB`, ⌊k n⌋ of n edges, and edges on no path
from the embedding to the readout pruned. Edges are ranked by their signed effect (edges whose
patching hurts the readout most come first) or by its absolute value; the choice changes both areas.

The complement of C measures completeness (Wang et al. 2022, arXiv 2211.00593): if a circuit is
complete, its complement has faithfulness 0. Random circuits have the same number of edges between
each pair of layers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.analysis.intervals import jackknife_interval
from cntbench.comparison.circuits.selection import (
    SELECTIONS,
    Edges,
    Ranking,
    Scores,
    Selection,
    layer_pairs,
    shuffled,
    with_unscored,
)
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import statistics_of
from cntbench.engine.request import Request
from cntbench.errors import ARGUMENTS, CntbenchError, unknown
from cntbench.files.attributes import described
from cntbench.metrics._base import divide
from cntbench.plugins import find, room
from cntbench.prompts import random_state
from cntbench.results.faithfulness import NAMES, OF_CIRCUITS

Array = NDArray[np.float64]

#: Shares of the edges at which MIB evaluates circuits.
MIB = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
RANKINGS: tuple[Ranking, ...] = ("signed", "absolute")
#: Random circuits per circuit.
DRAWS = 10
#: Smallest relative difference of the clean and the empty readout; below it, f is undefined.
DIFFERS = 1e-6


@dataclass(frozen=True)
class Choice:
    """Which circuits are evaluated.

    Parameters
    ----------
    budgets
        Increasing shares of the scored edges, above 0 and at most 1; None for those of MIB.
    rankings
        ``"signed"``: edges whose patching hurts the readout most come first; ``"absolute"``: those
        whose patching changes it most.
    selection
        ``"top"``: the edges of the highest scores; ``"greedy"``: starting at the readout, the best
        edges into nodes that are already in the circuit.
    threshold
        Instead of budgets: all edges of at least this score.
    draws
        Number of random circuits per circuit.
    seed
        Seed of the random circuits.
    """

    budgets: Sequence[float] | None = None
    rankings: Sequence[Ranking] = RANKINGS
    selection: Selection = "top"
    threshold: float | None = None
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        for share in self.budgets or ():
            if not 0 < share <= 1:
                raise CntbenchError(
                    f"a budget of {100 * share:g} % of the edges is not allowed",
                    where=f"{ARGUMENTS}: budgets",
                    hint="It must be more than 0 % and at most 100 %.",
                )
        if list(self.shares) != sorted(set(self.shares)):
            where, hint = f"{ARGUMENTS}: budgets", "For example 1,5,20,50."
            raise CntbenchError("budgets must increase", where=where, hint=hint)
        for key, number in {"draws": self.draws, "seed": self.seed}.items():
            if number < 0:
                what, where = f"{number} is not allowed", f"{ARGUMENTS}: {key}"
                raise CntbenchError(what, where=where, hint="It must be 0 or more.")
        for name in self.rankings:
            if name not in RANKINGS:
                raise unknown("ranking", name, RANKINGS, where=f"{ARGUMENTS}: ranking")
        if self.selection not in SELECTIONS:
            where = f"{ARGUMENTS}: select"
            raise unknown("selection", self.selection, SELECTIONS, where=where)
        if self.threshold is not None and (self.budgets or len(self.rankings) > 1):
            raise CntbenchError(
                "a threshold takes one ranking and no budgets",
                where=f"{ARGUMENTS}: threshold",
                hint="Name the ranking, signed or absolute, and leave budgets out.",
            )
        if self.threshold is not None and self.selection != "top":
            raise CntbenchError(
                "a threshold takes all edges of at least that score: select would have no effect",
                where=f"{ARGUMENTS}: threshold",
                hint="Name either a threshold, or budgets and how to select their edges.",
            )

    @property
    def rule(self) -> str:
        """How edges are selected, in a word or a few."""
        return self.selection if self.threshold is None else f"scores of at least {self.threshold}"

    @property
    def shares(self) -> Sequence[float]:
        """The budgets, by default those of MIB."""
        return self.budgets or MIB

    def sizes(self, count: int) -> list[int]:
        """Return the numbers of edges of the budgets, rounded down as MIB does.

        Raises
        ------
        CntbenchError
            If a requested budget holds no edge. The default budgets may.
        """
        sizes = [int(share * count + 1e-9) for share in self.shares]
        if self.budgets and not sizes[0]:
            raise CntbenchError(
                f"a budget of {100 * self.budgets[0]:g} % of {count} edges holds no edge",
                hint=f"One edge is {100 / count:.3g} %. Name budgets of at least that.",
            )
        return sizes


@dataclass(frozen=True)
class EdgeScores:
    """A method's scores of the edges of a model.

    Parameters
    ----------
    values
        Dims ``source, target`` as in `cntbench.comparison.circuits.selection`; NaN for unscored
        edges. Signed scores are positive where patching the edge hurts the readout.
    signed
        Whether scores have a sign. If not, both rankings agree.
    """

    values: Scores
    signed: bool = True

    def by(self, ranking: Ranking) -> Scores:
        """Return the scores in which larger values rank first."""
        return self.values if ranking == "signed" and self.signed else np.abs(self.values)


def faithfulness(request: Request, scores: EdgeScores, choice: Choice | None = None) -> xr.Dataset:
    """Measure the faithfulness of one method's circuits.

    Parameters
    ----------
    request
        The model, the prompts, one ablation whose replacement patches the edges outside a circuit,
        and the readout.

    Returns
    -------
    xarray.Dataset
        The variables of `OF_CIRCUITS`, dims ``ranking, budget, draw``; the coordinate ``budget`` is
        a share of the scored edges.

    Raises
    ------
    CntbenchError
        If the scores do not fit the model, or no edge has a score.
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
        raise CntbenchError("no edge has a score")
    ranked = [EdgeScores(values, scores.signed).by(ranking) for ranking in choice.rankings]
    chosen = np.stack([_circuits(values, choice) for values in ranked])
    unscored = edges & ~scored
    layers = np.array([node.layer for node in request.model.components])
    groups = layer_pairs(layers, scored.shape)
    rng = random_state(choice.seed, "random circuits")
    random = np.array(
        [[shuffled(part, scored, groups, rng, choice.draws) for part in row] for row in chosen]
    )
    circuits = with_unscored(chosen, unscored)
    parts = {
        "ends": np.stack([unscored, edges | unscored]),
        "circuit": circuits,
        "complement": (scored & ~circuits) | unscored,
        "random": with_unscored(random, unscored),
    }
    readouts = _readouts(request, parts, scored.shape)
    shares = np.array([np.nan] if choice.threshold is not None else choice.shares)
    numbers = {
        "circuit_edges": (circuits & scored).sum(axis=tuple(range(2, circuits.ndim))),
        "scored_edges": int(scored.sum()),
        **_summary(readouts, shares),
    }
    return _dataset(numbers, shares, choice)


def _readouts(
    request: Request, parts: dict[str, Edges], shape: tuple[int, ...]
) -> dict[str, Array]:
    """Run all circuits together; return readouts, dims those before the edges and ``prompt``."""
    flat = {name: part.reshape(-1, *shape) for name, part in parts.items()}
    together = np.concatenate(list(flat.values()))
    readouts = circuit_readouts(request, statistics_of(request), together)
    ends = np.cumsum([len(part) for part in flat.values()])
    return {
        name: rows.reshape(*part.shape[: part.ndim - len(shape)], rows.shape[-1])
        for (name, part), rows in zip(parts.items(), np.split(readouts, ends[:-1]), strict=True)
    }


def _circuits(scores: Scores, choice: Choice) -> Edges:
    """Return the circuits of all budgets, dims ``budget`` and those of the scores."""
    if choice.threshold is not None:
        chosen = np.isfinite(scores) & (scores >= choice.threshold)
        if not chosen.any():
            raise CntbenchError(
                f"no edge has a score of at least {choice.threshold:g}",
                hint=f"The largest is {np.nanmax(scores):g}.",
            )
        return chosen[None]
    count, select = int(np.isfinite(scores).sum()), SELECTIONS[choice.selection]
    return np.stack([select(scores, size) for size in choice.sizes(count)])


def _summary(readouts: dict[str, Array], shares: Array) -> dict[str, Any]:
    """Return means over prompts, faithfulness and areas, with intervals over prompts."""
    means = {name: values.mean(axis=-1) for name, values in readouts.items()}
    share_of = {name: _share(mean, means["ends"]) for name, mean in means.items()}
    left_out = {name: _without_each(readouts[name]) for name in ("ends", "circuit")}
    left_share = _share(left_out["circuit"], left_out["ends"])
    numbers = {
        "circuit_readout": means["circuit"],
        "faithfulness": share_of["circuit"],
        "complement_faithfulness": share_of["complement"],
        "random_faithfulness": share_of["random"],
        "clean_readout": means["ends"][1],
        "empty_readout": means["ends"][0],
    }
    of_others = {"faithfulness": left_share}
    for name, missed in (("cpr", False), ("cmd", True)):
        random = np.moveaxis(share_of["random"], 1, -1)
        numbers[name] = _area(share_of["circuit"], shares, missed=missed)
        numbers[f"random_{name}"] = _area(random, shares, missed=missed)
        of_others[name] = _area(left_share, shares, missed=missed)
    for name, values in of_others.items():
        lower, upper = jackknife_interval(numbers[name], values)
        numbers[f"{name}_lower"] = np.maximum(lower, 0) if name == "cmd" else lower
        numbers[f"{name}_upper"] = upper
    return numbers


def _share(values: Array, ends: Array) -> Array:
    """Return (m(C) − m(∅)) / (m(M) − m(∅)); NaN where the two ends do not differ.

    The last dim of ``ends`` is m(∅), m(M); the others are the leading dims of ``values``.
    """
    empty, clean = np.moveaxis(ends, -1, 0)
    gap = clean - empty
    gap = np.where(abs(gap) > DIFFERS * np.maximum(abs(clean), abs(empty)), gap, np.nan)
    expand = (...,) + (None,) * (values.ndim - gap.ndim)
    share: Array = (values - empty[expand]) / gap[expand]
    return share


def _without_each(values: Array) -> Array:
    """Return means over all prompts but one, dims ``prompt`` and those before it."""
    count = values.shape[-1]
    others = (values.sum(axis=-1, keepdims=True) - values) / max(count - 1, 1)
    return np.moveaxis(others, -1, 0)


def _area(share: Array, budgets: Array, *, missed: bool) -> Array:
    """Integrate faithfulness, or what it misses of 1, over the budgets, the last axis, and to 1.

    The circuit of a threshold, whose budget is NaN, and that of all edges have no area: NaN.
    """
    if budgets[-1] < 1:
        share = np.concatenate([share, np.ones_like(share[..., :1])], axis=-1)
        budgets = np.append(budgets, 1.0)
    if len(budgets) < 2:
        return np.full(share.shape[:-1], np.nan)
    height = abs(1 - share) if missed else share
    return np.asarray(np.trapezoid(height, budgets, axis=-1))


def _dataset(numbers: dict[str, Any], shares: Array, choice: Choice) -> xr.Dataset:
    variables = {
        name: (dims, numbers[name], described(name, about, units))
        for name, (dims, about, units) in OF_CIRCUITS.items()
    }
    labels = {"ranking": list(choice.rankings), "budget": shares, "draw": np.arange(choice.draws)}
    return xr.Dataset(
        variables,
        coords={name: (name, labels[name], {"long_name": about}) for name, about in NAMES.items()},
        attrs={"selection": choice.rule, "seed": choice.seed},
    )


def observed_readout(root: xr.Dataset, task: str) -> str:
    """Return the readout that the edges of a film were measured on: the first of the effects."""
    recorded = json.loads(root.attrs.get("spec", "{}")).get("tasks", {}).get(task, {})
    imported = json.loads(root.attrs.get("import_spec", "{}")).get("readout")
    effects = recorded.get("effects") or [imported or root["readout"].values[-1]]
    return str(effects[0])


def scores_of(cell: xr.Dataset, readout: str) -> EdgeScores:
    """Return the scores of one method of a result, with edges into the unembedding.

    A method that observes the readout scores an edge by the change of the readout when the edge is
    patched: ``edge_effect``, and ``readout_effect`` for edges into the unembedding. A method that
    observes targets, or whose estimator's values have no sign, scores an edge by ``influence``, and
    edges into the unembedding by the change of the readout relative to its clean value; these
    scores have no sign. No method scores edges from the embedding.

    Parameters
    ----------
    cell
        ``influence``, ``edge_effect``, ``readout_effect`` and ``readout_value`` of one task,
        ablation and checkpoint.
    readout
        The readout that edges were measured on: the first of the task's effects.

    Raises
    ------
    CntbenchError
        If nothing was measured in the cell.
    """
    influence, effect, on_readout, value = (
        np.asarray(cell[name].values, dtype=np.float64)
        for name in ("influence", "edge_effect", "readout_effect", "readout_value")
    )
    if not np.isfinite(influence).any():
        reason = str(cell["status_reason"].item()) if "status_reason" in cell else ""
        raise CntbenchError(f"has no influence to rank edges by{reason and f': {reason}'}")
    row = list(map(str, cell["readout"].values)).index(readout)
    signed = bool(np.isfinite(effect).any()) and _signed(cell)
    values = np.full((len(influence) + 1, len(influence) + 1), np.nan)
    if signed:
        better = find("readout", readout).BETTER
        values[1:, :-1], values[1:, -1] = -better * effect, -better * on_readout[row]
    else:
        values[1:, :-1], values[1:, -1] = influence, divide(abs(on_readout[row]), abs(value[row]))
    return EdgeScores(values, signed)


def _signed(cell: xr.Dataset) -> bool:
    """Return whether the effects of edges are changes of the readout, as far as is known."""
    recorded = json.loads(cell.attrs.get("spec", "{}")).get("ablations", {})
    ablation = str(cell["ablation"].item()) if "ablation" in cell.coords else ""
    estimator = recorded.get(ablation, {}).get("estimator")
    estimators = room("estimator")
    return estimator not in estimators or getattr(estimators[estimator].module, "SIGNED", True)
