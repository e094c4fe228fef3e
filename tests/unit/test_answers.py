"""Answers of several tokens and sets of answers, from the prompt to the film."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.models import decoder, random_model
from support.oracle import Oracle

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import optimal_constant, zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.prompts import PADDING, batch
from cntbench.prompts.continuations import answered
from cntbench.readouts import known_readouts

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
    found = influence(
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
            before, after = (np.mean([one[name] for one in each]) for each in (clean, moved))
            place = names.index(name)
            assert found.readout_value[place] == pytest.approx(before, abs=1e-10), name
            assert found.readout_effect[0, place, source] == pytest.approx(
                after - before, abs=1e-10
            )


@pytest.mark.parametrize("made", [forced, sets])
def test_constants_are_fitted_to_whole_answers(made):
    model = decoder(random_model("gpt_neox", dtype=torch.float64, vocabulary=17))
    fitted = Ablation("fit", optimal_constant.Parameters(steps=2), relative_l2.measure)
    zeroed = Ablation("zero", zero.Parameters(), relative_l2.measure)
    prompts = batch(made())
    found = influence(Request(model, prompts, [fitted, zeroed], effects=("cross_entropy",)))
    loss = found.readout_effect[:, known_readouts().index("cross_entropy")]
    assert (loss[0] <= loss[1] + 1e-9).all()


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
        found = [
            influence(Request(decoder(model), prompts, [method], effects=(effect,))).edge_effect
            for prompts in (batch(single), alike)
        ]
        assert np.nanmax(abs(found[0])) > 0
        np.testing.assert_allclose(found[0], found[1], rtol=1e-8, atol=1e-12)


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
