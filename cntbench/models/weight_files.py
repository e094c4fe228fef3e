"""Files of weights, as Hugging Face names them, in order of preference.

Weights are safetensors, or a ``state_dict`` saved by ``torch.save``. Pickled code is never
executed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.files.parsing import parse_json
from cntbench.models.foreign import foreign

#: The file with all tensors, and the index of several files that have them together.
FORMATS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
#: Largest number of parts that are looked for.
_MOST_PARTS = 100_000
EXPECTED = "model.safetensors or pytorch_model.bin"


def collect(get: Callable[[str], Path | None]) -> list[Path] | None:
    """Return the files of the first complete format, or None if there are no files.

    Takes what finds a file by its name, or returns None. Raises a `CheckpointError` if an index is
    malformed, or lists a missing file and no other format is complete.
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


def listed(names: Iterable[str]) -> list[str]:
    """Return the files of weights among the files of a checkpoint, of the preferred format."""
    names = sorted(names)
    for single, index in FORMATS:
        if single in names:
            return [single]
        if index in names:
            stem, _, kind = single.partition(".")
            return [name for name in names if re.fullmatch(rf"{stem}-.*\.{kind}", name)]
    return []


def missing_part(names: Collection[str]) -> str:
    """Return a file that the names of others, such as ``…-00001-of-00003…``, imply, or empty."""
    for name in names:
        if match := re.fullmatch(r"(.*-)(\d+)(-of-)(\d+)(\..*)", name):
            before, number, of, count, after = match.groups()
            parts = (
                f"{before}{part:0{len(number)}d}{of}{count}{after}"
                for part in range(1, min(int(count), _MOST_PARTS) + 1)
            )
            return next((part for part in parts if part not in names), "")
    return ""


def listed_bytes(sizes: Mapping[str, int]) -> int | None:
    """Return the size of the weights among the files of a checkpoint, or None [bytes].

    Takes the sizes of all files by name.
    """
    files = listed(sizes)
    if files and files[0] not in dict(FORMATS):  # parts: their index is read, too
        files.append(next(index for _, index in FORMATS if index in sizes))
    return sum(map(sizes.__getitem__, files)) if files else None


def find(folder: Path) -> list[Path]:
    """Return the files of weights in a folder, or raise a `CheckpointError` if some are missing.

    Parts of safetensors need no index.
    """

    def get(name: str) -> Path | None:
        path = folder / name
        return path if path.is_file() else None

    files = collect(get)
    if files is None:
        files = sorted(folder.glob("model-*.safetensors"))
        lacking = missing_part({path.name for path in files}) if files else EXPECTED
        if lacking:
            hint = "Save the model with save_pretrained, or copy all files of its weights."
            raise CheckpointError(f"has no {lacking}", where=str(folder), hint=hint)
    return files


def read(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint as they are stored.

    Raises a `CheckpointError` if there are none, a file is damaged, a pickle contains anything but
    tensors, or two files differ in a tensor.
    """
    found: dict[str, Tensor] = {}
    files: dict[str, Path] = {}
    for path in find(folder):
        for name, tensor in tensors(path):
            if name in found and not torch.equal(found[name], tensor):
                raise CheckpointError(
                    f"has another {name!r} than {files[name].name}",
                    where=str(path),
                    hint="Parts of a checkpoint have different tensors. Keep the files of one.",
                )
            found[name], files[name] = tensor, path
    return found


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a file of weights; errors are those of `read`."""
    if path.suffix == ".safetensors":
        with foreign("is not a complete safetensors file", path):
            loaded = load_file(path)
        yield from loaded.items()
        return
    for name, tensor in _unpickled(path).items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{name!r} is not a tensor but {type(tensor).__name__}",
                where=str(path),
                hint="Save what model.state_dict() returns, without anything beside it.",
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
            f"is not a mapping of tensors but {type(state).__name__}",
            where=str(path),
            hint="Save what model.state_dict() returns, or the model with save_pretrained.",
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
