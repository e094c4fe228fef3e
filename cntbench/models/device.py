"""The device that the engine computes on, and the torch settings that make its results repeatable.

On a GPU, the weights and prompts of one checkpoint are moved there, and results come back prompt by
prompt. This has never run on a GPU: the tests use torch's fake tensors to check that the engine
creates every tensor on the model's device.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import torch

from cntbench.errors import CntbenchError

Device = Literal["cpu", "cuda"]

#: Environment variable with the GPUs that a process sees; CUDA reads it when it is first used.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Share of the free memory of a GPU that is used: predictions are bounds, but memory fragments.
_SHARE = 0.8
#: Without this setting, cuBLAS may sum in a different order each time.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve(name: str) -> Device:
    """Return the device for ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).

    Raises
    ------
    CntbenchError
        If a GPU is requested and torch finds none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        built = torch.backends.cuda.is_built()
        raise CntbenchError(
            "torch finds no GPU"
            + ("" if built else f": its build has no CUDA ({torch.__version__})"),
            where="--device",
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
    """Return how much memory to use on a device beyond its models [bytes].

    On a GPU this is most of what this process can have besides the present model, less room for the
    next one. The next one has no room, and waits, if it would take more than half.

    Parameters
    ----------
    model
        Size of a model's weights [bytes].
    """
    if device == "cpu":
        return 2**30
    share = int(_SHARE * (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - model))
    return share - model if 2 * model <= share else share


def prepare(device: Device) -> None:
    """Make torch repeat its results bit for bit on a GPU, and not round to TF32.

    Operations without a deterministic implementation then raise an error. Attention uses torch's
    plain implementation, the only one that is deterministic for gradients too.
    """
    if device == "cpu":
        return
    os.environ.setdefault(*_WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


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
            "attention": "math",
        }
    text = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return {"device": name, "determinism": text}
