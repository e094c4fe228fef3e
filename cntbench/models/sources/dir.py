"""dir:PATH, a folder of checkpoints, one subfolder per step (step1000, checkpoint-1000, 1000).

Each subfolder holds ``config.json`` and weights as ``save_pretrained`` writes them:
``model.safetensors``, ``model-*.safetensors``, or ``pytorch_model.bin``; or one ``*.gguf``. A
``tokenizer.json``, in the folder or in one of the subfolders, says which tokens stand for ordinary
text, and lets tasks be made of text.
"""

from __future__ import annotations

import re
from pathlib import Path

from cntbench.errors import CheckpointError
from cntbench.models import checkpoint_files
from cntbench.models.adapters._base import Shape
from cntbench.models.origin import Folder
from cntbench.models.tokenizer import TokenizerFile
from cntbench.models.trajectory import Checkpoint, Progress, Trajectory


def open_trajectory(where: str, progress: Progress) -> Trajectory:
    """Find and hash all checkpoints in a folder.

    A checkpoint that cannot be read has no revision; to read it tells why.

    Raises
    ------
    CheckpointError
        If the folder has no checkpoints, two of one step, or none that can be read.
    """
    if not where:
        raise CheckpointError(
            "dir: needs a folder", hint="Write dir:PATH, for instance dir:checkpoints/run1."
        )
    root = Path(where)
    if not root.is_dir():
        raise CheckpointError("no such folder", where=where)
    folders = by_step(root)
    problems: list[CheckpointError] = []
    revisions: dict[int, str] = {}
    shapes: dict[Path, Shape] = {}
    for done, (step, folder) in enumerate(folders.items()):
        progress("checking checkpoints", done, len(folders))
        try:
            shape = checkpoint_files.read_shape(folder)
            revisions[step] = checkpoint_files.revision(checkpoint_files.read_tensors(folder))
            shapes[folder] = shape
        except CheckpointError as error:
            problems.append(error)
    progress("checking checkpoints", len(folders), len(folders))
    if not shapes:
        raise problems[0]
    config, shape = next(iter(shapes.items()))
    checkpoints = tuple(
        Checkpoint(folder.name, step, revisions.get(step, ""), Folder(folder))
        for step, folder in folders.items()
    )
    return Trajectory(
        f"dir:{root.resolve()}",
        shape,
        checkpoints,
        tokenizer=TokenizerFile.beside(root, *folders.values()),
        config=config,
    )


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
