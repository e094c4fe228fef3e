"""nano or nano:seed=N, the embedded model, trained on first use (about a minute).

The trajectory is stored in the user's cache folder (or in ``CNTBENCH_CACHE``) under a hash of the
recipe, so that a changed recipe gives another trajectory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from cntbench.errors import CheckpointError, CntbenchError
from cntbench.files.parsing import parse_json
from cntbench.models import checkpoint_files
from cntbench.models.cache import cache_folder, cached_folder
from cntbench.models.nano_training import Recipe, train
from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint, Trajectory
from cntbench.parallel import Progress
from cntbench.parallel.processes import start_worker, worker_process
from cntbench.specs import as_dict, content_hash

MANIFEST = "trajectory.json"
#: How often to look for what is being trained [s].
POLL = 0.05


def with_seed(where: str, seed: int) -> str:
    """Return the trajectory of a seed; an error if one is named already."""
    if where:
        raise CntbenchError(f"nano:{where} has a seed", hint="Write nano, without a seed.")
    return f"seed={seed}"


def planned_steps(where: str) -> dict[str, int]:
    """Return the training steps of the checkpoints by name, known before the training."""
    recipe = _recipe(where)
    return dict(zip(_names(recipe), recipe.checkpoint_steps, strict=True))


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Open the trajectory of a seed; train the model if it is not in the cache.

    Raises a `CntbenchError` if ``where`` is neither empty nor ``seed=N``.
    """
    return _trained(_recipe(where), progress)


def begin_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Open the trajectory of a seed while another process trains the model, if it has to be.

    Parameters and errors are those of `open_trajectory`. Fetching a checkpoint waits for it.
    """
    recipe = _recipe(where)
    folder = _folder(recipe)
    if (folder / MANIFEST).is_file():
        return _read(recipe, folder)
    with suppress(OSError, Timeout), FileLock(folder.with_suffix(".lock"), timeout=0):
        shutil.rmtree(folder, ignore_errors=True)  # a training that was interrupted
    process = worker_process(_train_in_background, recipe, str(cache_folder()))
    while not (folder / "step0").is_dir():
        progress("training the embedded model", 0, recipe.last)
        process.join(POLL)
        if not process.is_alive():
            return _trained(recipe, progress)
    return replace(
        _described(recipe, folder, dict.fromkeys(_names(recipe), "")),
        finish=partial(_finished, recipe),
    )


@dataclass(frozen=True)
class CheckpointInTraining(Folder):
    """The folder of a checkpoint that is being trained."""

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder when it is complete, or raise a `CheckpointError` if it never is."""
        _wait_for(self.path, self.path.parent)
        return self.path


def _wait_for(path: Path, folder: Path) -> None:
    """Wait for a file of a training's folder; raise an error if no process is training."""
    while not path.exists():
        time.sleep(POLL)
        with suppress(Timeout), FileLock(folder.with_suffix(".lock"), timeout=0):
            if not path.exists():
                raise CheckpointError(
                    "the training of the embedded model has ended before",
                    where=str(path),
                    hint="The same command trains it again.",
                )


def _recipe(where: str) -> Recipe:
    seed = re.fullmatch(r"(?:seed=(\d{1,9}))?", where)
    if seed is None:
        raise CntbenchError(f"nano:{where} is not a trajectory", hint="Write nano, or nano:seed=3.")
    return Recipe(seed=int(seed[1] or 0))


def _folder(recipe: Recipe) -> Path:
    return cache_folder() / f"nano-{content_hash(as_dict(recipe))[:16]}"


def _trained(recipe: Recipe, progress: Progress) -> Trajectory:
    """Return the trajectory of a recipe, trained in this process if it is not in the cache."""

    def make(folder: Path) -> str:
        revisions = train(recipe, folder, progress)
        return json.dumps({"recipe": as_dict(recipe), "revisions": revisions}, indent=1)

    return _read(recipe, cached_folder(_folder(recipe).name, MANIFEST, make, in_place=True))


def _train_in_background(recipe: Recipe, cache: str) -> None:
    start_worker()
    os.environ["CNTBENCH_CACHE"] = cache  # a server that forks workers keeps its first environment
    with suppress(CntbenchError):  # the other process meets it, too
        _trained(recipe, lambda what, done, total: None)


def _finished(recipe: Recipe) -> Trajectory:
    """Wait for the end of a training, and return its trajectory."""
    folder = _folder(recipe)
    _wait_for(folder / MANIFEST, folder)
    return _read(recipe, folder)


def _names(recipe: Recipe) -> list[str]:
    return [f"step{step}" for step in recipe.checkpoint_steps]


def _read(recipe: Recipe, folder: Path) -> Trajectory:
    try:
        revisions = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))["revisions"]
        return _described(recipe, folder, revisions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError) as error:
        raise CheckpointError(
            f"the cached trajectory is damaged: {error}",
            where=str(folder),
            hint="Delete the folder; it will be trained again.",
        ) from None


def _described(recipe: Recipe, folder: Path, revisions: Mapping[str, str]) -> Trajectory:
    """Return the trajectory in a folder; checkpoints without a revision are being trained."""
    checkpoints = tuple(
        Checkpoint(
            name=name,
            step=step,
            revision=revisions[name],
            origin=(Folder if revisions[name] else CheckpointInTraining)(folder / name),
            tokens_seen=step * recipe.batch * recipe.length,
        )
        for name, step in zip(_names(recipe), recipe.checkpoint_steps, strict=True)
    )
    config = folder / checkpoints[0].name
    shape = checkpoint_files.read_shape(config)
    return Trajectory(f"nano:seed={recipe.seed}", shape, checkpoints, recipe.chain(), config=config)
