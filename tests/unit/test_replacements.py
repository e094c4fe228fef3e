"""Replacement rules on states made by hand, against their plain definitions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.ablations import replacements

from cntbench.ablations.ablation import Ablation, distinct_replacements
from cntbench.ablations.replacements import mean, noise, optimal_constant, resample, zero
from cntbench.ablations.replacements._base import Moments, Replacement, States

#: States of a corpus, dims ``prompt, position, component, width``.
POPULATION = 2 + torch.randn(7, 4, 3, 5, generator=torch.Generator().manual_seed(0)).double()
CLEAN = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1)).double()
DONOR = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(2)).double()
CONSTANT = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(4)).double()
DRAWN = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(3)).double()


def given(clean=CLEAN, population=POPULATION):
    """What a rule is given."""
    population = population.double()
    return States(
        clean=clean,
        donor=DONOR.to(clean.dtype),
        spread=Moments(population.mean(dim=0), population.square().mean(dim=0), 7),
        noise=lambda: DRAWN.to(clean.dtype),
        length=4,
        constant=CONSTANT,
    )


def replaced(rule, **options):
    """The rule's states in the shape of the clean ones."""
    states = given(**options)
    return rule.replace(states).broadcast_to(states.clean.shape)


def test_zero():
    assert (replaced(zero.Parameters()) == 0).all()


@pytest.mark.parametrize("donor", ["reference", "other"])
def test_resample_takes_the_donor_s(donor):
    rule = resample.Parameters(donor=donor)
    assert torch.equal(replaced(rule), DONOR)
    assert rule.donor_corpus == donor
    assert rule.population_corpus is None


def farther(average, own, share):
    """Bessel's correction of the distance from a prompt that has a share in the mean."""
    return own + (average - own) / (1 - share) ** 0.5


@pytest.mark.parametrize("population", ["clean", "reference"])
def test_mean_over_prompts_keeps_positions(population):
    rule = mean.Parameters(population=population, over=("prompt",))
    states = replaced(rule)
    for position in range(4):
        expected = sum(POPULATION[i, position] for i in range(7)) / 7
        if population == "clean":
            expected = farther(expected, CLEAN[:, position], 1 / 7)
        torch.testing.assert_close(states[:, position], expected.expand(2, 3, 5))
    assert rule.population_corpus == population
    assert rule.donor_corpus is None


@pytest.mark.parametrize("population", ["clean", "reference"])
def test_mean_over_prompts_and_positions_is_one_for_all(population):
    states = replaced(mean.Parameters(population=population, over=("prompt", "position")))
    expected = sum(POPULATION[i, j] for i in range(7) for j in range(4)) / 28
    if population == "clean":
        expected = farther(expected, CLEAN.mean(dim=1, keepdim=True), 1 / 7)
    torch.testing.assert_close(states, expected.expand(2, 4, 3, 5))


def test_a_position_that_no_other_prompt_has_is_left_as_it_is():
    """Prompts of 4, 3 and 1 tokens; the last two positions of the first are its own or shared."""
    states = [CLEAN[0, :4], CLEAN[1, :3], DONOR[0, :1]]
    sums = torch.stack([sum(s[p] for s in states if p < len(s)) for p in range(4)])
    count = torch.tensor([3.0, 2.0, 2.0, 1.0]).double()
    moments = Moments(sums / count[:, None, None], sums, 3, count).at(0, 4)
    outputs = mean.Parameters(population="clean", over=("prompt",)).replace(
        dataclasses.replace(given(clean=CLEAN[:1]), spread=moments)
    )
    shares = 1 / count[:3, None, None]
    expected = farther((sums / count[:, None, None])[:3], CLEAN[0, :3], shares)
    torch.testing.assert_close(outputs[0, :3], expected)
    assert torch.equal(outputs[0, 3], CLEAN[0, 3])
    whole = mean.Parameters(population="clean", over=("prompt", "position")).replace(
        dataclasses.replace(given(clean=CLEAN[:1]), spread=moments)
    )
    torch.testing.assert_close(
        whole[0, 0], farther(sums.sum(dim=0) / 8, CLEAN[0].mean(dim=0), 4 / 8)
    )


@pytest.mark.parametrize("count", [2, 5])
def test_the_mean_lies_as_far_as_that_of_the_distribution(count):
    """The expected square is that of independent prompts' own distance, whatever their number."""
    generator = torch.Generator().manual_seed(count)
    drawn = torch.randn(8000 // count, count, generator=generator).double()
    squares = []
    for prompts in drawn:
        clean = prompts[:, None, None, None]
        moments = Moments(clean.mean(dim=0), clean.square().mean(dim=0), count)
        rule = mean.Parameters(population="clean", over=("prompt",))
        new = rule.replace(States(clean, None, moments, torch.Tensor, 1))
        squares.append((new - clean).square().mean())
    assert torch.stack(squares).mean().item() == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_noise_has_the_spread_of_each_coordinate(scale):
    rule = noise.Parameters(scale=scale, population="clean")
    deviation = POPULATION.flatten(0, 1).std(dim=0, correction=0)
    torch.testing.assert_close(replaced(rule), CLEAN + scale * deviation * DRAWN)
    assert rule.population_corpus == "clean"


def test_noise_of_no_scale_or_of_no_spread_changes_nothing():
    assert torch.equal(replaced(noise.Parameters(scale=0.0, population="clean")), CLEAN)
    constant = torch.full((7, 4, 3, 5), 0.1).double()
    states = replaced(noise.Parameters(scale=1.0, population="clean"), population=constant)
    torch.testing.assert_close(states, CLEAN, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        (zero.Parameters(), 1),
        (resample.Parameters(donor="reference"), 1),
        (resample.Parameters(donor="other"), 3),
        (noise.Parameters(scale=1.0, population="clean"), 3),
    ],
)
def test_draws_share_their_states_unless_these_are_random(rule, count):
    methods, groups = distinct_replacements(Ablation("a", rule, draws=3).each_draw)
    assert len(methods) == len(set(groups)) == count


def test_an_optimal_constant_stands_in_at_every_position():
    rule = optimal_constant.Parameters(steps=3)
    assert torch.equal(replaced(rule), CONSTANT.expand_as(CLEAN))
    assert rule.fitting_steps == 3
    assert rule.population_corpus is None
    assert rule.donor_corpus is None


EVERY = [
    optimal_constant.Parameters(steps=1),
    zero.Parameters(),
    resample.Parameters(donor="reference"),
    mean.Parameters(population="clean", over=("prompt",)),
    mean.Parameters(population="reference", over=("prompt", "position")),
    noise.Parameters(scale=1.0, population="reference"),
]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: type(rule).__module__.split(".")[-1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_states_is_kept_and_nothing_is_written(rule, dtype):
    states = given(clean=CLEAN.to(dtype))
    before = [states.clean.clone(), states.spread.mean.clone(), states.spread.square.clone()]
    outputs = rule.replace(states)
    assert outputs.dtype == dtype
    assert outputs.isfinite().all()
    after = [states.clean, states.spread.mean, states.spread.square]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", sorted(replacements()))
def test_every_rule_is_a_replacement(name):
    module = replacements()[name]
    assert issubclass(module.Parameters, Replacement)
    assert module.Parameters.replace is not Replacement.replace


def test_a_rule_that_does_not_say_what_it_does_is_told_so():
    class Idle(Replacement):
        """Defines nothing."""

    with pytest.raises(TypeError, match=r"abstract method '?replace"):
        Idle()
