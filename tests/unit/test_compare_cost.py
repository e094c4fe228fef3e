"""The closed form of the cost, against a count where blocks are asked for states."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.ablation import Ablation
from cntbench.compare.cost import token_layers
from cntbench.influence import influence
from cntbench.measures import relative_l2
from cntbench.models.blocks import MLP, Attention
from cntbench.replacements import mean, noise, optimal_constant, resample, zero

RULES = [
    zero.Parameters(),
    mean.Parameters(population="reference", over=("prompt",)),
    noise.Parameters(population="clean", scale=1.0),
    resample.Parameters(donor="other"),
    optimal_constant.Parameters(steps=1),
]


def counted(model, prompts, rule, observe_all):
    tokens = 0

    def counting(block):
        compute = block.states

        def states(self, normed, *rest):
            nonlocal tokens
            tokens += normed.shape[:-1].numel()
            return compute(self, normed, *rest)

        return patch.object(block, "states", states)

    with counting(Attention), counting(MLP):
        ablation = Ablation("x", rule, relative_l2.measure)
        influence(model, prompts, [ablation], observe_all=observe_all)
    return tokens / 2


@settings(max_examples=25)
@given(
    st.sampled_from(RULES),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
)
@example(RULES[4], False, False, 2, 2, 3)
@example(RULES[4], True, True, 3, 2, 2)
def test_the_closed_form_is_what_is_computed(rule, parallel, observe_all, layers, heads, count):
    model = decoder(random_gpt_neox(layers=layers, heads=heads, parallel=parallel))
    prompts = random_prompts(count=count, length=6, scored=4)
    expected = token_layers(
        model.components, rule, prompts=count, length=6, scored=4, observe_all=observe_all
    )
    found = counted(model, prompts, rule, observe_all)
    if rule.fitting_steps:  # the fit of a source may have nothing left to do, and a bound is meant
        assert found <= expected
        if count > 1:
            assert found > expected / 2
    else:
        assert found == expected


def test_a_fit_of_more_steps_costs_more():
    nodes = decoder(random_gpt_neox()).components
    one, two = (
        token_layers(nodes, optimal_constant.Parameters(steps=s), prompts=2, length=6, scored=4)
        for s in (1, 2)
    )
    # A stage after the first has the clean run and those of three sources, at the scored positions.
    assert two - one == pytest.approx(2 * (2 * 6 + 2 * 4 * 4) / 2)
