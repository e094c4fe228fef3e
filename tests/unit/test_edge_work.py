"""What edges cost: one layer for each source, and one run downstream for each patched edge."""

from __future__ import annotations

import pytest
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import resample, zero
from cntbench.components import feasible
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention
from cntbench.models.feed_forward import MLP

PROMPTS, LENGTH, LAYERS, HEADS = 3, 7, 3, 2
PER_LAYER = HEADS + 1
ZERO = zero.Parameters()


@pytest.fixture
def count(monkeypatch):
    """Count the runs of a prompt that go through blocks, by kind of block."""

    def counted(*ablations):
        seen = {Attention: 0, MLP: 0}
        for block in seen:
            compute = block.states

            def states(self, normed, *rest, block=block, compute=compute):
                seen[block] += normed.shape[:2].numel()
                return compute(self, normed, *rest)

            monkeypatch.setattr(block, "states", states)
        model = decoder(random_gpt_neox(layers=LAYERS, heads=HEADS))
        influence(Request(model, random_prompts(count=PROMPTS, scored=2, length=LENGTH), ablations))
        monkeypatch.undo()
        assert seen[Attention] % PROMPTS == seen[MLP] % PROMPTS == 0
        return {block.__name__: runs // PROMPTS for block, runs in seen.items()}

    return counted


#: Layers of the clean run: for the clean readouts (the last one at all positions, and at the scored
#: ones), and again for the perturbations.
CLEAN = (LAYERS + 1) + LAYERS
#: Sources of layers 1 and 2, beside the clean run that they are held against.
ONE_LAYER_EACH = (1 + PER_LAYER) + (1 + 2 * PER_LAYER)


def test_a_direct_effect_costs_each_source_one_layer_per_target_layer(count):
    direct = Ablation("a", ZERO, relative_l2.measure, scope="direct")
    assert count(direct) == {"Attention": CLEAN + ONE_LAYER_EACH, "MLP": CLEAN + ONE_LAYER_EACH}


def test_methods_with_one_replacement_share_the_clean_run_and_the_donors(count):
    rule = resample.Parameters(donor="reference")
    ablation = Ablation("a", rule, relative_l2.measure, scope="direct")
    two = Ablation("b", rule, relative_l2.measure, scope="direct")
    alone, both = count(ablation), count(ablation, two)
    assert both["Attention"] - alone["Attention"] == ONE_LAYER_EACH
    assert both["MLP"] - alone["MLP"] == ONE_LAYER_EACH


def test_a_patched_edge_costs_one_run_downstream_of_its_target(count):
    patched = Ablation("a", ZERO, scope="direct", observable="readout")
    model = decoder(random_gpt_neox(layers=LAYERS, heads=HEADS))
    edges = int(feasible(model.components)[:, PER_LAYER : 2 * PER_LAYER].sum())
    # Only edges into layer 1 have a layer downstream; those of heads and of the MLP go there beside
    # a clean run each.
    work = CLEAN + ONE_LAYER_EACH + edges + 2
    # The six sources of layer 2 come to its two heads in two pieces: twelve edges do not go on in
    # one batch of as many runs as there are sources, nine.
    assert count(patched) == {"Attention": work + 1, "MLP": work}
