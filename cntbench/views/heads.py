"""What heads do, by their scores: previous token, induction, duplicate token, position, copying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

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
