"""What every readout has to hold to, found by its file."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from support.models import decoder, random_model

from cntbench import plugins
from cntbench.engine import readouts
from cntbench.engine.readouts import Answers, ScoredStreams, gradient, readout
from cntbench.prompts import PADDING
from cntbench.readouts import STANDARD, known_readouts, measured
from cntbench.testing import under_test

FILES = under_test("readout")
SMOOTH = [name for name, file in FILES.items() if hasattr(file.module, "gradient")]


def plain(name, *given):
    """The plain definition at one position, of logits, target, decoy and the clean logits."""
    file = FILES[name].module
    return file.reference(*(given if "divergence" in file.READS else given[:3]))


@pytest.fixture(scope="module", params=["gpt_neox", "gemma2"])
def model(request):
    """A random decoder in double precision, 17 tokens, with a bias; Gemma 2 caps its logits."""
    known = decoder(random_model(request.param, dtype=torch.float64))
    bias = torch.linspace(-1, 2, 17, dtype=torch.float64)
    return replace(known, unembed=replace(known.unembed, bias=bias))


@pytest.fixture
def positions():
    """Streams, dims ``run, prompt, scored, hidden``, with targets and decoys."""
    generator = torch.Generator().manual_seed(0)
    streams = 3 * torch.randn(2, 3, 4, 16, generator=generator, dtype=torch.float64)
    targets, decoys = torch.randint(0, 17, (2, 3, 4), generator=generator)
    return streams, targets, decoys


def test_every_readout_has_its_place_behind_the_standard_ones():
    assert set(known_readouts()) == set(plugins.room("readout"))
    assert known_readouts()[: len(STANDARD)] == STANDARD
    assert measured([]) == STANDARD
    assert measured(reversed(known_readouts())) == known_readouts()


@pytest.mark.parametrize("name", FILES)
def test_what_is_declared(name):
    file = FILES[name].module
    assert file.UNIT
    assert file.BETTER in (-1, 1)
    assert set(file.READS) <= {"log_odds", "best_other", "logits", "divergence"}


@pytest.mark.parametrize("name", FILES)
def test_it_is_the_mean_of_its_plain_definition(model, positions, name):
    streams, targets, decoys = positions
    values = readout(model, streams, Answers(targets, decoys), [name])[name]
    assert (values.dtype, values.shape) == (torch.float64, (2, 3))
    for run, prompt in itertools.product(range(2), range(3)):
        each = [
            plain(
                name,
                model.unembed(model.final_norm(streams[run, prompt, place])),
                int(targets[prompt, place]),
                int(decoys[prompt, place]),
                model.unembed(model.final_norm(streams[0, prompt, place])),
            )
            for place in range(4)
        ]
        assert values[run, prompt].item() == pytest.approx(sum(each) / 4)


@pytest.mark.parametrize("name", FILES)
def test_how_many_logits_are_computed_at_once_does_not_matter(model, positions, name, monkeypatch):
    expected = readout(model, positions[0], Answers(*positions[1:]), [name])[name]
    monkeypatch.setattr(readouts, "TOKENS_AT_ONCE", 5)
    monkeypatch.setattr(readouts, "LOGITS_AT_ONCE", 40)
    torch.testing.assert_close(
        readout(model, positions[0], Answers(*positions[1:]), [name])[name], expected
    )


@pytest.mark.parametrize("name", FILES)
def test_it_reads_what_it_declares_and_no_more(model, positions, name, monkeypatch):
    """The work of a readout is counted by what it declares."""
    read = set()

    def reading(quantity, value):
        return lambda *arguments: (read.add(quantity), value(*arguments))[1]

    for quantity in ("log_odds", "best_other", "divergence"):
        monkeypatch.setattr(
            ScoredStreams,
            quantity,
            property(reading(quantity, getattr(ScoredStreams, quantity).fget)),
        )
    monkeypatch.setattr(ScoredStreams, "of_logits", reading("logits", ScoredStreams.of_logits))
    readout(model, positions[0], Answers(*positions[1:]), [name])
    assert read == set(FILES[name].module.READS)


@pytest.mark.parametrize("name", SMOOTH)
def test_its_gradient_is_the_derivative_of_its_plain_definition(model, positions, name):
    streams, targets, decoys = positions
    normed, clean = model.final_norm(streams).split(1)
    slopes = gradient(model, normed, Answers(targets, decoys), name, clean)
    assert slopes.shape == normed.shape
    step = 1e-6
    for prompt, place, entry in itertools.product(range(3), range(4), (0, 7, 15)):
        sides = []
        for sign in (1, -1):
            stream = normed[0, prompt, place].clone()
            stream[entry] += sign * step
            tokens = int(targets[prompt, place]), int(decoys[prompt, place])
            before = model.unembed(clean[0, prompt, place])
            sides.append(plain(name, model.unembed(stream), *tokens, before))
        slope = (sides[0] - sides[1]) / (2 * step) / 4  # of the mean over four positions
        assert slopes[0, prompt, place, entry].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", FILES)
def test_that_of_a_run_which_equals_the_clean_one_is_that_of_the_clean_one(model, positions, name):
    streams, *tokens = positions
    twice = readout(model, streams[:1].expand(2, -1, -1, -1), Answers(*tokens), [name])[name]
    assert torch.equal(twice[0], twice[1])
    if "divergence" in FILES[name].module.READS:
        assert not twice.any()


def as_set(tokens, *others):
    """Tokens as sets, with others beside them."""
    return torch.stack([tokens, *others, torch.full_like(tokens, PADDING)], dim=-1)


@pytest.mark.parametrize("name", FILES)
def test_a_set_of_one_token_is_that_token(model, positions, name):
    streams, *tokens = positions
    sets = Answers(*map(as_set, tokens))
    expected = readout(model, streams, Answers(*tokens), [name])[name]
    torch.testing.assert_close(readout(model, streams, sets, [name])[name], expected)
    if name in SMOOTH:
        normed, clean = model.final_norm(streams).split(1)
        slopes = (gradient(model, normed, some, name, clean) for some in (sets, Answers(*tokens)))
        torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("name", FILES)
def test_the_order_of_a_set_does_not_matter(model, positions, name):
    streams, targets, decoys = positions
    results = [
        readout(model, streams, Answers(as_set(*pair), as_set(decoys)), [name])[name]
        for pair in ((targets, (targets + 1) % 17), ((targets + 1) % 17, targets))
    ]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_of_sets_is_the_derivative_of_the_value(model, positions, name):
    streams, targets, decoys = positions
    answers = Answers(as_set(targets, (targets + 1) % 17), as_set(decoys), summed=True)
    normed, clean = model.final_norm(streams).split(1)
    slopes = gradient(model, normed, answers, name, clean)
    direction = torch.randn(normed.shape, generator=torch.Generator().manual_seed(1)).to(normed)
    sides = []
    for sign in (1, -1):
        at = ScoredStreams(
            model,
            torch.cat([clean, normed + sign * 1e-6 * direction]),
            answers.targets,
            answers.decoys,
            is_normed=True,
        )
        sides.append(FILES[name].module.value(at)[1].sum(dim=-1))
    slope = (sides[0] - sides[1]) / 2e-6
    torch.testing.assert_close(
        (slopes[0] * direction[0]).sum(dim=(1, 2)), slope, rtol=1e-6, atol=1e-8
    )
