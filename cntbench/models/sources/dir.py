"""dir:PATH, a folder of checkpoints, one subfolder per step (step1000, checkpoint-1000, 1000).

Each subfolder holds ``config.json`` and weights as ``save_pretrained`` writes them:
``model.safetensors``, ``model-*.safetensors``, or ``pytorch_model.bin``; or one ``*.gguf``. A
``tokenizer.json``, in the folder or in one of the subfolders, says which tokens stand for ordinary
text, and lets tasks be made of text.

`cntbench.models.steps` says which step a name tells. What lies beside the checkpoints (``runs``,
``logs``, a ``final`` model) is left out, and a warning names it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cntbench.errors import CheckpointError, CntbenchWarning, listed
from cntbench.models import checkpoint_files
from cntbench.models.adapters._base import Shape
from cntbench.models.foreign import foreign
from cntbench.models.origin import Folder
from cntbench.models.steps import EXPECTED, NamedStep, named_step
from cntbench.models.tokenizer import TokenizerFile
from cntbench.models.trajectory import Checkpoint, Progress, Trajectory

#: Folders that a message names.
_NAMED = 8


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Find and hash all checkpoints in a folder.

    A checkpoint that cannot be read has no revision; to read it tells why.

    Raises
    ------
    CheckpointError
        If the folder has no checkpoints, two of one step, one whose name does not tell its step for
        sure, or none that can be read.
    """
    if not where:
        raise CheckpointError(
            "dir: needs a folder", hint="Write dir:PATH, for instance dir:checkpoints/run1."
        )
    root = Path(where)
    if not root.is_dir():
        raise CheckpointError("no such folder", where=where)
    found = _subfolders(root)
    steps = found.steps
    problems: list[CheckpointError] = []
    checkpoints: list[Checkpoint] = []
    shapes: dict[Path, Shape] = {}
    for done, folder in enumerate(steps):
        progress("checking checkpoints", done, len(steps))
        named = steps[folder]
        checkpoint = Checkpoint(folder.name, named.step, "", Folder(folder), named.tokens_seen)
        try:
            with foreign("cannot be read", folder):
                shape = checkpoint_files.read_shape(folder)
                weights = checkpoint_files.read_weights(folder)
                checkpoint = replace(checkpoint, revision=weights.revision, former=weights.former)
                shapes[folder] = shape
        except CheckpointError as error:
            problems.append(error)
        checkpoints.append(checkpoint)
    progress("checking checkpoints", len(steps), len(steps))
    if not shapes:
        raise problems[0]
    # The one that most have, or the first: a bad one shall not cost the others.
    shape = Counter(shapes.values()).most_common(1)[0][0]
    config = next(folder for folder, its in shapes.items() if its == shape)
    _warn_of(root, found)
    return Trajectory(
        f"dir:{root.resolve()}",
        shape,
        tuple(checkpoints),
        tokenizer=TokenizerFile.beside(root, *steps),
        config=config,
    )


class _Folders(NamedTuple):
    """The subfolders of a trajectory."""

    steps: dict[Path, NamedStep]
    others: list[str]
    unnamed: list[str]


def _subfolders(root: Path) -> _Folders:
    """Tell checkpoints, by rising step, from what lies beside them: logs, a model without a step.

    Raises
    ------
    CheckpointError
        If there are none, or the name of one does not tell its step for sure, or two tell the same.
    """
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(root)) from None
    told: dict[Path, NamedStep] = {}
    others: list[str] = []
    unnamed: list[str] = []
    for folder in folders:
        present = checkpoint_files.is_checkpoint(folder)
        try:
            step = named_step(folder.name, where=str(folder))
        except CheckpointError:
            if present:
                raise
            step = None
        if step is not None:
            told[folder] = step
        else:
            (unnamed if present else others).append(folder.name)
    found = _Folders(dict(sorted(told.items(), key=lambda item: item[1].step)), others, unnamed)
    for (first, step), (second, other) in pairwise(found.steps.items()):
        if step.step == other.step:
            raise CheckpointError(
                f"is of step {step.step}, and so is {first.name}", where=str(second)
            )
    if not found.steps:
        raise _nothing(root, found)
    return found


def _nothing(root: Path, found: _Folders) -> CheckpointError:
    """Return the error for a folder without checkpoints of a step."""
    hint = "Expected one subfolder for each step (step1000, …) with config.json and weights."
    if checkpoint_files.is_checkpoint(root):
        hint = f"It is itself a checkpoint: name the folder above it, dir:{root.parent}. {hint}"
    elif found.unnamed:
        hint = f"{', '.join(found.unnamed[:_NAMED])}: the name tells no step. {EXPECTED}"
    return CheckpointError("has no checkpoints", where=str(root), hint=hint)


def _warn_of(root: Path, found: _Folders) -> None:
    """Say which subfolders are left out of the trajectory, and why."""
    reasons = (("no checkpoint", found.others), ("a name that tells no step", found.unnamed))
    told = [f"{listed(names, _NAMED)} ({reason})" for reason, names in reasons if names]
    if told:
        warnings.warn(f"{root}: skipped {'; '.join(told)}", CntbenchWarning, stacklevel=3)
