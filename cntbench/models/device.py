"""Where the engine computes, and torch's settings that decide whether it does so alike every time.

On a GPU the weights and prompts of one checkpoint are moved there, and what is measured comes back
prompt by prompt. None of this has ever run on one: the tests hold the engine to creating every
tensor on the model's device, by torch's fake tensors.
"""

from __future__ import annotations

import os
from typing import Literal

import torch

from cntbench.errors import CntbenchError

Device = Literal["cpu", "cuda"]

#: Without it cuBLAS may add up in another order each time.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve(asked: str) -> Device:
    """Return the device that ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one) stands for.

    Raises
    ------
    CntbenchError
        If a GPU is asked for, and torch finds none.
    """
    present = torch.cuda.is_available()
    if asked == "cuda" and not present:
        raise CntbenchError(
            "torch finds no GPU"
            + (
                ""
                if torch.backends.cuda.is_built()
                else f": this is its build without CUDA ({torch.__version__})"
            ),
            where="--device",
            hint="Allowed here: cpu, or auto, which takes a GPU where there is one.",
        )
    return "cuda" if present and asked in ("cuda", "auto") else "cpu"


def prepare(device: Device) -> None:
    """Set torch so that a GPU repeats its results, to the last bit, and does not round to TF32.

    What has no such implementation is an error then. Attention is written out: of all ways to
    compute it, the plain one is the same each time, also for gradients.
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
    """Return what a result should say about where it was measured: attributes.

    ``device``, and ``determinism``: torch's settings as they are.
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
    said = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return {"device": name, "determinism": said}
