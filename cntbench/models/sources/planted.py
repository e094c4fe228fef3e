"""planted:NAME or planted:FILE.toml, a circuit of known edges; also ,difficulty=realistic,seed=3.

The checkpoints are stored in the user's cache folder (or in ``CNTBENCH_CACHE``) under a hash of
their weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from safetensors.torch import save_file

from cntbench.errors import CntbenchError, unknown
from cntbench.files.output import file_exists, user_path, visible
from cntbench.files.parsing import split_names
from cntbench.models import checkpoint_files, named_weights
from cntbench.models.cache import cached_folder
from cntbench.models.origin import Folder
from cntbench.models.planted.circuit import Circuit
from cntbench.models.planted.spec import Difficulty
from cntbench.models.trajectory import Checkpoint, Trajectory
from cntbench.parallel import Progress
from cntbench.plugins import spec_folders
from cntbench.specs import content_hash

MANIFEST = "trajectory.json"
EXPECTED = "Write planted:chain, planted:FILE.toml, or planted:chain,difficulty=realistic,seed=3."


def with_seed(where: str, seed: int) -> str:
    """Return the trajectory of a seed; an error if one is named already."""
    if any(option.partition("=")[0].strip() == "seed" for option in _parts(where)[1:]):
        raise CntbenchError(f"planted:{where} has a seed", hint="Write it without a seed.")
    return f"{where},seed={seed}"


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Build a circuit's models and open them as a trajectory."""
    name, *options = _parts(where)
    if not name:
        raise CntbenchError("planted: needs a circuit", hint=EXPECTED)
    named, seed = _options(options, where)
    circuit = Circuit.read(_file(name, specs))
    difficulty = named or circuit.difficulties[0]
    if difficulty not in circuit.difficulties:
        raise unknown("difficulty", difficulty, circuit.difficulties, where=f"planted:{where}")
    models = {}
    for done, step in enumerate(circuit.steps):
        progress("planting the circuit", done, len(circuit.steps))
        models[f"step{step}"] = circuit.build(difficulty, seed, step)
    progress("planting the circuit", len(circuit.steps), len(circuit.steps))
    revisions = {name: named_weights.revision(tensors) for name, (_, tensors) in models.items()}
    configs = {name: config.to_dict() for name, (config, _) in models.items()}

    def make(folder: Path) -> str:
        for name, (config, tensors) in models.items():
            config.save_pretrained(folder / name)
            save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        return json.dumps(revisions, indent=1)

    contents = content_hash({"revisions": revisions, "configs": configs})
    folder = cached_folder(f"planted-{contents[:16]}", MANIFEST, make)
    checkpoints = tuple(
        Checkpoint(name, step, revisions[name], Folder(folder / name))
        for name, step in zip(models, circuit.steps, strict=True)
    )
    config = folder / checkpoints[0].name
    return Trajectory(
        f"planted:{name},difficulty={difficulty},seed={seed}",
        checkpoint_files.read_shape(config),
        checkpoints,
        config=config,
        initialisable=False,
    )


def _parts(where: str) -> list[str]:
    """Return the circuit, the name of whose file may have commas, and the options."""
    return split_names(where, lambda name: name.endswith(".toml") and file_exists(name))


def _options(options: list[str], where: str) -> tuple[Difficulty | None, int]:
    difficulty: Difficulty | None = None
    seed = 0
    keys: set[str] = set()
    for option in options:
        key, _, value = (part.strip() for part in option.partition("="))
        at = f"planted:{where}"
        if key not in ("difficulty", "seed"):
            raise unknown("option", key, ("difficulty", "seed"), where=at)
        if key in keys:
            raise CntbenchError(f"{key} appears twice", where=at, hint=EXPECTED)
        keys.add(key)
        if key == "difficulty":
            if value not in get_args(Difficulty):
                raise unknown("difficulty", value, get_args(Difficulty), where=at)
            difficulty = value  # type: ignore[assignment]
        elif not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise CntbenchError(
                f"seed = {value!r} is not allowed", where=at, hint="Allowed: 0 to 999999999."
            )
        else:
            seed = int(value)
    return difficulty, seed


def _file(name: str, specs: Sequence[Path]) -> Path:
    """Return the file of a circuit, given by its path or its name among all specs."""
    if name.endswith(".toml"):
        return user_path(name)
    files: dict[str, Path] = {
        path.stem: path
        for folder in (*spec_folders(), *specs)
        for path in visible(folder, "planted/*.toml")
    }
    if name not in files:
        raise unknown("planted circuit", name, files)
    return files[name]
