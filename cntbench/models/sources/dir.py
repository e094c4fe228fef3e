"""dir:PATH, a folder of checkpoints, one subfolder or file per step (step1000, checkpoint-1000).

Each subfolder has ``config.json`` and weights as ``save_pretrained`` writes them:
``model.safetensors``, ``model-*.safetensors``, or ``pytorch_model.bin``; or one ``*.gguf``. A
``tokenizer.json`` in the folder or in a subfolder tells which tokens stand for ordinary text, and
is needed by tasks made of text. Or each step has one file of weights, ``step-1000.safetensors`` or
``step-1000.bin``, with one ``config.json`` beside them.

`cntbench.models.steps` reads the step from a name. What else is there (``runs``, ``logs``, a
``final`` model, the files of a Trainer) is skipped and named in one note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cntbench.errors import CheckpointError, CntbenchNote, listed, warn
from cntbench.files.output import user_path
from cntbench.models import checkpoint_files
from cntbench.models.adapters._base import Shape
from cntbench.models.checkpoint_choice import choose
from cntbench.models.foreign import foreign
from cntbench.models.origin import Folder, SingleFile
from cntbench.models.stages import on_one_axis
from cntbench.models.steps import EXPECTED, NamedStep, named_step, tells_step
from cntbench.models.tokenizer import TokenizerFile
from cntbench.models.trajectory import Checkpoint, Trajectory
from cntbench.parallel import Progress

#: Largest number of folders named in a message.
_NAMED = 8
#: Files beside the checkpoints that are used.
_BESIDE = ("config.json", "tokenizer.json")
#: Checkpoints are chosen before they are read.
CHOOSES = True


def open_trajectory(
    where: str, progress: Progress, specs: Sequence[Path] = (), checkpoints: str = ""
) -> Trajectory:
    """Find the checkpoints in a folder, and hash those that are chosen.

    An unreadable checkpoint has no revision; reading it raises the error. Raises a `CntbenchError`
    if the folder has no checkpoints, two of one step, one with an ambiguous step, no readable one,
    or not those that are chosen.
    """
    root = _root(where)
    contents = _contents_of(root)
    paths, numbers = list(contents.steps), [named.step for named in contents.steps.values()]
    chosen = choose(checkpoints, [_name(path) for path in paths], numbers, where=where)
    steps = {paths[index]: contents.steps[paths[index]] for index in chosen}
    problems: list[CheckpointError] = []
    read: list[Checkpoint] = []
    shapes: dict[Path, Shape] = {}
    for done, (path, named) in enumerate(steps.items()):
        progress("checking checkpoints", done, len(steps))
        origin = Folder(path) if path.is_dir() else SingleFile(path)
        checkpoint = Checkpoint(_name(path), named.step, "", origin, named.tokens_seen)
        try:
            with foreign("cannot be read", path):
                folder = origin.fetch()
                shape = checkpoint_files.read_shape(folder)
                weights = checkpoint_files.read_weights(folder)
                checkpoint = replace(checkpoint, revision=weights.revision)
                shapes[folder] = shape
        except CheckpointError as error:
            place = error.where if path.is_dir() else str(path)
            problems.append(CheckpointError(error.what, where=place, hint=error.hint))
        read.append(checkpoint)
    progress("checking checkpoints", len(steps), len(steps))
    if not shapes:
        raise problems[0]
    # The most frequent shape, so that one bad checkpoint does not exclude the others.
    shape = Counter(shapes.values()).most_common(1)[0][0]
    config = next(folder for folder, other in shapes.items() if other == shape)
    contents.note_skipped(root)
    checkpoint_files.note_own_code(config, root)
    return Trajectory(
        f"dir:{root.resolve()}",
        shape,
        tuple(read),
        tokenizer=TokenizerFile.beside(root, *steps),
        config=config,
    )


def _root(where: str) -> Path:
    """Return the folder of a trajectory, or raise a `CheckpointError` if there is none."""
    if not where:
        raise CheckpointError(
            "dir: needs a folder", hint="Write dir:PATH, for instance dir:checkpoints/run1."
        )
    root = user_path(where)
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        folders = [path.name for path in root.parent.glob("*") if path.is_dir()]
        close = get_close_matches(root.name, folders, n=1)
        hint = f"Did you mean dir:{root.with_name(close[0])}?" if close else None
        raise CheckpointError(what, where=where, hint=hint)
    return root


class _FolderContents(NamedTuple):
    """The checkpoints in a folder, in order of step, and the names that are skipped.

    Skipped are folders that are not checkpoints, checkpoints without a step in their name, and
    files.
    """

    steps: dict[Path, NamedStep]
    others: list[str]
    unnamed: list[str]
    files: list[str]

    def note_skipped(self, root: Path) -> None:
        """Note what is not part of the trajectory."""
        reasons = (
            ("no checkpoint", self.others),
            ("no step in the name", self.unnamed),
            ("files", self.files),
        )
        skipped = [f"{listed(names, _NAMED)} ({reason})" for reason, names in reasons if names]
        if skipped:
            warn(f"{root}: skipped {'; '.join(skipped)}.", CntbenchNote)


def _contents_of(root: Path) -> _FolderContents:
    """Separate checkpoints, in order of step, from everything else.

    Raises a `CheckpointError` if there are no checkpoints, or two have the same step.
    """
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(root)) from None
    contents = _FolderContents({}, [], [], [])
    for path in paths:
        present = checkpoint_files.is_checkpoint(path) if path.is_dir() else _has_weights(path)
        step = _step(path, present=present)
        if step is not None and (present or path.is_dir()):
            contents.steps[path] = step
        elif not path.is_dir():
            if path.name not in _BESIDE:
                contents.files.append(path.name)
        else:
            (contents.unnamed if present else contents.others).append(path.name)
    steps = on_one_axis(contents.steps, where=str(root))
    for (first, step), (second, other) in pairwise(steps.items()):
        if step.step == other.step:
            raise CheckpointError(f"has step {step.step}, as {first.name} has", where=str(second))
    if not steps:
        raise _no_checkpoints(root, contents.unnamed)
    return contents._replace(steps=steps)


def _step(path: Path, *, present: bool) -> NamedStep | None:
    """Return the step in a name; None if it has none, or is not that of a checkpoint.

    Raises a `CheckpointError` if the step of a checkpoint is ambiguous.
    """
    name = _name(path)
    try:
        return named_step(name, where=str(path))
    except CheckpointError:
        if present and (path.is_dir() or tells_step(name)):
            raise
        return None


def _name(path: Path) -> str:
    """Return the name of a checkpoint: of a file, without its ending."""
    return path.name if path.is_dir() else path.name.removesuffix(path.suffix)


def _has_weights(path: Path) -> bool:
    """Return whether a file holds the weights of a checkpoint, with a config beside it."""
    return path.suffix in (".safetensors", ".bin") and (path.parent / "config.json").is_file()


def _no_checkpoints(root: Path, unnamed: list[str]) -> CheckpointError:
    """Return the error for a folder without checkpoints."""
    hint = (
        "Expected one subfolder for each step (step1000, checkpoint-1000, …) with config.json and "
        "weights, or one file for each (step-1000.safetensors) beside one config.json."
    )
    if checkpoint_files.is_checkpoint(root):
        hint = f"It is itself a checkpoint: use the folder above it, dir:{root.parent}. {hint}"
    elif unnamed:
        hint = f"{', '.join(unnamed[:_NAMED])}: the name has no step. {EXPECTED}"
    return CheckpointError("has no checkpoints", where=str(root), hint=hint)
