"""Warnings of what a study's prompts are not: all of a file, different, or as in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cntbench.errors import CntbenchNote, warn
from cntbench.models.trajectory import Trajectory
from cntbench.prompts import Prompts
from cntbench.prompts.generators.file import PromptTable
from cntbench.runs.catalogue import StudyEntry
from cntbench.runs.tasks import Task


def warn_of_prompts(
    study: StudyEntry,
    tasks: Sequence[Task],
    prompts_of_tasks: Sequence[Prompts],
    trajectory: Trajectory,
) -> None:
    """Warn of prompts that are left out, repeat others, or lack the token before every text."""
    tokenizer, of_config = trajectory.tokenizer, trajectory.shape.beginning
    beginning = None if tokenizer is None else tokenizer.beginning
    remedy = "; a task's file with bos = true puts it there"
    if beginning != of_config:
        remedy = f", but the config's bos_token_id is {of_config}: bos = true does not put it there"
    for task, prompts in zip(tasks, prompts_of_tasks, strict=True):
        if task.table is not None and prompts.origin is not None:
            _warn_of_rows(study, task.name, task.table, prompts)
        if beginning is not None and task.needs_text and (prompts.tokens[:, 0] != beginning).any():
            warn(
                f"task {task.name!r} has prompts without token {beginning}, which the model's "
                f"tokenizer puts before every text{remedy}",
                CntbenchNote,
            )


def _warn_of_rows(study: StudyEntry, task: str, table: PromptTable, prompts: Prompts) -> None:
    """Warn of rows that are left out, or not reached if none says so, and of those that repeat."""
    assert prompts.origin is not None
    places = [row.where for row in table.rows]
    enough = len(prompts) == study.spec.prompts
    read = places.index(prompts.origin[-1]) + 1 if enough else len(places)
    if len(prompts) < read:
        warn(
            f"task {task!r} leaves out {read - len(prompts)} of {read} prompts of its file, which "
            'cannot be used (its parameter unusable is "skip")'
        )
    if read < len(places) and "prompts" not in study.changes:
        warn(
            f"task {task!r} measures {len(prompts)} of the {len(places)} prompts of its file; the "
            "study's key prompts, --prompts and prompts= say how many"
        )
    repeated = len(prompts) - _count_different(prompts)
    if repeated:
        repeat = "repeats another" if repeated == 1 else "repeat others"
        warn(
            f"task {task!r}: {repeated} of {len(prompts)} prompts {repeat}, and standard errors "
            "count each as a new one",
            CntbenchNote,
        )


def _count_different(prompts: Prompts) -> int:
    """Return how many prompts differ in any of their tokens."""
    parts = (prompts.tokens, prompts.reference, prompts.scored, prompts.targets, prompts.decoys)
    rows = [part.reshape(len(prompts), -1) for part in parts if part is not None]
    return len(np.unique(np.concatenate(rows, axis=1), axis=0))
