"""A small part of a checkpoint's weights: the headers of its safetensors, and samples of tensors.

A header says which tensors a file has, and where, so that a few ranges of bytes are enough to tell
files and checkpoints apart and how far apart they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.files.parsing import parse_json
from cntbench.models.foreign import foreign

#: Bytes that are read first: most headers are shorter.
HEAD = 2**17
#: Files up to this size are read whole [bytes].
SMALL = 2**20
#: Number of tensors that are sampled in a file, and bytes of each.
TENSORS, EACH = 16, 2**16
#: Longest header that is accepted [bytes].
LONGEST = 25_000_000

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_NAMES = {kind: name for name, kind in _TYPES.items()}

#: Reads bytes from a start to a stop.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class WeightSample:
    """A sample of the weights in one file or in several: numbers by the name of the tensor.

    ``tensors`` has the type and shape of every weight by name, ``files`` the SHA-256 of each file,
    or of its header and its samples; empty if neither is known.
    """

    tensors: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def distance(self, other: WeightSample) -> float:
        """Return the distance to another sample, relative to their lengths; NaN if unknown.

        Its norm is Euclidean, over the tensors that both have.
        """
        names = [name for name, values in self.values.items() if _size(other, name) == values.size]
        between = _norm(self.values[name] - other.values[name] for name in names)
        lengths = [_norm(sample.values[name] for name in names) for sample in (self, other)]
        return between / np.sqrt(lengths[0] * lengths[1]) if all(lengths) else np.nan

    def check_finite(self, where: str) -> None:
        """Raise a `CheckpointError` that names the first tensor with non-finite numbers."""
        for name, values in self.values.items():
            if not np.isfinite(values).all():
                raise CheckpointError(f"tensor {name!r} has non-finite numbers", where=where)


def _size(sample: WeightSample, name: str) -> int:
    return sample.values[name].size if name in sample.values else -1


def _norm(parts: Iterable[NDArray[np.float32]]) -> float:
    return float(np.sqrt(sum(float(np.square(part, dtype=np.float64).sum()) for part in parts)))


def joined(samples: Mapping[str, WeightSample]) -> WeightSample:
    """Return the sample of several files, by their names."""
    return WeightSample(
        {name: kind for sample in samples.values() for name, kind in sample.tensors.items()},
        {name: values for sample in samples.values() for name, values in sample.values.items()},
        {file: digest for file, sample in samples.items() for digest in sample.files.values()},
    )


def sample_safetensors(
    read: Read, size: int, *, buffers: Sequence[str] = (), where: str
) -> WeightSample:
    """Read the header and samples of a safetensors file of a size [bytes].

    ``buffers`` are endings of the names of tensors that are no weights, ``where`` is the file.
    Raises a `CheckpointError` if it is not a safetensors file.
    """
    head = read(0, size if size <= SMALL else HEAD)

    def bytes_of(start: int, stop: int) -> bytes:
        return head[start:stop] if stop <= len(head) else read(start, stop)

    with foreign("is not a complete safetensors file", where):
        length = int.from_bytes(head[:8], "little")
        if not 2 <= length <= min(LONGEST, size - 8):
            raise ValueError("its header is damaged")
        header = parse_json(bytes_of(8, 8 + length))
        header.pop("__metadata__", None)
        places = {name: _place(header[name], 8 + length, size) for name in header}
        tensors = {
            name: f"{entry['dtype']} {entry['shape']}"
            for name, entry in header.items()
            if not _is_buffer(name, buffers)
        }
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        values = {}
        for name, start, stop in _ranges(header, places, buffers):
            content = bytes_of(start, stop)
            digest.update(content)
            numbers = torch.frombuffer(bytearray(content), dtype=_TYPES[header[name]["dtype"]])
            values[name] = numbers.to(torch.float32).numpy()
    return WeightSample(tensors, values, {where: digest.hexdigest()})


def sample_tensors(tensors: Mapping[str, Tensor], buffers: Sequence[str] = ()) -> WeightSample:
    """Return the sample of tensors that have been read, from a file without a header."""
    weights = {name: tensors[name] for name in sorted(tensors) if not _is_buffer(name, buffers)}
    names = [name for name, tensor in weights.items() if tensor.dtype in _NAMES and tensor.numel()]
    values = {}
    for name in _spread([name for name in names if tensors[name].ndim > 1] or names):
        flat = tensors[name].reshape(-1)
        count = min(flat.numel(), EACH // flat.element_size())
        values[name] = flat.narrow(0, (flat.numel() - count) // 2, count).float().numpy()
    kinds = {
        name: f"{_NAMES.get(tensor.dtype, tensor.dtype)} {list(tensor.shape)}"
        for name, tensor in weights.items()
    }
    return WeightSample(kinds, values)


def _is_buffer(name: str, buffers: Sequence[str]) -> bool:
    return f".{name}".endswith(tuple(f".{ending}" for ending in buffers))


def _place(entry: Any, begin: int, size: int) -> tuple[int, int]:
    """Return where the bytes of a tensor start and stop in the file."""
    start, stop = (begin + int(offset) for offset in entry["data_offsets"])
    if not begin <= start <= stop <= size:
        raise ValueError("a tensor lies outside of it")
    return start, stop


def _ranges(
    header: Mapping[str, Any], places: Mapping[str, tuple[int, int]], buffers: Sequence[str]
) -> Iterator[tuple[str, int, int]]:
    """Yield tensors at even distances in the file, and the bytes in the middle of each."""
    names = [
        name
        for name, (start, stop) in sorted(places.items(), key=lambda item: item[1])
        if stop > start and header[name]["dtype"] in _TYPES and not _is_buffer(name, buffers)
    ]
    matrices = [name for name in names if len(header[name]["shape"]) > 1]
    is_small = sum(stop - start for start, stop in places.values()) <= SMALL
    chosen = names if is_small else _spread(matrices or names)
    for name in chosen:
        start, stop = places[name]
        if not is_small and stop - start > EACH:
            width = _TYPES[header[name]["dtype"]].itemsize
            start += (stop - start - EACH) // 2 // width * width
            stop = start + EACH
        yield name, start, stop


def _spread(names: Sequence[str]) -> list[str]:
    count = min(TENSORS, len(names))
    return [names[round(i * (len(names) - 1) / max(count - 1, 1))] for i in range(count)]
