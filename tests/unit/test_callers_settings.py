"""What a user has set in torch and NumPy neither changes results nor is changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
import torch
import xarray as xr
from support.models import random_gpt_neox

import cntbench

#: What a user may set, and what tells whether it is still set.
SETTINGS: dict[str, tuple[Callable[[ExitStack], object], Callable[[], object]]] = {
    "products": (
        lambda stack: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
    "products of one kind": (
        lambda stack: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: torch.backends.mkldnn.matmul.fp32_precision,
    ),
    "default device": (
        lambda stack: stack.enter_context(torch.device("meta")),
        torch.get_default_device,
    ),
    "default dtype": (
        lambda stack: torch.set_default_dtype(torch.float64),
        torch.get_default_dtype,
    ),
    "autocast": (
        lambda stack: stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16)),
        lambda: torch.is_autocast_enabled("cpu"),
    ),
    "inference": (
        lambda stack: stack.enter_context(torch.inference_mode()),
        torch.is_inference_mode_enabled,
    ),
    "no gradients": (
        lambda stack: stack.enter_context(torch.no_grad()),
        torch.is_grad_enabled,
    ),
    "floating-point errors": (
        lambda stack: stack.enter_context(np.errstate(all="raise")),
        np.geterr,
    ),
    "alignment": (
        lambda stack: stack.enter_context(
            xr.set_options(arithmetic_join="exact", keep_attrs=False)
        ),
        lambda: xr.get_options()["arithmetic_join"],
    ),
}


@pytest.fixture(scope="module")
def model():
    return random_gpt_neox()


@pytest.fixture(scope="module")
def measured(model, tmp_path_factory) -> Callable[[], dict[str, xr.Dataset]]:
    def measure() -> dict[str, xr.Dataset]:
        """Measure a model in memory and a run with all that is derived from it."""
        folder = tmp_path_factory.mktemp("run")
        tree = cntbench.run(
            trajectory="planted:drift",
            checkpoints="0:3",
            tasks=["random_tokens"],
            ablations=["zero", "resample_eap"],
            prompts=2,
            output=folder / "run",
        )
        groups = {path: node.to_dataset(inherit=False) for path, node in tree.subtree_with_keys}
        chosen = cntbench.influence(model, "random_tokens", ["zero", "resample_eap"], prompts=2)
        return {**groups, "influence": chosen}

    return measure


@pytest.fixture(scope="module")
def expected(measured) -> dict[str, xr.Dataset]:
    return measured()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_callers_settings_change_nothing_and_stay(setting, expected, measured):
    set_it, get = SETTINGS[setting]
    default = get()
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, "highest")
        stack.callback(torch.set_default_dtype, torch.float32)
        set_it(stack)
        chosen = get()
        result = measured()
        assert get() == chosen != default
    assert result.keys() == expected.keys()
    for path, group in expected.items():
        xr.testing.assert_identical(result[path], group)
