"""Cost of an ablation: how many tokens go through how many layers.

A *token-layer* is one token of one run through the attention of a layer, or through its MLP; either
counts one half. Attention patterns, readouts and the way back of gradients are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from cntbench.components import Component
from cntbench.replacements._base import Replacement


def token_layers(
    nodes: Sequence[Component],
    rule: Replacement,
    *,
    prompts: int,
    length: int,
    scored: int,
    observe_all: bool = False,
) -> float:
    """Count the token-layers of one ablation by itself: total effects of all components.

    With n_t runs at stage t (the clean one, the donors' and one for each source of the stages
    before), every block of it computes n_t · length tokens of each prompt; from the last attention
    on n_t · scored, and the clean run and donors once more at all positions. One pass of all
    prompts is added for statistics over a population.

    Parameters
    ----------
    nodes
        The components, in causal order.
    rule
        The replacement.
    prompts, length, scored
        Number of prompts, their tokens, and how many of these are scored.
    observe_all
        Whether targets are observed at all positions.

    Returns
    -------
    float
        Exact if a prompt with the runs of all its sources fits the memory budget. Fitted constants
        count as if the fit of no source ended before its last step: an upper bound.
    """
    stages = [list(members) for _, members in groupby(nodes, key=lambda node: node.stage)]
    donors = rule.donor_corpus is not None

    def sweep(base: int, narrow: bool, whole: int) -> int:
        """Count the tokens of one prompt: ``base`` runs and those of the sources."""
        attends = [any(node.kind == "head" for node in stage) for stage in stages]
        last = max((index for index, found in enumerate(attends) if found), default=0)
        tokens, runs = 0, base
        for index, stage in enumerate(stages):
            narrowed = narrow and index >= last
            each = runs * scored + whole * length if narrowed else runs * length
            tokens += len({node.kind for node in stage}) * each
            runs += len(stage)
        return tokens

    population = len({(node.stage, node.kind) for node in nodes}) * length
    base = 1 + donors
    tokens = sweep(base, not observe_all, base)
    if rule.population_corpus is not None:
        tokens += population
    if rule.fitting_steps:
        # Zero, the mean, the start, and the steps; and the population that the mean is taken over.
        tokens += population + (3 + rule.fitting_steps) * sweep(1, True, 0)
    return prompts * tokens / 2
