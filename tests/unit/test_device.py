"""Devices: what is asked for and not there, and that the engine stays where the model is."""

from __future__ import annotations

import pytest
import torch
from support.models import random_model
from support.runs import write_study
from support.trajectories import run_cli, write_trajectory

import cntbench
from cntbench.errors import CntbenchError
from cntbench.models.device import attention_kernels, description, prepare, resolve
from cntbench.results.storage import open_results

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@NO_GPU
def test_a_gpu_that_is_not_there_is_a_mistake():
    assert resolve("cpu") == resolve("auto") == "cpu"
    with pytest.raises(
        CntbenchError, match=r"--device: torch finds no GPU(.|\n)*Allowed here: cpu"
    ):
        resolve("cuda")


def test_products_keep_their_precision_whatever_a_plug_in_has_set():
    torch.set_float32_matmul_precision("medium")
    prepare("cpu")
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_gpu_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve("cuda") == resolve("auto") == "cuda"
    assert resolve("cpu") == "cpu"


@NO_GPU
@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_command_line_refuses_it(monkeypatch, capsys, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(monkeypatch, capsys, command, "--device", "cuda")
    assert (code, out) == (2, "")
    assert err.startswith("error: --device: torch finds no GPU")
    assert not list(tmp_path.iterdir())


def test_a_result_says_where_it_was_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = write_trajectory(tmp_path / "checkpoints", steps=(0, 8))
    write_study(tmp_path / "specs", "tiny", folder, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    for output, more in (("one", ["-j", 1]), ("auto", ["-j", 2, "--device", "auto"])):
        code, _, err = run_cli(monkeypatch, capsys, "run", "tiny", "-o", output, *more)
        assert code == 0, err
    if not torch.cuda.is_available():
        assert (tmp_path / "one/results.nc").read_bytes() == (
            tmp_path / "auto/results.nc"
        ).read_bytes()
    attributes = open_results(tmp_path / "one" / "results.nc").attrs
    assert attributes["device"] == "cpu"
    assert attributes["determinism"] == (
        "deterministic_algorithms = False, float32_matmul_precision = highest, threads = 1"
    )


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_gpu_is_set_to_repeat_itself(monkeypatch, precision):
    """Only what is asked of torch can be looked at without one."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    before = torch.are_deterministic_algorithms_enabled()
    try:
        prepare("cuda", precision)
        attributes = description("cuda")
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    assert attributes["device"] == "cuda (a GPU)"
    assert "deterministic_algorithms = True" in attributes["determinism"]
    assert "cublas_workspace = :4096:8" in attributes["determinism"]
    assert f"tf32 = {precision == 'tf32'}" in attributes["determinism"]


@NO_GPU
@pytest.mark.parametrize("option", ["--dtype", "--precision"])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_cpu_does_not_round_to_tf32(monkeypatch, capsys, tmp_path, command, option):
    monkeypatch.chdir(tmp_path)
    arguments = ("--trajectory", "planted:chain", "--tasks", "random_tokens", option, "tf32")
    code, out, err = run_cli(monkeypatch, capsys, command, *arguments)
    assert (code, out) == (2, "")
    assert "error: dtype: only GPUs round products to TF32" in err
    assert "Allowed on a CPU: float32, bfloat16, float64." in err
    assert not list(tmp_path.iterdir())


@NO_GPU
@pytest.mark.parametrize("seeds", [(), ("--seeds", "0..1")])
def test_which_is_said_before_a_model_is_trained(monkeypatch, capsys, tmp_path, seeds):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    code, _, err = run_cli(monkeypatch, capsys, "run", "--dtype", "tf32", "-j", 1, *seeds)
    assert (code, "only GPUs round products to TF32" in err) == (2, True)
    with pytest.raises(CntbenchError, match="only GPUs round products to TF32"):
        cntbench.run(dtype="tf32", seeds=seeds[1] if seeds else None)
    assert not list(tmp_path.iterdir())


@NO_GPU
def test_nor_does_a_model_in_memory():
    with pytest.raises(CntbenchError, match="only GPUs round products to TF32"):
        cntbench.influence(random_model("gpt2"), dtype="tf32")


@pytest.mark.parametrize(
    ("on_gpu", "batch", "gradients", "fused"),
    [
        (True, 4, False, True),
        (True, 4, True, False),
        (True, 2**16 - 1, False, True),
        (True, 2**16, False, False),
        (False, 2**16, True, True),
    ],
)
def test_attention_is_fused_where_that_repeats_itself(on_gpu, batch, gradients, fused):
    class Query:
        is_cuda = on_gpu

        def __len__(self):
            return batch

    with torch.set_grad_enabled(gradients), attention_kernels(Query()):
        assert torch.backends.cuda.math_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled() is fused
        assert torch.backends.cuda.mem_efficient_sdp_enabled() is fused
    assert torch.backends.cuda.flash_sdp_enabled()
