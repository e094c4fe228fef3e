"""The device that the engine computes on, and the torch settings that make its results repeatable.

On a GPU, the weights and prompts of one checkpoint are moved there, and results come back together.
This has never run on a GPU: the tests simulate one, whose tensors the CPU cannot read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cntbench.errors import CntbenchError
from cntbench.specs import Precision

Device = Literal["cpu", "cuda"]

#: Environment variable with the GPUs that a process sees; CUDA reads it when it is first used.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Share of the free memory of a GPU that is used: predictions are bounds, but memory fragments.
_SHARE = 0.8
#: Prompts that a fused kernel of attention takes at once.
MOST_FUSED = 2**16 - 1
#: Without this setting, cuBLAS may sum in a different order each time.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve(name: str, where: str = "--device") -> Device:
    """Return the device for ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).

    ``where`` is the option or the argument, for an error. Raises a `CntbenchError` if a GPU is
    requested and torch finds none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        built = torch.backends.cuda.is_built()
        raise CntbenchError(
            "torch finds no GPU"
            + ("" if built else f": its build has no CUDA ({torch.__version__})"),
            where=where,
            hint="Allowed here: cpu, or auto, which uses a GPU if there is one.",
        )
    return "cuda" if present and name in ("cuda", "auto") else "cpu"


def use_gpus(names: Sequence[str]) -> None:
    """Let this process, and those that it starts, see these GPUs only; before CUDA is used."""
    os.environ[VISIBLE] = ",".join(names)


def gpus_of(device: Device, processes: int) -> list[str]:
    """Return the GPU of each process, in turn among those that are visible; none on a CPU."""
    if device != "cuda":
        return []
    listed = os.environ.get(VISIBLE)
    names = listed.split(",") if listed else [str(i) for i in range(torch.cuda.device_count())]
    return [names[number % len(names)] for number in range(processes if names else 0)]


def memory_of(device: Device, model: int = 0) -> int:
    """Return how much memory to use on a device beyond its models [bytes], given a model's size.

    On a GPU this is most of what this process can have besides the present model, less room for the
    next one. The next one has no room, and waits, if it would take more than half.
    """
    if device == "cpu":
        return 2**30
    share = int(_SHARE * (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - model))
    return share - model if 2 * model <= share else share


def check_precision(device: Device, precision: Precision) -> None:
    """Raise a `CntbenchError` if a device has no products of a precision."""
    if device == "cpu" and precision == "tf32":
        raise CntbenchError(
            "only GPUs round products to TF32",
            where="dtype",
            hint="Allowed on a CPU: float32, bfloat16, float64.",
        )


def prepare(device: Device, precision: Precision = "float32") -> None:
    """Make torch repeat its results bit for bit, and round to TF32 only if that is chosen.

    Operations without a deterministic implementation then raise an error. cuDNN's attention is not
    used; where gradients are computed, only torch's plain attention is (see `attention_kernels`).
    """
    check_precision(device, precision)
    torch.set_float32_matmul_precision("highest")  # a plug-in may have set another
    if device == "cpu":
        return
    os.environ.setdefault(*_WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextmanager
def default_settings() -> Iterator[None]:
    """Let torch compute as in a new process, and restore the caller's settings afterwards.

    They are the default device, autocast, inference mode, a lower precision of products, and what
    `prepare` sets for a GPU.
    """
    with ExitStack() as stack:
        stack.enter_context(_restored())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(_full_precision())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _restored() -> Iterator[None]:
    """Restore the settings of a GPU that `prepare` changes, except precision."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, attention = cudnn.benchmark, torch.backends.cuda.cudnn_sdp_enabled()
    reduced = products.allow_bf16_reduced_precision_reduction
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.benchmark = benchmark
        products.allow_bf16_reduced_precision_reduction = reduced
        torch.backends.cuda.enable_cudnn_sdp(attention)


@contextmanager
def _full_precision() -> Iterator[None]:
    mkldnn: Any = torch.backends.mkldnn  # torch adds its settings when it is imported
    products = (torch.backends.cuda.matmul, mkldnn.matmul)
    kept = [(kind, kind.fp32_precision) for kind in products]
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set for one kind only, in the way that torch 2.9 brought
        precision = "highest"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for kind, value in kept:
            kind.fp32_precision = value


def attention_kernels(query: Tensor) -> AbstractContextManager[object]:
    """Return a context with the kernels of attention that repeat themselves bit for bit.

    Takes queries, dims ``batch, head, query, width``. Fused kernels repeat themselves, except in
    backward passes. They take up to 65,535 prompts at once, the most blocks of a CUDA grid.
    """
    if query.is_cuda and (torch.is_grad_enabled() or len(query) > MOST_FUSED):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def description(device: Device) -> dict[str, str]:
    """Return attributes that say where a result was measured.

    These are ``device`` and ``determinism``, the current settings of torch.
    """
    settings = {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }
    name: str = device
    if device == "cuda":
        name = f"cuda ({torch.cuda.get_device_name()})"
        settings |= {
            "cublas_workspace": os.environ.get(_WORKSPACE[0], ""),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "attention": "fused, with gradients math",
        }
    text = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return {"device": name, "determinism": text}
