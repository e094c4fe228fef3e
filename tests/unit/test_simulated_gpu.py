"""On a GPU the numbers are the CPU's. It is simulated: what runs there is in `support`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from support import simulated_gpu
from support.ablations import shipped
from support.families import FAMILIES
from support.models import ARCHITECTURES
from support.runs import write_study
from support.trajectories import write_trajectory

#: Fits ask after each step which of them have ended.
FITTED = ("optimal_constant", "optimal_constant_direct")
#: Methods for which the engine does different things, and every architecture has a rule.
FOLLOWED = ("zero", "mean_reference_by_position_direct", "resample_readout", "resample_eap_ig")


@pytest.fixture(scope="module")
def gpu():
    if not simulated_gpu.is_possible():
        pytest.skip("this version of torch takes no backend in Python")
    with simulated_gpu.simulated() as executor:
        yield executor


def assert_equal(compared, tolerance=1e-5):
    on_gpu, on_cpu = compared
    for name, values in on_cpu.items():
        scale = np.nanmax(np.abs(values), initial=1.0)
        np.testing.assert_allclose(
            on_gpu[name], values, rtol=0, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.parametrize(
    "methods", [sorted({*shipped()} - {*FITTED}), FITTED[:1]], ids=["all", "fitted"]
)
def test_ablations_give_the_numbers_of_the_cpu(gpu, methods):
    assert_equal(gpu.submit(simulated_gpu.compared, "gpt_neox", methods).result())


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *FAMILIES])
def test_architectures_give_the_numbers_of_the_cpu(gpu, architecture):
    compared = gpu.submit(simulated_gpu.compared, architecture, FOLLOWED, observe_all=True)
    assert_equal(compared.result())


def test_rounded_weights_stay_on_the_gpu(gpu):
    methods, options = (
        (*FOLLOWED, "noise"),
        {"dtype": torch.bfloat16, "effects": ("cross_entropy",)},
    )
    assert_equal(gpu.submit(simulated_gpu.compared, "llama", methods, **options).result(), 0.05)


def test_the_sweep_does_not_wait_for_the_gpu(gpu):
    """It waits when numbers come back, and once for cross-entropy, whatever the layers.

    One layer has no direct effects through later ones, which come back by themselves.
    """
    methods = sorted({*shipped()} - {*FITTED})
    few, many = (gpu.submit(simulated_gpu.waits_of, methods, layers).result() for layers in (2, 4))
    assert many == few
    assert few["against_others"] > 0, "nothing is counted"


def test_a_run_gives_the_numbers_of_the_cpu(gpu, tmp_path):
    checkpoints = write_trajectory(tmp_path / "checkpoints", steps=(0, 8, 16))
    write_study(tmp_path / "specs", "tiny", checkpoints, untrained=1)
    on_gpu, kept = gpu.submit(simulated_gpu.run_on, "cuda", tmp_path).result()
    on_cpu, _ = simulated_gpu.run_on("cpu", tmp_path)
    assert (on_gpu.attrs["device"], on_cpu.attrs["device"]) == ("cuda (simulated)", "cpu")
    assert "deterministic_algorithms = True" in on_gpu.attrs["determinism"]
    for name in on_cpu:
        if on_cpu[name].dtype.kind == "f":
            xr.testing.assert_allclose(on_gpu[name], on_cpu[name], rtol=1e-4, atol=1e-5)
    assert kept, "the settings of the caller have changed"


def test_a_tensor_made_elsewhere_is_found(gpu):
    with pytest.raises(RuntimeError, match="takes tensors on two devices"):
        gpu.submit(simulated_gpu.with_positions_elsewhere).result()
