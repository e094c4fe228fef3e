"""dir:PATH, a folder of checkpoints, one subfolder per step (step1000, checkpoint-1000, 1000).

Each subfolder has ``config.json`` and weights as ``save_pretrained`` writes them:
``model.safetensors``, ``model-*.safetensors``, or ``pytorch_model.bin``; or one ``*.gguf``. A
``tokenizer.json`` in the folder or in a subfolder tells which tokens stand for ordinary text, and
is needed by tasks made of text.

`cntbench.models.steps` reads the step from a name. Other subfolders (``runs``, ``logs``, a
``final`` model) are skipped with a warning.
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

#: Largest number of folders named in a message.
_NAMED = 8


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Find and hash all checkpoints in a folder.

    An unreadable checkpoint has no revision; reading it raises the error.

    Raises
    ------
    CheckpointError
        If the folder has no checkpoints, two of one step, one with an ambiguous step, or no
        readable one.
    """
    if not where:
        raise CheckpointError(
            "dir: needs a folder", hint="Write dir:PATH, for instance dir:checkpoints/run1."
        )
    root = Path(where)
    if not root.is_dir():
        raise CheckpointError("no such folder", where=where)
    folders = _subfolders(root)
    steps = folders.steps
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
    # The most frequent shape, so that one bad checkpoint does not exclude the others.
    shape = Counter(shapes.values()).most_common(1)[0][0]
    config = next(folder for folder, other in shapes.items() if other == shape)
    _warn_of_skipped(root, folders)
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
    """Separate checkpoints, in order of step, from other subfolders and models without a step.

    Raises
    ------
    CheckpointError
        If there are no checkpoints, the step of one is ambiguous, or two have the same step.
    """
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(root)) from None
    steps: dict[Path, NamedStep] = {}
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
            steps[folder] = step
        else:
            (unnamed if present else others).append(folder.name)
    steps = dict(sorted(steps.items(), key=lambda item: item[1].step))
    for (first, step), (second, other) in pairwise(steps.items()):
        if step.step == other.step:
            raise CheckpointError(f"has step {step.step}, as {first.name} has", where=str(second))
    if not steps:
        raise _no_checkpoints(root, unnamed)
    return _Folders(steps, others, unnamed)


def _no_checkpoints(root: Path, unnamed: list[str]) -> CheckpointError:
    """Return the error for a folder without checkpoints."""
    hint = "Expected one subfolder for each step (step1000, …) with config.json and weights."
    if checkpoint_files.is_checkpoint(root):
        hint = f"It is itself a checkpoint: use the folder above it, dir:{root.parent}. {hint}"
    elif unnamed:
        hint = f"{', '.join(unnamed[:_NAMED])}: the name has no step. {EXPECTED}"
    return CheckpointError("has no checkpoints", where=str(root), hint=hint)


def _warn_of_skipped(root: Path, folders: _Folders) -> None:
    """Warn of the subfolders that are not part of the trajectory."""
    reasons = (("no checkpoint", folders.others), ("no step in the name", folders.unnamed))
    skipped = [f"{listed(names, _NAMED)} ({reason})" for reason, names in reasons if names]
    if skipped:
        warnings.warn(f"{root}: skipped {'; '.join(skipped)}", CntbenchWarning, stacklevel=3)
