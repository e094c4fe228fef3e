"""Answers of several tokens and sets of answers, from the prompt to the film."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from support.models import decoder, random_model
from support.oracle import Oracle

import cntbench
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import zero
from cntbench.engine.influence import influence
from cntbench.engine.optimal_constants import Losses, fit
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.models.precision import in_double
from cntbench.prompts import PADDING, Prompt, batch
from cntbench.prompts.continuations import answered
from cntbench.readouts import known_readouts
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.tasks import misfit

RNG = np.random.RandomState(0)
TEXTS = [RNG.randint(0, 17, 5) for _ in range(3)]
LONG = [[1, 2, 3], [1, 4], [6, 2, 3]], [[1, 3], [1, 5, 6], [7, 8]]
SUMMED = "sum of log probabilities"


@pytest.fixture(scope="module", params=["gpt_neox", "llama"])
def model(request):
    return random_model(request.param, dtype=torch.float64, vocabulary=17)


def tokens(*answers):
    return [np.array(answer) for answer in answers]


def forced():
    """Prompts with answers of three tokens each."""
    return [
        answered(text, tokens(right), tokens(wrong), SUMMED, reference=text[::-1])
        for text, right, wrong in zip(TEXTS, *LONG, strict=True)
    ]


def sets():
    """Prompts with sets of answers of one token each."""
    return [
        answered(text, tokens([1], [2], [3]), tokens([4], [5 + i])) for i, text in enumerate(TEXTS)
    ]


def by_hand(rows, prompt):
    """Readouts that do not need the clean run, from the logits at the scored positions."""
    logs = torch.from_numpy(rows).log_softmax(dim=-1)
    if prompt.summed:
        place = range(len(prompt.targets))
        right = logs[place, prompt.targets]
        [at] = np.flatnonzero(prompt.targets != prompt.decoys)
        compared = logs[at, prompt.targets[at]], logs[at, prompt.decoys[at]]
        hit = all(rows.argmax(axis=-1) == prompt.targets)
    else:
        right, hit = logs[0, prompt.targets[0]].logsumexp(0), rows[0].argmax() in prompt.targets
        compared = [
            logs[0, x[x != PADDING].ravel()].logsumexp(0) for x in (prompt.targets, prompt.decoys)
        ]
    p, q = (value.exp() for value in compared)
    return {
        "log_probability": right.sum().item(),
        "cross_entropy": -right.sum().item(),
        "logit_difference": (compared[0] - compared[1]).item(),
        "probability_difference": (p - q).item(),
        "accuracy": float(hit),
    }


@pytest.mark.parametrize("made", [forced, sets])
def test_readouts_and_effects_are_those_of_plain_forward_passes(model, made):
    oracle, prompts = Oracle(model), made()
    zeroed = Ablation("zero", zero.Parameters(), relative_l2.measure)
    names = known_readouts()
    result = influence(
        Request(decoder(model), batch(prompts), [zeroed], effects=names, readouts=names)
    )
    for source in (0, len(oracle.nodes) - 1):
        clean, moved = [], []
        for prompt in prompts:
            logits, states = oracle.run(prompt.tokens)
            node = oracle.nodes[source]
            ablated, _ = oracle.run(prompt.tokens, {node: torch.zeros_like(states[node])})
            for values, end in ((clean, logits), (moved, ablated)):
                values.append(by_hand(end[prompt.scored].numpy(), prompt))
        for name in clean[0]:
            before, after = (np.mean([single[name] for single in each]) for each in (clean, moved))
            place = names.index(name)
            assert result.readout_value[place] == pytest.approx(before, abs=1e-10), name
            assert result.readout_effect[0, place, source] == pytest.approx(
                after - before, abs=1e-10
            )


@pytest.mark.parametrize("made", [forced, sets])
def test_constants_are_fitted_to_whole_answers(made):
    model = decoder(random_model("gpt_neox", dtype=torch.float64, vocabulary=17))
    zeroed = Ablation("zero", zero.Parameters(), relative_l2.measure)
    prompts = batch(made())
    result = influence(Request(model, prompts, [zeroed], effects=("cross_entropy",)))
    place = known_readouts().index("cross_entropy")
    expected = result.readout_value[place] + result.readout_effect[0, place]
    losses = Losses(in_double(model), prompts, 2**30)
    every, zeros = torch.arange(len(expected)), torch.zeros(len(expected), model.hidden).double()
    np.testing.assert_allclose(losses.of(every, zeros), expected, rtol=1e-9)
    assert (losses.of(every, fit(losses, 20).points) <= losses.of(every, zeros) + 1e-9).all()


def test_gradient_estimates_of_one_of_two_equal_sets(model):
    """Where a set is one token and the answer is its only token, nothing differs from today."""
    single = [answered(text, tokens([1]), tokens([4])) for text in TEXTS]
    alike = dataclasses.replace(
        batch(single),
        targets=np.array([[[1, PADDING]]] * 3),
        decoys=np.array([[[4, PADDING]]] * 3),
        summed=np.ones(3, dtype=bool),
    )
    method = Ablation("a", zero.Parameters(), None, "direct", "readout", estimator="eap")
    for effect in ("log_probability", "probability_difference", "logit_difference"):
        results = [
            influence(Request(decoder(model), prompts, [method], effects=(effect,))).edge_effect
            for prompts in (batch(single), alike)
        ]
        assert np.nanmax(abs(results[0])) > 0
        np.testing.assert_allclose(results[0], results[1], rtol=1e-8, atol=1e-12)


ROWS = [
    {"clean": [5, 6, 7], "corrupted": [5, 6, 8], "answer": [1, 2, 3], "wrong": [1, 3]},
    {"clean": [9, 6], "corrupted": [9, 8], "answer": [1, 4], "wrong": [2]},
]


@pytest.mark.parametrize("rule", ["first", SUMMED])
def test_rows_with_answers_of_several_tokens_are_measured_as_the_rule_says(model, rule):
    rows = ROWS if rule == SUMMED else [{**row, "wrong": [9, 9]} for row in ROWS]
    expected = batch(
        [
            answered(
                np.array(row["clean"]), tokens(row["answer"]), tokens(row["wrong"]), rule,
                reference=np.array(row["corrupted"]),
            )
            for row in rows
        ]
    )  # fmt: skip
    result = cntbench.influence(model, ablation="zero", prompts=rows, answer=rule, dtype="float64")
    plain = influence(
        Request(decoder(model), expected, [load_catalogue().ablations["zero"].method])
    )
    np.testing.assert_allclose(result["influence"][0, 0, 0], plain.influence[0], rtol=1e-5)
    value = result["readout_value"].sel(readout="cross_entropy").item()
    assert value == pytest.approx(plain.readout_value[0], rel=1e-5)


@pytest.mark.parametrize("rule", ["first", SUMMED])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_is_scored_as_its_rows_are(model, tmp_path, suffix, rule):
    rows = [{**row, "wrong": [9, 9]} for row in ROWS]
    path = tmp_path / f"own{suffix}"
    frame = pd.DataFrame(rows)
    if suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    from_file = cntbench.influence(model, path, "zero", answer=rule)
    in_memory = cntbench.influence(model, "own", "zero", prompts=rows, answer=rule)
    xr.testing.assert_equal(from_file, in_memory)


def test_rows_with_sets_of_answers_are_measured(model):
    rows = [
        {"clean": [5, 6, 7], "answer": [[1], [2], [3]], "wrong": [[4], [5]]},
        {"clean": [9, 6, 7], "answer": [[1], [2]], "wrong": 4},
    ]
    result = cntbench.influence(model, ablation="zero", prompts=rows)
    odds = [Oracle(model).run(np.array(row["clean"]))[0][-1].softmax(-1) for row in rows]
    plain = -np.log([odds[0][[1, 2, 3]].sum(), odds[1][[1, 2]].sum()]).mean()
    assert result["readout_value"].sel(readout="cross_entropy").item() == pytest.approx(plain)


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (ROWS, {}, r"prompts\[0\]: answer: \[1, 2, 3\] is 3 tokens of this model, and one is"),
        (ROWS, {"answer": "first"}, r"prompts\[0\]: answer: a right and a wrong answer begin with"),
        (ROWS, {"answer": "all"}, 'answer = "all" is not allowed'),
        (4, {"answer": "first"}, "applies to prompts of your own, and task is not one file"),
        (4, {"answer": "first", "task": ("a.csv", "b.csv")}, "and task is not one file of them"),
        (4, {"answer": "first", "task": []}, "and task is not one file of them"),
        (4, {"answer": "all", "task": "a.csv"}, 'answer = "all" is not allowed'),
        (4, {"answer": "first", "task": [ROWS]}, "task"),
        ("own.csv", {}, "of type str.*\n.*path of a file of prompts is a task"),
        ([{**ROWS[0], "answer": [[1, 2], [3]]}], {"answer": SUMMED}, "2 answers are right and 1"),
        ([{**ROWS[0], "answer": [[1, 99]]}], {"answer": SUMMED}, "token 99 is outside"),
        ([{**ROWS[0], "answer": [1] * 70}], {"answer": SUMMED}, "is 72 tokens long, and the model"),
    ],
)
def test_rows_whose_answers_cannot_be_scored_are_named(rows, options, says):
    model = random_model("gpt_neox", vocabulary=17)
    with pytest.raises(CntbenchError, match=says):
        cntbench.influence(model, ablation="zero", prompts=rows, **options)


def test_what_is_scored_of_answers_of_several_tokens():
    text = np.arange(4)
    first = answered(text, tokens([5, 6]), tokens([7, 6, 8]), "first")
    assert (first.scored, first.targets, first.decoys, first.summed) == (3, 5, 7, False)
    whole = answered(text, tokens([5, 6, 9]), tokens([5, 7]), SUMMED, reference=text + 9)
    assert whole.tokens.tolist() == [0, 1, 2, 3, 5, 6]
    assert whole.reference.tolist() == [9, 10, 11, 12, 5, 6]
    assert whole.scored.tolist() == [3, 4, 5]
    assert whole.targets.tolist() == [5, 6, 9]
    assert whole.decoys.tolist() == [5, 7, 9]
    assert whole.summed


@pytest.mark.parametrize(
    ("targets", "decoys", "says"),
    [
        ([5, 6], [7, 8], "targets that are not one for each scored position"),
        ([5], [7, 8], "decoys that are not one for each scored position"),
        ([5], [7], None),
        ([[5, 6]], [[7, 8]], None),
    ],
)
def test_answers_that_are_not_one_for_each_scored_position_are_found(targets, decoys, says):
    """Once, a task with an answer of two tokens made every checkpoint fail with a RuntimeError."""
    made = Prompt(np.arange(4), np.array([3]), np.array(targets), np.array(decoys))
    assert misfit(batch([made, made]), 17) == says


def test_sets_know_each_token_once():
    prompt = answered(np.arange(4), tokens([5, 1], [6], [5, 2]), tokens([7]), "first")
    assert prompt.targets.tolist() == [[5, 6]]
    assert prompt.decoys.tolist() == [[7]]
    joined = batch([prompt, answered(np.arange(4), tokens([1]), tokens([2], [3], [4]))])
    assert joined.targets.tolist() == [[[5, 6]], [[1, PADDING]]]
    assert joined.decoys.tolist() == [[[7, PADDING, PADDING]], [[2, 3, 4]]]


@pytest.mark.parametrize(
    ("right", "wrong", "rule", "what"),
    [
        ([[5, 6]], [[7]], None, "an answer is 2 tokens of this model, and one is needed"),
        ([[5]], [[5]], None, "begin with the same token 5"),
        ([[5], [6]], [[7], [6]], "first", "begin with the same token 6"),
        ([[5, 6]], [[5]], SUMMED, "do not differ before one of them ends"),
        ([[5, 6], [7]], [[8]], SUMMED, "2 answers are right and 1 are wrong"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(right, wrong, rule, what):
    with pytest.raises(CntbenchError, match=what):
        answered(np.arange(4), tokens(*right), tokens(*wrong), rule)
