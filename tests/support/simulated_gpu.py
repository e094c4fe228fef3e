"""A device that stands for a GPU where there is none, with tensors that the CPU cannot read.

It is a backend of torch in Python: each operation runs on the CPU's tensors behind those of the
device, after a check that no operand lies elsewhere. What would wait for a GPU is counted. Torch
cannot be freed of a backend, so all of this happens in a process of its own.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import xarray as xr
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

#: The backend's name; torch keeps "cuda" for itself.
NAME = "gpu"
#: Operations after which the program knows a number, so that it has to wait for the device.
_WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::unique_dim")

waits: Counter[str] = Counter()


def is_possible() -> bool:
    """Return whether torch takes a backend that is written in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


@contextmanager
def simulated() -> Iterator[ProcessPoolExecutor]:
    """Yield an executor of one process that has the device."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=start) as executor:
        yield executor


def start() -> None:
    """Give this process the device, before it imports cntbench, as GPU of torch."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("_", "IMPL")
    library.fallback(_on_the_device, "PrivateUse1")
    torch.set_num_threads(1)
    start.library = library  # type: ignore[attr-defined]  # it lives as long as this process
    as_cuda = _with_device(torch.Tensor.to)
    changed: list[tuple[Any, str, object]] = [
        (torch, "inference_mode", lambda mode=True: torch.no_grad()),  # it knows no subclasses
        (torch, "tensor", _tensor),
        (torch.Tensor, "to", as_cuda),
        (torch.Tensor, "pin_memory", lambda tensor: tensor),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "get_device_name", lambda: "simulated"),
        (torch.cuda, "mem_get_info", lambda: (2**31, 2**32)),
        (torch.cuda, "memory_reserved", lambda: 0),
        (torch.cuda, "Stream", _Stream),
        (torch.cuda, "stream", lambda _: nullcontext()),
    ]
    for owner, name, value in changed:
        setattr(owner, name, value)


class _Stream:
    def synchronize(self) -> None:
        """Wait for nothing."""


def _with_device(to: Callable[..., Any]) -> Callable[..., Any]:
    def moved(tensor: torch.Tensor, *args: Any, **options: Any) -> Any:
        return to(tensor, *(NAME if value == "cuda" else value for value in args), **options)

    return moved


_cpu_tensor = torch.tensor


def _tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    made = _cpu_tensor(data, **options)
    return made if device is None else made.to(device)


class SimulatedTensor(torch.Tensor):
    """A tensor on the device; ``raw`` is the CPU's behind it."""

    raw: torch.Tensor
    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> SimulatedTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, raw.stride(), raw.storage_offset(), dtype=raw.dtype, device=f"{NAME}:0"
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), options: Any = None):
        return _on_the_device(operation, *args, **options or {})

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_on_device_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_on_device_index(index), value)

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        """Return a tensor of this one's type on the device."""
        return _tensor(data, dtype=options.get("dtype", self.dtype), device=NAME)

    def tolist(self) -> list[Any]:
        """Return the numbers, for which the program waits."""
        return self.cpu().tolist()


def _on_the_device(operation: Any, *args: Any, **options: Any) -> Any:
    name = operation.name().split(".")[0]
    target = options.get("device")
    if target is not None:
        options["device"] = "cpu"
    leaves, structure = tree_flatten((args, options))
    same = {id(leaf.raw): leaf for leaf in leaves if isinstance(leaf, SimulatedTensor)}
    if name not in ("aten::copy_", "aten::_to_copy") and any(map(_is_elsewhere, leaves)):
        raise RuntimeError(f"{name} takes tensors on two devices")
    arrives = name == "aten::_to_copy" and torch.device(target or NAME).type == "cpu"
    if arrives or name in _WAITING:
        waits[_caller()] += 1
    if name == "aten::_conj":  # a lazy one is lost behind a wrapper
        operation = torch.ops.aten.conj_physical.default
    raw_args, raw_options = tree_unflatten(map(_raw, leaves), structure)
    results = operation(*raw_args, **raw_options)
    if arrives:
        return results
    if name == "aten::copy_":
        return args[0]
    return tree_map(lambda value: _wrapped(value, same), results)


def _is_elsewhere(value: Any) -> bool:
    is_here = isinstance(value, SimulatedTensor)
    return not is_here and isinstance(value, torch.Tensor) and value.dim() > 0


def _caller() -> str:
    frame = inspect.currentframe()
    while frame and not frame.f_globals["__name__"].startswith("cntbench."):
        frame = frame.f_back
    return frame.f_code.co_name if frame else ""


def _on_device_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_on_device_index, index))
    return _tensor(index, device=NAME) if isinstance(index, list) else index


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, SimulatedTensor) else value


def _wrapped(value: Any, same: dict[int, SimulatedTensor]) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return same.get(id(value)) if id(value) in same else SimulatedTensor(value)


def compared(
    architecture: str, methods: Sequence[str], dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of some methods on the device and on the CPU."""
    from cntbench.engine.influence import influence
    from cntbench.models.precision import moved

    model = _model(architecture, dtype)
    on_gpu, on_cpu = (
        influence(_request(moved(model, device), methods, **options)) for device in ("cuda", "cpu")
    )
    names = ("influence", "influence_se", "readout_value", "readout_effect", "edge_effect")
    return tuple({name: getattr(result, name) for name in names} for result in (on_gpu, on_cpu))


def waits_of(methods: Sequence[str], layers: int) -> Counter[str]:
    """Return how often the engine waits for the device, by the function that does."""
    from cntbench.engine.influence import influence
    from cntbench.models.precision import moved

    model = moved(_model("gpt_neox", torch.float32, layers=layers), "cuda")
    waits.clear()
    influence(_request(model, methods))
    return Counter(waits)


def run_on(device: str, folder: Path) -> tuple[xr.Dataset, bool]:
    """Return the film of a run, and whether torch's settings are as before.

    Takes a folder with specs of a study ``tiny``.
    """
    import cntbench

    output = folder / device
    tree = cntbench.run(
        "tiny", output=output, executor="serial", device=device, specs=folder / "specs"
    )
    changed = torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.benchmark
    return tree.to_dataset().load(), not changed


def with_positions_elsewhere() -> None:
    """Measure with a tensor that the engine has made on the CPU."""
    from cntbench.engine.influence import influence
    from cntbench.engine.positions import Positions
    from cntbench.models.precision import moved

    model = moved(_model("gpt2", torch.float32), "cuda")
    elsewhere = Positions(torch.arange(3)[None])
    with mock.patch.object(Positions, "scored", return_value=elsewhere):
        influence(_request(model, ["zero"]))


def _model(architecture: str, dtype: torch.dtype, **sizes: int) -> Any:
    from cntbench.models.precision import converted
    from support.models import decoder, random_model

    return converted(decoder(random_model(architecture, **sizes)), dtype)


def _request(model: Any, methods: Sequence[str], **options: Any) -> Any:
    from cntbench.engine.request import Request
    from support.ablations import shipped
    from support.models import random_prompts

    chosen = [shipped()[name].method for name in methods]
    options = {"effects": ("logit_difference", "cross_entropy", "accuracy"), **options}
    return Request(model, random_prompts(count=6), chosen, **options)
