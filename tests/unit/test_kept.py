"""Results of single prompts and positions: oracles, and their way into files."""

from __future__ import annotations

from dataclasses import replace

import netCDF4
import numpy as np
import pytest
from support.models import decoder, ragged_prompts, random_model, random_prompts
from support.runs import plan_for, quiet
from support.trajectories import run_cli, write_trajectory

import cntbench
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import noise, resample, zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.prompts import lengths
from cntbench.results.schema import KEPT
from cntbench.results.storage import open_results
from cntbench.runs.run import run

NOISE = noise.Parameters(scale=1.0, population="clean")
METHODS = [
    Ablation("zero", zero.Parameters(), relative_l2.measure),
    Ablation(
        "noise", noise.Parameters(scale=1.0, population="clean"), relative_l2.measure, draws=2
    ),
    Ablation("direct", resample.Parameters(donor="reference"), relative_l2.measure, scope="direct"),
    Ablation(
        "patched", resample.Parameters(donor="reference"), scope="direct", observable="readout"
    ),
]


@pytest.fixture(scope="module", params=[False, True], ids=["scored", "all"])
def request_and_result(request):
    model = decoder(random_model("gpt_neox", layers=2, heads=2, width=4))
    prompts = random_prompts(count=3, length=5, scored=2)
    call = Request(
        model, prompts, METHODS, observe_all=request.param, keep=("prompts", "positions")
    )
    return call, influence(call)


def test_means_over_prompts_are_the_film_s_values(request_and_result):
    _, result = request_and_result
    kept = result.kept
    targets = [i for i, method in enumerate(METHODS) if method.observable == "target"]
    mean = {name: values.mean(axis=-1) for name, values in kept.items()}
    np.testing.assert_allclose(mean["influence_by_prompt"][targets], result.influence[targets])
    np.testing.assert_allclose(mean["edge_effect_by_prompt"], result.edge_effect)
    np.testing.assert_allclose(mean["readout_effect_by_prompt"], result.readout_effect)
    np.testing.assert_allclose(mean["readout_value_by_prompt"], result.readout_value)
    error = kept["influence_by_prompt"].std(axis=-1, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(error[targets], result.influence_se[targets])
    assert np.isnan(kept["influence_by_prompt"][-1]).all()  # observes the readout


def test_a_prompt_has_what_it_has_alone(request_and_result):
    call, result = request_and_result
    request = replace(
        call, prompts=call.prompts.take(slice(1, 2)), ablations=[METHODS[0], METHODS[2]]
    )
    alone = influence(replace(request, keep=()))
    of_one = result.kept["influence_by_prompt"][[0, 2], ..., 1]
    np.testing.assert_allclose(of_one, alone.influence, rtol=1e-4, atol=1e-6)


def test_a_scored_position_has_what_it_has_alone(request_and_result):
    call, result = request_and_result
    by_position = result.kept["influence_by_position"]
    np.testing.assert_allclose(by_position[:3].mean(axis=-1), result.influence[:3], rtol=1e-6)
    assert np.isnan(by_position[3]).all()
    if call.observe_all:
        assert by_position.shape[-1] == 5
        return
    for position in range(2):
        at = slice(position, position + 1)
        prompts = replace(
            call.prompts,
            **{key: getattr(call.prompts, key)[:, at] for key in ("scored", "targets", "decoys")},
        )
        alone = influence(replace(call, prompts=prompts, keep=())).influence
        np.testing.assert_allclose(by_position[:3, ..., position], alone[:3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("everywhere", [False, True], ids=["scored", "all"])
def test_prompts_of_different_lengths_have_their_own_positions(everywhere):
    model = decoder(random_model("gpt2", layers=2, heads=2, width=4))
    prompts = ragged_prompts()
    both = [METHODS[0], METHODS[2]]
    keep = ("prompts", "positions")
    result = influence(Request(model, prompts, both, observe_all=everywhere, keep=keep))
    observed = lengths(prompts.tokens if everywhere else prompts.scored)
    assert len(set(observed)) > 1
    total = np.zeros_like(result.kept["influence_by_position"])
    for row, count in enumerate(observed):
        rows = prompts.take(np.array([row])).cut({"reference"})
        alone = influence(Request(model, rows, both, observe_all=everywhere, keep=keep))
        np.testing.assert_allclose(
            result.kept["influence_by_prompt"][..., row], alone.influence, rtol=1e-4, atol=1e-6
        )
        total[..., :count] += alone.kept["influence_by_position"][..., :count]
    counts = (observed[:, None] > np.arange(total.shape[-1])).sum(axis=0)
    np.testing.assert_allclose(
        result.kept["influence_by_position"], total / counts, rtol=1e-4, atol=1e-6
    )


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8))


@pytest.fixture(scope="module")
def kept_run(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = {"tasks": ("induction", "bigram"), "untrained": 1, "blocks": 2}
    plan = plan_for(checkpoints, **options, prompts=3, keep=("prompts", "positions"))
    return run(plan, folder, jobs=1, progress=quiet), folder


def test_a_run_keeps_prompts_and_positions_in_its_film(kept_run):
    tree = open_results(kept_run[0].path)
    root = tree.to_dataset(inherit=False)
    assert set(KEPT) - {"prompts_measured"} < set(root.data_vars)
    assert root.sizes["prompt"] == 3
    mean = root["influence_by_prompt"].mean("prompt")
    np.testing.assert_allclose(mean, root["influence"], rtol=1e-5)
    error = root["influence_by_prompt"].std("prompt", ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(error, root["influence_se"], rtol=1e-4, atol=1e-7)
    value = root["readout_value_by_prompt"].mean("prompt")
    np.testing.assert_allclose(value, root["readout_value"], rtol=1e-5)
    at = root["influence_by_position"].mean("position")
    np.testing.assert_allclose(at, root["influence"], rtol=1e-5)
    [untrained] = (kept_run[1] / "untrained").glob("*.nc")
    with netCDF4.Dataset(untrained) as file:
        assert not {"prompt", "position"} & set(file.dimensions)


def test_what_is_kept_is_chunked_by_cell_and_compressed(kept_run):
    with netCDF4.Dataset(kept_run[0].path) as file:
        values = file["influence_by_prompt"]
        assert values.chunking()[:3] == [1, 1, 1]
        assert values.filters()["zlib"]


def test_nothing_is_kept_unless_it_is_asked_for(checkpoints, kept_run):
    plan = plan_for(checkpoints)
    assert "keep" not in plan.identity
    assert not {"prompt", "position"} & set(influence_of_plan(plan).dims)
    other = plan_for(checkpoints, prompts=3, tasks=("induction", "bigram"), blocks=2)
    with pytest.raises(CntbenchError, match="belongs to another study; different: keep"):
        run(other, kept_run[1], jobs=1, progress=quiet)


def influence_of_plan(plan):
    from cntbench.runs.measurer import measure

    checkpoint = plan.trajectory.checkpoints[0]
    return measure(plan, checkpoint, plan.trajectory.load(checkpoint))


def test_a_model_in_memory_keeps_them_too():
    model = random_model("gpt2", layers=2, heads=2, width=4, vocabulary=40)
    result = cntbench.influence(model, prompts=3, keep="prompts", components="heads", layers="0:1")
    assert result["influence_by_prompt"].dims[-1] == "prompt"
    heads = result["source_kind"] == "head"
    assert result["influence"].sel(source=~heads).isnull().all()
    assert result["influence"].sel(source=heads).notnull().any()


def test_an_unknown_thing_to_keep_is_told(checkpoints, monkeypatch, capsys):
    code, _, err = run_cli(monkeypatch, capsys, "plan", "--keep", "promts")
    assert code == 2
    assert "prompts" in err
    assert "positions" in err
