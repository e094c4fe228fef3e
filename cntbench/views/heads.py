"""What heads do, by their scores: previous token, induction, duplicate token, position, copying.

At one checkpoint, and over training with the onset of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.results.film import usable
from cntbench.results.schema import HEAD_SCORES

Array = NDArray[np.float64]

#: A head does something if its score is at least this.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Behaviour:
    """What heads may do.

    Parameters
    ----------
    score
        The variable of the result that says how much they do it.
    name
        In front of "head".
    meaning
        What such a head does, after "it".
    """

    score: str
    name: str
    meaning: str


#: The behaviours, the most telling first.
BEHAVIOURS = (
    Behaviour("previous_token", "previous-token", "attends to the previous token"),
    Behaviour(
        "prefix_matching", "induction", "attends to what followed the token's earlier occurrence"
    ),
    Behaviour("duplicate_token", "duplicate-token", "attends to the token's earlier occurrences"),
    Behaviour("positional", "positional", "attends at one distance"),
    Behaviour("copying", "copying", "raises the logits of what it attends to"),
)
#: Only reported for heads without a more telling behaviour, which always have this one, too.
_GENERAL = "positional"


@dataclass(frozen=True)
class ScoredBehaviour:
    """A behaviour of a head, and its score."""

    behaviour: Behaviour
    score: float


def behaviours(
    root: xr.Dataset, task: str, checkpoint: int
) -> dict[str, tuple[ScoredBehaviour, ...]]:
    """Return what each head does on a task at a checkpoint, most telling first.

    Heads that do nothing are left out, and so are MLPs. A result need not have all of the scores.
    """
    at = {"task": root.get_index("task").get_loc(task), "checkpoint": checkpoint}
    by_component: dict[str, list[ScoredBehaviour]] = {}
    for behaviour in BEHAVIOURS:
        if behaviour.score not in root:
            continue
        values = root.variables[behaviour.score].isel(at, missing_dims="ignore").values
        for i in np.flatnonzero(np.nan_to_num(values) >= THRESHOLD):
            component = str(root["source"].values[i])
            if behaviour.score != _GENERAL or component not in by_component:
                by_component.setdefault(component, []).append(
                    ScoredBehaviour(behaviour, float(values[i]))
                )
    return {component: tuple(done) for component, done in by_component.items()}


@dataclass(frozen=True)
class HeadScores:
    """What the heads of a model do on a task, over training.

    Parameters
    ----------
    score
        Names of the scores that the result holds, of `cntbench.results.schema.HEAD_SCORES`.
    label
        What plots call them.
    head
        Names of the heads, in causal order.
    step
        Dims ``checkpoint``.
    value
        Dims ``score, checkpoint, head``; NaN where not defined, not measured, and at duplicates.
    onset
        Step of the first checkpoint from which on the score is at least `THRESHOLD`, dims
        ``score, head``; NaN if it is less at the last one.
    """

    score: tuple[str, ...]
    label: tuple[str, ...]
    head: tuple[str, ...]
    step: NDArray[np.int64]
    value: Array
    onset: Array

    def foremost(self, count: int) -> NDArray[np.int64]:
        """Return the indices of heads that do something at the end, the clearest first."""
        known = np.isfinite(self.onset)
        last = np.full(self.onset.shape, -np.inf)
        for score, head in np.argwhere(known):
            course = self.value[score, :, head]
            last[score, head] = course[np.isfinite(course)][-1]
        best = last.max(axis=0, initial=-np.inf)
        order = np.argsort(-best, kind="stable")
        return order[np.isfinite(best[order])][:count]


def head_scores(tree: xr.DataTree, task: str) -> HeadScores:
    """Return the scores of heads on a task."""
    root = tree.to_dataset(inherit=False)
    heads = np.flatnonzero(root["source_kind"].values == "head")
    names = tuple(name for name in HEAD_SCORES if name in root)
    courses = []
    for name in names:
        scores = root[name].sel(task=task) if "task" in root[name].dims else root[name]
        values = scores.variable.transpose("checkpoint", "source").values.astype(np.float64)
        courses.append(np.where(usable(root)[:, None], values, np.nan)[:, heads])
    value = np.stack(courses)
    steps = np.asarray(root["step"].values, dtype=np.int64)
    return HeadScores(
        score=names,
        label=tuple(str(root[name].attrs.get("long_name", name)) for name in names),
        head=tuple(map(str, root["source"].values[heads])),
        step=steps,
        value=value,
        onset=np.array([[_onset(course, steps) for course in rows.T] for rows in value]),
    )


def _onset(course: Array, steps: NDArray[np.int64]) -> float:
    """Return the step from which on a score is at least the threshold, or NaN."""
    known = np.flatnonzero(np.isfinite(course))
    below = np.flatnonzero(course[known] < THRESHOLD)
    after = known[below[-1] + 1 :] if len(below) else known
    return float(steps[after[0]]) if len(after) else np.nan
