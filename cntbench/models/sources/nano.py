"""nano or nano:seed=N, the embedded model, trained on first use (about a minute).

The trajectory is stored in the user's cache folder (or in ``CNTBENCH_CACHE``) under a hash of the
recipe, so that a changed recipe gives another trajectory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from cntbench.errors import CheckpointError, CntbenchError
from cntbench.models import checkpoint_files
from cntbench.models.cache import cached_folder
from cntbench.models.nano_training import Recipe, train
from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint, Progress, Trajectory
from cntbench.parsing import parse_json
from cntbench.specs import as_dict, content_hash

MANIFEST = "trajectory.json"


def with_seed(where: str, seed: int) -> str:
    """Return the trajectory of a seed; an error if one is named already."""
    if where:
        raise CntbenchError(f"nano:{where} names what it is", hint="Write nano, without a seed.")
    return f"seed={seed}"


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Open the trajectory of a seed; train the model if it is not in the cache.

    Raises
    ------
    CntbenchError
        If ``where`` is neither empty nor ``seed=N``.
    """
    seed = re.fullmatch(r"(?:seed=(\d{1,9}))?", where)
    if seed is None:
        raise CntbenchError(f"nano:{where} is not a trajectory", hint="Write nano, or nano:seed=3.")
    recipe = Recipe(seed=int(seed[1] or 0))

    def make(folder: Path) -> str:
        revisions = train(recipe, folder, progress)
        return json.dumps({"recipe": as_dict(recipe), "revisions": revisions}, indent=1)

    return _read(
        recipe, cached_folder(f"nano-{content_hash(as_dict(recipe))[:16]}", MANIFEST, make)
    )


def _read(recipe: Recipe, folder: Path) -> Trajectory:
    try:
        revisions = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))["revisions"]
        checkpoints = tuple(
            Checkpoint(
                name=f"step{step}",
                step=step,
                revision=revisions[f"step{step}"],
                origin=Folder(folder / f"step{step}"),
                tokens_seen=step * recipe.batch * recipe.length,
            )
            for step in recipe.checkpoint_steps
        )
        config = folder / checkpoints[0].name
        shape = checkpoint_files.read_shape(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError) as error:
        raise CheckpointError(
            f"the cached trajectory is damaged: {error}",
            where=str(folder),
            hint="Delete the folder; it will be trained again.",
        ) from None
    return Trajectory(f"nano:seed={recipe.seed}", shape, checkpoints, recipe.chain(), config=config)
