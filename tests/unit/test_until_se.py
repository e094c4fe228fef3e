"""Prompts until the standard errors of the strongest edges are small: which, how many, and said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.models import decoder, ragged_prompts, random_model, random_prompts
from support.runs import plan_for, quiet
from support.trajectories import run_cli, write_trajectory

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, noise, zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.engine.settling import FIRST, STRONGEST, batches, settled
from cntbench.errors import CntbenchError
from cntbench.reporting.summary import _prompts
from cntbench.results.storage import open_results
from cntbench.runs.run import run

ZERO = Ablation("zero", zero.Parameters(), relative_l2.measure)
METHODS = [
    ZERO,
    Ablation("mean", mean.Parameters(population="clean", over=("prompt",)), relative_l2.measure),
    Ablation(
        "noise", noise.Parameters(scale=1.0, population="clean"), relative_l2.measure, draws=2
    ),
    Ablation("direct", zero.Parameters(), scope="direct", observable="readout"),
]
COUNT = 20


@pytest.fixture(scope="module")
def request_for_all():
    model = decoder(random_model("gpt_neox", layers=2, heads=2, width=4))
    prompts = random_prompts(count=COUNT, length=5, scored=2)
    return Request(model, prompts, METHODS, keep=("prompts",))


@pytest.fixture(scope="module")
def of_all(request_for_all):
    return influence(request_for_all)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 40, 64])
def test_batches_are_all_prompts_in_order_and_double(count):
    rows = [row for part in batches(count) for row in range(part.start, part.stop)]
    assert rows == list(range(count))
    ends = [part.stop for part in batches(count)]
    assert ends[:-1] == [FIRST * 2**i for i in range(len(ends) - 1)]


def test_the_errors_of_the_strongest_edges_of_every_ablation_count():
    random = np.random.default_rng(0)
    weights, errors = random.uniform(size=(2, 2, 6, 6))
    weights[:, np.arange(6), np.arange(6)] = np.nan
    largest = 0.0
    for ablation in range(2):
        edges = [
            (weights[ablation, s, t], errors[ablation, s, t]) for s in range(6) for t in range(6)
        ]
        strongest = sorted((edge for edge in edges if edge[0] == edge[0]), reverse=True)[:STRONGEST]
        largest = max(largest, *(error for _, error in strongest))
    assert settled(weights, errors, largest + 1e-9)
    assert not settled(weights, errors, largest)
    assert not settled(weights, np.full_like(errors, np.nan), 1.0)  # of one prompt
    assert settled(np.full_like(weights, np.nan), errors, 1e-9)  # no edges


def test_prompts_that_are_measured_have_the_values_of_a_study_of_all(request_for_all, of_all):
    result = influence(replace(request_for_all, until_se=1e6))
    assert result.prompts_measured == FIRST
    for name, values in result.kept.items():
        np.testing.assert_allclose(values, of_all.kept[name][..., :FIRST], rtol=1e-5, atol=1e-7)


def test_without_statistics_over_prompts_the_numbers_are_those_of_fewer_prompts(request_for_all):
    request = replace(request_for_all, ablations=[ZERO])
    few = influence(replace(request, prompts=request.prompts.take(slice(FIRST))))
    result = influence(replace(request, until_se=1e6))
    for name in ("influence", "influence_se", "readout_value", "readout_effect", "previous_token"):
        np.testing.assert_array_equal(getattr(result, name), getattr(few, name))


def test_a_limit_that_is_never_reached_measures_all(request_for_all, of_all):
    result = influence(replace(request_for_all, until_se=1e-12))
    assert result.prompts_measured == of_all.prompts_measured == COUNT
    np.testing.assert_allclose(result.influence, of_all.influence, rtol=1e-6)


def test_it_ends_at_the_first_batch_whose_errors_are_small(request_for_all, of_all):
    by_prompt = of_all.kept["influence_by_prompt"][:1, ..., :]
    request = replace(request_for_all, ablations=[ZERO])
    for limit in (0.05, 0.1, 0.2, 0.4):
        expected = COUNT
        for part in batches(COUNT):
            values = by_prompt[..., : part.stop]
            error = values.std(axis=-1, ddof=1) / np.sqrt(part.stop)
            if settled(values.mean(axis=-1), error, limit):
                expected = part.stop
                break
        assert influence(replace(request, until_se=limit)).prompts_measured == expected


def test_prompts_of_several_lengths_and_positions():
    model = decoder(random_model("gpt_neox", layers=2, heads=2, width=4))
    prompts = ragged_prompts(count=12)
    request = Request(model, prompts, [ZERO], keep=("positions",), observe_all=True)
    few = influence(replace(request, prompts=prompts.take(slice(FIRST))))
    result = influence(replace(request, until_se=1e6))
    at = few.kept["influence_by_position"]
    np.testing.assert_allclose(
        result.kept["influence_by_position"][..., : at.shape[-1]], at, rtol=1e-6
    )


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8))


def test_the_result_says_how_many_prompts_were_measured(checkpoints, tmp_path):
    plan = plan_for(checkpoints, prompts=12, until_se=1e6, tasks=("induction", "bigram"))
    tree = open_results(run(plan, tmp_path / "run", jobs=1, progress=quiet).path)
    assert (tree["prompts_measured"] == FIRST).all()
    assert tree["prompts_measured"].dims == ("task", "checkpoint")
    few = run(
        plan_for(checkpoints, prompts=8, tasks=("induction", "bigram")),
        tmp_path / "few",
        jobs=1,
        progress=quiet,
    )
    np.testing.assert_array_equal(tree["influence"], few.tree["influence"])
    assert "prompts_measured" not in few.tree


def test_intervals_are_over_the_prompts_of_each_task(checkpoints, tmp_path):
    """A file may have fewer prompts than the study asks for, and they are those of few."""
    rows = [{"clean": [i, i + 1], "answer": [i + 2], "wrong": [i + 3]} for i in range(3)]
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(map(json.dumps, rows)))
    both, alone = (
        run(plan_for(checkpoints, prompts=12, tasks=tasks), tmp_path / name, jobs=1, progress=quiet)
        for name, tasks in (("both", ("induction", str(few))), ("alone", (str(few),)))
    )
    both, alone = both.tree, alone.tree
    for name in ("spreader_strength_se", "spreader_strength_upper"):
        of_few, expected = (tree["roles"][name].values[-1] for tree in (both, alone))
        np.testing.assert_allclose(of_few, expected, rtol=1e-6)
    np.testing.assert_array_equal(both["prompts_measured"], [[12, 12], [3, 3]])
    assert not [*_prompts(both.to_dataset())]
    plan = plan_for(checkpoints, prompts=12, tasks=("induction", str(few)), until_se=1e-6)
    [says] = _prompts(run(plan, tmp_path / "until", jobs=1, progress=quiet).tree.to_dataset())
    assert "edges are below 1e-06, or a file has no more: 3 to 12 of 12," in says.plain


def test_it_counts_for_the_identity_only_if_it_is_asked_for(checkpoints):
    without, limited = plan_for(checkpoints), plan_for(checkpoints, until_se=0.1)
    assert "until_se" not in {**without.identity, **without.study_spec}
    assert limited.identity["until_se"] == limited.study_spec["until_se"] == 0.1
    assert limited.hash != without.hash
    assert limited.study.command.endswith("--until-se 0.1")


def test_blocks_of_sources_are_refused(checkpoints):
    with pytest.raises(CntbenchError, match=r"until_se: the blocks of a checkpoint"):
        plan_for(checkpoints, until_se=0.1, blocks=2)


def test_the_command_line_says_so(checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--trajectory", f"dir:{checkpoints}", "--tasks", "induction", "--ablations", "zero"]
    options += ["--prompts", 12, "--untrained", 0, "--until-se", 1000]
    _, out, _ = run_cli(monkeypatch, capsys, "plan", "pythia-14m-smoke", *options)
    assert "Upper bounds: measuring prompts ends once standard errors are below 1000." in out
    plan = plan_for(checkpoints, prompts=12, until_se=1e3)
    run(plan, tmp_path / "run", jobs=1, progress=quiet)
    _, out, _ = run_cli(monkeypatch, capsys, "show", "run/results.nc")
    told = " ".join(out.split())
    assert (
        "Prompts until the standard errors of the strongest edges are below 1000: 8 to 8 of 12, 8 "
        "in the median; all 12 in 0 of 2 pairs of task and checkpoint."
    ) in told
