"""Files of weights, as Hugging Face names them, in order of preference.

Weights are safetensors, or a ``state_dict`` saved by ``torch.save``. Pickled code is never
executed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.foreign import foreign
from cntbench.parsing import parse_json

#: The file with all tensors, and the index of several files that have them together.
FORMATS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
EXPECTED = "model.safetensors or pytorch_model.bin"


def collect(get: Callable[[str], Path | None]) -> list[Path] | None:
    """Return the files of the first complete format, or None if there are no files.

    Parameters
    ----------
    get
        Finds a file by its name, or returns None.

    Raises
    ------
    CheckpointError
        If an index is malformed, or lists a missing file and no other format is complete.
    """
    incomplete: CheckpointError | None = None
    for single, index in FORMATS:
        path = get(single)
        if path is not None:
            return [path]
        index_path = get(index)
        if index_path is None:
            continue
        parts = {name: get(name) for name in _parts(index_path)}
        present = [path for path in parts.values() if path is not None]
        if len(present) == len(parts):
            return present
        missing = next(name for name, path in parts.items() if path is None)
        incomplete = incomplete or CheckpointError(
            f"has no {missing}", where=str(index_path.parent)
        )
    if incomplete:
        raise incomplete
    return None


def listed_bytes(sizes: Mapping[str, int]) -> int | None:
    """Return the size of the weights among the files of a checkpoint, or None [bytes].

    Takes the sizes of all files by name.
    """
    for single, index in FORMATS:
        if single in sizes:
            return sizes[single]
        if index in sizes:
            stem, _, kind = single.partition(".")
            parts = [name for name in sizes if re.fullmatch(rf"{stem}-.*\.{kind}", name)]
            return sum(sizes[name] for name in (index, *parts))
    return None


def find(folder: Path) -> list[Path]:
    """Return the files of weights in a folder; parts of safetensors need no index.

    Raises
    ------
    CheckpointError
        If there are none, or some are missing.
    """

    def get(name: str) -> Path | None:
        path = folder / name
        return path if path.is_file() else None

    files = collect(get) or sorted(folder.glob("model-*.safetensors"))
    if not files:
        raise CheckpointError(f"has no {EXPECTED}", where=str(folder))
    return files


def read(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint as they are stored.

    Raises
    ------
    CheckpointError
        If there are none, a file is damaged, or a pickle contains anything but tensors.
    """
    return {name: tensor for path in find(folder) for name, tensor in _tensors(path)}


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".safetensors":
        with foreign("is not a complete safetensors file", path):
            tensors = load_file(path)
        yield from tensors.items()
        return
    for name, tensor in _unpickled(path).items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{name!r} is not a tensor but {type(tensor).__name__}", where=str(path)
            )
        yield str(name), tensor.detach()


def _unpickled(path: Path) -> Mapping[Any, Any]:
    with foreign("is not a complete file of weights", path):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise CheckpointError(
                "is a pickle of more than tensors, or damaged",
                where=str(path),
                hint="cntbench never executes pickled code. If you trust the file, convert it to "
                "safetensors.",
            ) from None
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"is not a mapping of tensors but {type(state).__name__}", where=str(path)
        )
    return state


def _parts(index: Path) -> list[str]:
    """Return the names of the files that an index lists, which are in its folder."""
    with foreign("is not an index of weights", index):
        names = sorted(set(parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"names a file {name!r} outside its folder", where=str(index))
    return names
