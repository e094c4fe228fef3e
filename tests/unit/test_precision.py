"""Precision: the engine in all floating-point types, and what it means for a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.ablations import shipped, with_few_steps
from support.models import ARCHITECTURES, decoder, random_model, random_prompts
from support.runs import plan_for, quiet, write_study
from support.trajectories import run_cli, write_trajectory

from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention
from cntbench.models.precision import TYPES, converted
from cntbench.readouts import known_readouts
from cntbench.results.storage import open_results
from cntbench.runs.run import run

#: Every ablation; fits take few steps, which do not converge and round as many do.
ALL = [with_few_steps(entry).method for entry in shipped().values()]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def single(request):
    """A model in single precision, and what is found in it."""
    model = decoder(random_model(request.param))
    return model, measured(model)


def measured(model):
    effects = ("logit_difference", "cross_entropy", "accuracy")
    return influence(Request(model, random_prompts(count=5), ALL, effects=effects))


@pytest.mark.filterwarnings("ignore:the optimal constants")
@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.1), ("float64", 1e-4)])
def test_every_ablation_works_in_every_type(single, dtype, bound):
    """Medians: single edges of random models may be as small as their rounding."""
    model, reference = single
    other = converted(model, TYPES[dtype])
    assert other.dtype == TYPES[dtype]
    result = measured(other)
    # The common checks of ablations say the same of the other types.
    again = measured(other) if dtype == "bfloat16" else result
    assert not reference.kept  # nothing of single prompts or positions
    arrays = {k: v for k, v in vars(reference).items() if k not in ("kept", "prompts_measured")}
    for name, expected in arrays.items():
        values = getattr(result, name)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
        np.testing.assert_array_equal(values, getattr(again, name))
        strong = abs(expected) > 1e-2
        if strong.any():
            apart = abs(values[strong] - expected[strong]) / abs(expected[strong])
            assert np.median(apart) < bound, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_are_those_of_what_rounded_heads_write(architecture):
    model = converted(decoder(random_model(architecture)), torch.bfloat16)
    block = next(b for s in model.stages for b in s.blocks if isinstance(b, Attention))
    states = torch.randn(3, block.n_components, block.width).bfloat16()
    image = block.image(states[None, None])[0, 0]
    assert image.dtype == torch.float32
    for head in range(block.n_components):
        written = states[:, head].double() @ block.output[head].double()
        expected = written.norm(dim=-1)
        torch.testing.assert_close(
            image[:, head].norm(dim=-1).double(), expected, rtol=1e-5, atol=0
        )


def test_weights_are_rounded_once_after_norms_are_folded(tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints", steps=(0,))
    trajectory = plan_for(folder).trajectory
    types = [torch.float32, torch.bfloat16, torch.float64]
    models = [trajectory.load(trajectory.checkpoints[0], dtype) for dtype in types]
    weights = [model.stages[0].blocks[0].project.weight for model in models]
    assert [weight.dtype for weight in weights] == types
    assert torch.equal(weights[1], weights[0].bfloat16())
    assert not torch.equal(weights[2].float().double(), weights[2])  # not rounded on the way


def test_a_model_in_its_own_type_is_itself():
    model = decoder(random_model("gpt_neox"))
    same = converted(model, torch.float32)
    assert same.unembed.weight is model.unembed.weight


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_trajectory(tmp_path_factory.mktemp("trajectory") / "checkpoints", steps=(0, 8))
    ablations = ("zero", "noise", "resample_eap")

    def plan(dtype):
        others = {"dtype": dtype} if dtype else {}
        return plan_for(folder, ablations=ablations, prompts=3, untrained=1, **others)

    return plan


def test_runs_of_single_precision_are_those_from_before_there_was_a_choice(study):
    assert "dtype" not in study(None).identity
    assert study(None).hash == study("float32").hash
    assert study("bfloat16").identity == {**study(None).identity, "dtype": "bfloat16"}


@pytest.fixture(scope="module")
def in_single(study, tmp_path_factory):
    """The result of the study in single precision."""
    return run(study(None), tmp_path_factory.mktemp("single") / "run", jobs=1, progress=quiet).tree


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_run_has_the_same_bytes_on_any_number_of_processes(study, in_single, tmp_path, dtype):
    result = run(study(dtype), tmp_path / "one", jobs=1, progress=quiet)
    two = run(study(dtype), tmp_path / "two", jobs=2, progress=quiet)
    assert not result.failed
    assert result.path.read_bytes() == two.path.read_bytes()
    for group in ("/", "/untrained"):
        ours, theirs = (tree[group]["influence"].values for tree in (result.tree, in_single))
        assert not np.array_equal(ours, theirs, equal_nan=True), "untrained models too"
    assert result.tree.attrs["dtype"] == dtype
    assert json.loads(result.tree.attrs["spec"])["dtype"] == dtype


def test_the_command_line_chooses_and_a_folder_keeps_its_type(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = write_trajectory(tmp_path / "checkpoints", steps=(0, 8))
    write_study(tmp_path / "specs", "tiny", folder, untrained=0)
    options = ["run", "tiny", "--specs", "specs", "-j", 1, "-o", "mine"]

    def cli(*more):
        return run_cli(monkeypatch, capsys, *options, *more)

    assert cli("--dtype", "bfloat16")[0] == 0
    assert open_results(tmp_path / "mine" / "results.nc").attrs["dtype"] == "bfloat16"
    for other in ([], ["--dtype", "float64"]):
        code, _, err = cli(*other)
        assert code == 2
        assert "belongs to another study; different: dtype" in err
    assert "found 2 measured before" in cli("--dtype", "bfloat16")[1]
    code, _, err = cli("--dtype", "float23")
    assert code == 2
    assert '--dtype = "float23" is not allowed' in err
    assert "Did you mean 'float32'?" in err


@pytest.mark.parametrize("dtype", dict.fromkeys(TYPES.values()), ids=str)
def test_readouts_are_computed_in_single_precision_at_least(dtype):
    """Of the same rounded weights and streams, those of a double-precision end."""
    from cntbench.engine.readouts import Answers, readout

    model = converted(decoder(random_model("llama", vocabulary=2000)), dtype)
    streams = torch.randn(2, 3, 4, model.hidden).to(model.dtype)
    targets, decoys = torch.arange(12).view(3, 4), torch.arange(12, 24).view(3, 4)
    answers = Answers(targets, decoys)
    values = readout(model, streams, answers, known_readouts())
    exact = readout(converted(model, torch.float64), streams.double(), answers, known_readouts())
    for name in known_readouts():
        torch.testing.assert_close(values[name], exact[name], rtol=1e-4, atol=1e-4)
