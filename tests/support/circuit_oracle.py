"""The naive oracle of circuits: plain transformers, one forward with hooks for every component."""

from __future__ import annotations

import numpy as np
import torch

from support.edge_oracle import EdgeOracle
from support.oracle import readouts


def oracle_circuit(
    model, prompts, kept, *, replacement, through=("query", "key", "value"), experts=False
):
    """All readouts of the circuits, dims ``circuit, readout, prompt``.

    ``kept`` has dims ``circuit, source, target``, embedding and unembedding among them. Inputs of
    heads that are not in ``through`` keep all edges.
    """
    oracle = EdgeOracle(model, experts)
    results = [
        [_readouts(oracle, prompts, i, mask, replacement, through) for i in range(len(prompts))]
        for mask in kept
    ]
    return np.array(results).transpose(0, 2, 1)


@torch.no_grad()
def _readouts(oracle, prompts, i, kept, replacement, through):
    embedded = oracle.embed(prompts.tokens[i])
    clean_logits, clean = oracle.forward(embedded)
    replaced, origin = _replaced(oracle, prompts, i, embedded, clean, replacement)
    states = {}
    for t, target in enumerate([*oracle.nodes, None]):
        delta = torch.zeros_like(embedded)
        if not kept[0, t]:
            delta += origin - embedded
        for s, source in enumerate(oracle.nodes):
            reaches = target is None or oracle.feasible(source, target)
            if reaches and not kept[s + 1, t]:
                delta += oracle.contribution(*source, replaced[source] - states[source])
        with oracle.reading(target, delta, through):
            logits, seen = oracle.forward(embedded, states)
        if target is not None:
            states[target] = seen[target]
    return readouts(logits, prompts, i, clean_logits)


def _replaced(oracle, prompts, i, embedded, clean, replacement):
    """What replaces every component's state, and the embeddings."""
    if replacement == "zero":
        nothing = {node: torch.zeros_like(state) for node, state in clean.items()}
        positions = getattr(oracle.model.base_model, "wpe", None)  # GPT-2 adds them by itself
        origin = torch.zeros_like(embedded)
        return nothing, origin if positions is None else -positions.weight[: len(embedded)]
    origin = oracle.embed(prompts.reference[i])
    return oracle.forward(origin)[1], origin
