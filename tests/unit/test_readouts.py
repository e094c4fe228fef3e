"""Readouts against closed forms and against plain functions of all logits."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from support.models import decoder, random_gpt_neox
from torch.nn.functional import cross_entropy, kl_div

from cntbench.engine import readouts
from cntbench.engine.readouts import Answers, readout
from cntbench.models.maps import Linear
from cntbench.prompts import PADDING
from cntbench.readouts import known_readouts


@pytest.fixture
def model():
    """A random decoder in double precision, 17 tokens."""
    return decoder(random_gpt_neox(dtype=torch.float64))


@pytest.fixture
def scored():
    """Streams, dims ``run, prompt, scored, hidden``, with targets and decoys."""
    generator = torch.Generator().manual_seed(0)
    streams = 3 * torch.randn(3, 4, 5, 16, generator=generator, dtype=torch.float64)
    targets, decoys = torch.randint(0, 17, (2, 4, 5), generator=generator)
    return streams, targets, decoys


def all_logits(model, streams):
    """Logits of one vector after the other."""
    weight, bias = model.unembed.weight, model.unembed.bias
    rows = [weight @ model.final_norm(row) + bias for row in streams.flatten(0, -2)]
    return torch.stack(rows).view(*streams.shape[:-1], -1)


def with_unembedding(model, weight, bias=None):
    """The model with another unembedding."""
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return dataclasses.replace(model, unembed=Linear(weight, bias))


def test_against_all_logits(model, scored):
    streams, targets, decoys = scored
    logits = all_logits(model, streams)
    values = readout(model, streams, Answers(targets, decoys), known_readouts())
    assert set(values) == set(known_readouts())
    for run, prompt in itertools.product(range(3), range(4)):
        rows, right, wrong = logits[run, prompt], targets[prompt], decoys[prompt]
        expected = {
            "cross_entropy": cross_entropy(rows, right).item(),
            "accuracy": sum(rows[i].argmax().item() == right[i].item() for i in range(5)) / 5,
            "logit_difference": sum(rows[i, right[i]] - rows[i, wrong[i]] for i in range(5)) / 5,
            "log_probability": -cross_entropy(rows, right).item(),
            "probability_difference": (
                rows.softmax(-1)[range(5), right] - rows.softmax(-1)[range(5), wrong]
            ).mean(),
            "kl_divergence": kl_div(
                rows.log_softmax(-1),
                logits[0, prompt].log_softmax(-1),
                log_target=True,
                reduction="batchmean",
            ),
        }
        for name in known_readouts():
            assert values[name][run, prompt].item() == pytest.approx(float(expected[name])), name


@pytest.mark.parametrize("count", range(len(known_readouts()) + 1))
def test_only_what_is_asked_for(model, scored, count):
    everything = readout(model, scored[0], Answers(*scored[1:]), known_readouts())
    for names in itertools.combinations(known_readouts(), count):
        values = readout(model, scored[0], Answers(*scored[1:]), iter(names))
        assert set(values) == set(names)
        for name in names:
            torch.testing.assert_close(values[name], everything[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("columns", "size"), [(1, 1), (1, 7), (5, 5), (5, 64), (17, 40)])
@pytest.mark.parametrize(
    "factor", [1.0, 1e3]
)  # logits that may be exponentiated as they are, or not
def test_how_many_logits_are_computed_at_once_does_not_matter(
    model, scored, columns, size, factor, monkeypatch
):
    model = with_unembedding(model, factor * model.unembed.weight)
    expected = readout(model, scored[0], Answers(*scored[1:]), known_readouts())
    monkeypatch.setattr(readouts, "TOKENS_AT_ONCE", columns)
    monkeypatch.setattr(readouts, "LOGITS_AT_ONCE", size)
    values = readout(model, scored[0], Answers(*scored[1:]), known_readouts())
    for name in known_readouts():
        torch.testing.assert_close(values[name], expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 200])  # exp(200 · 5) is infinite
def test_a_bias_of_the_unembedding_enters(model, scored, size):
    streams, targets, decoys = scored
    bias = size * torch.linspace(-3, 5, 17).double()
    model = with_unembedding(model, model.unembed.weight, bias)
    rows = all_logits(model, streams)
    values = readout(model, streams, Answers(targets, decoys), known_readouts())
    right, wrong = (
        rows.gather(-1, t.expand(3, 4, 5)[..., None])[..., 0] for t in (targets, decoys)
    )
    torch.testing.assert_close(values["logit_difference"], (right - wrong).mean(-1))
    torch.testing.assert_close(values["cross_entropy"], (rows.logsumexp(-1) - right).mean(-1))
    hits = rows.argmax(-1) == targets
    torch.testing.assert_close(values["accuracy"], hits.double().mean(-1))


def test_one_who_knows_nothing(model, scored):
    model = with_unembedding(model, torch.zeros_like(model.unembed.weight))
    values = readout(model, scored[0], Answers(*scored[1:]), known_readouts())
    torch.testing.assert_close(values["cross_entropy"], torch.full((3, 4), math.log(17)).double())
    assert (values["logit_difference"] == 0).all()


def test_one_who_is_sure(model, scored):
    streams, _, decoys = scored
    targets = all_logits(model, streams)[:1].argmax(dim=-1)[0]
    model = with_unembedding(model, 1e4 * model.unembed.weight, 1e4 * model.unembed.bias)
    values = readout(model, streams[:1], Answers(targets, decoys), known_readouts())
    assert (values["accuracy"] == 1).all()
    torch.testing.assert_close(values["cross_entropy"], torch.zeros(1, 4).double())


def test_one_who_is_wrong_for_sure(model, scored):
    streams, targets, _ = scored
    logits = all_logits(with_unembedding(model, 1e4 * model.unembed.weight), streams)
    decoys = logits[0].argmax(dim=-1)
    loss = (logits[:1].amax(dim=-1) - logits[:1].gather(-1, targets[None, ..., None])[..., 0]).mean(
        -1
    )
    model = with_unembedding(model, 1e4 * model.unembed.weight)
    values = readout(model, streams[:1], Answers(targets, decoys), known_readouts())
    torch.testing.assert_close(values["cross_entropy"], loss)


def test_the_sign_of_the_logit_difference_is_target_minus_decoy(model, scored):
    streams, targets, decoys = scored
    there = readout(model, streams, Answers(targets, decoys), ["logit_difference"])[
        "logit_difference"
    ]
    back = readout(model, streams, Answers(decoys, targets), ["logit_difference"])[
        "logit_difference"
    ]
    assert there.abs().min() > 0
    torch.testing.assert_close(there, -back)
    same = readout(model, streams, Answers(targets, targets), ["logit_difference"])
    assert (same["logit_difference"] == 0).all()


def test_numbers_are_double_whatever_the_model_is():
    model = decoder(random_gpt_neox())
    streams = torch.randn(1, 2, 3, 16)
    targets, decoys = torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64)
    values = readout(model, streams, Answers(targets, decoys), known_readouts())
    assert {value.dtype for value in values.values()} == {torch.float64}
    assert {value.shape for value in values.values()} == {(1, 2)}


def test_streams_are_left_alone(model, scored):
    before = [value.clone() for value in scored]
    readout(model, scored[0], Answers(*scored[1:]), known_readouts())
    assert all(torch.equal(a, b) for a, b in zip(scored, before, strict=True))


@pytest.mark.parametrize("columns", [1, 3, 17])
def test_a_tie_is_no_hit(model, scored, columns, monkeypatch):
    monkeypatch.setattr(readouts, "TOKENS_AT_ONCE", columns)
    silent = with_unembedding(model, torch.zeros_like(model.unembed.weight))
    assert not readout(silent, scored[0], Answers(*scored[1:]), ["accuracy"])["accuracy"].any()


@pytest.mark.parametrize("length", [1.0, 1e3])
def test_cross_entropy_is_never_negative_in_single_precision(length):
    # Large logits, exponentiated as they are or not, of a model that is nearly certain.
    model = decoder(random_gpt_neox(width=8, heads=4, vocabulary=40))
    model = with_unembedding(model, length * torch.eye(40, model.hidden))
    certain = 1e3 * torch.eye(model.hidden)[None, None]
    targets = torch.arange(model.hidden)[None]
    values = readout(
        model, certain, Answers(targets, (targets + 1) % 32), ["cross_entropy", "accuracy"]
    )
    assert (values["cross_entropy"] >= 0).all()
    assert values["cross_entropy"].item() < 32
    assert values["accuracy"].item() == 1


def test_the_rare_mistake_of_a_certain_model_keeps_its_digits():
    # Logits 30 and 0 in float32: log(1 + 39 e^-30) is far below the rounding of 30.
    model = decoder(random_gpt_neox(width=8, heads=4, vocabulary=40))
    weight = torch.zeros(40, 32)
    weight[0] = torch.linspace(-1, 1, 32)
    stream = weight[0][None, None, None]
    logit = (model.final_norm(stream) * weight[0]).sum()
    model = with_unembedding(model, weight * (30 / logit))
    target = torch.zeros(1, 1, dtype=torch.long)
    value = readout(model, stream, Answers(target, target + 1), ["cross_entropy"])[
        "cross_entropy"
    ].item()
    assert value == pytest.approx(math.log1p(39 * math.exp(-30)), rel=1e-4)


def test_of_sets_probabilities_are_summed(model, scored):
    streams, *_ = scored
    generator = torch.Generator().manual_seed(1)
    tokens = torch.stack([torch.randperm(17, generator=generator)[:7] for _ in range(20)])
    targets, decoys = tokens.view(4, 5, 7).split([3, 4], dim=-1)
    targets[0, 0, 1:], decoys[1, 2, 2:] = PADDING, PADDING
    value = readout(model, streams, Answers(targets, decoys), known_readouts())
    rows = all_logits(model, streams)
    odds = rows.softmax(dim=-1)
    for run, prompt in itertools.product(range(3), range(4)):
        each = {name: [] for name in known_readouts()}
        for i in range(5):
            right, wrong = (x[prompt, i][x[prompt, i] >= 0].tolist() for x in (targets, decoys))
            p, q = odds[run, prompt, i, right].sum(), odds[run, prompt, i, wrong].sum()
            each["cross_entropy"].append(-p.log())
            each["log_probability"].append(p.log())
            each["probability_difference"].append(p - q)
            each["logit_difference"].append(p.log() - q.log())
            each["accuracy"].append(float(rows[run, prompt, i].argmax() in right))
            each["kl_divergence"].append(
                (odds[0, prompt, i] * (odds[0, prompt, i] / odds[run, prompt, i]).log()).sum()
            )
        for name, values in each.items():
            assert value[name][run, prompt].item() == pytest.approx(float(sum(values) / 5)), name


def test_tokens_of_one_answer_are_summed_and_all_have_to_be_right(model, scored):
    streams, targets, decoys = scored
    targets = all_logits(model, streams)[1].argmax(dim=-1)
    targets[2, 3] = (targets[2, 3] + 1) % 17
    mean, whole = (
        readout(model, streams, Answers(targets, decoys, summed), known_readouts())
        for summed in (False, True)
    )
    for name in set(known_readouts()) - {"accuracy"}:
        torch.testing.assert_close(whole[name], 5 * mean[name])
    assert whole["accuracy"][1].tolist() == [1, 1, 0, 1]
