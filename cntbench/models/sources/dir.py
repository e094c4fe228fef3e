"""dir:PATH, a folder of checkpoints, one subfolder per step (step1000, checkpoint-1000, 1000).

Each subfolder holds ``config.json`` and ``model.safetensors`` (or ``model-*.safetensors``), as
``save_pretrained`` writes them. A ``tokenizer.json``, in the folder or in one of the subfolders,
says which tokens stand for ordinary text, and lets tasks be made of text.
"""

from __future__ import annotations

import re
from pathlib import Path

from cntbench.errors import CheckpointError
from cntbench.models import checkpoint_files
from cntbench.models.tokenizer import ModelTokenizer
from cntbench.models.trajectory import Checkpoint, Progress, Trajectory


def open_trajectory(where: str, progress: Progress) -> Trajectory:
    """Find, hash and check all checkpoints in a folder.

    Raises
    ------
    CheckpointError
        If the folder has no checkpoints, two of one step, or one that is unreadable, of another
        shape than the first, of an unsupported architecture, or with non-finite weights.
    """
    if not where:
        raise CheckpointError(
            "dir: needs a folder", hint="Write dir:PATH, for instance dir:checkpoints/run1."
        )
    root = Path(where)
    if not root.is_dir():
        raise CheckpointError("no such folder", where=where)
    folders = by_step(root)
    shape = checkpoint_files.read_shape(next(iter(folders.values())))
    checkpoints = []
    for done, (step, folder) in enumerate(folders.items()):
        progress("checking checkpoints", done, len(folders))
        if checkpoint_files.read_shape(folder) != shape:
            raise CheckpointError(
                "has other components, vocabulary or context than the first checkpoint",
                where=str(folder),
                hint="All checkpoints of a trajectory come from one training run.",
            )
        tensors = checkpoint_files.read_tensors(folder)
        checkpoint_files.check_finite(tensors, where=str(folder))
        revision = checkpoint_files.revision(tensors)
        checkpoints.append(Checkpoint(folder.name, step, revision, folder))
    progress("checking checkpoints", len(folders), len(folders))
    tokenizer = ModelTokenizer.beside(root, *folders.values())
    return Trajectory(f"dir:{root.resolve()}", shape, tuple(checkpoints), tokenizer=tokenizer)


def by_step(root: Path) -> dict[int, Path]:
    """Return the subfolders of a trajectory by their step, rising.

    Raises
    ------
    CheckpointError
        If there are none, or a name does not tell a step, or two tell the same.
    """
    found: dict[int, Path] = {}
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        number = re.search(r"(\d+)$", folder.name)
        if number is None:
            raise CheckpointError(
                "the name does not end in a training step",
                where=str(folder),
                hint="Name checkpoint folders step1000, checkpoint-1000 or 1000.",
            )
        step = int(number[1])
        if step in found:
            raise CheckpointError(
                f"is of step {step}, and so is {found[step].name}", where=str(folder)
            )
        found[step] = folder
    if not found:
        raise CheckpointError(
            "has no checkpoints",
            where=str(root),
            hint="Expected one subfolder for each step (step1000, …) with config.json and "
            "model.safetensors.",
        )
    return dict(sorted(found.items()))
