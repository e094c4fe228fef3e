"""The naive oracle of single edges: plain transformers, hooks on LayerNorms, edge by edge.

For each edge one forward in which the LayerNorm that the target reads through is given another
stream, and for effects on the readout a second one in which the target alone says what it said in
the first. Gradients are derivatives of these two along the change, by autograd.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from cntbench.prompts import PADDING
from cntbench.readouts import known_readouts
from cntbench.specs import HEAD_INPUTS
from support.anatomy import hooked
from support.gradient_rules import RULES, gradient_rules
from support.oracle import Oracle, change, readouts, scored

#: Estimators that are slopes of the patched model, by rules for the way back or by none.
SLOPES = ("eap", "eap_ig", *RULES)


class EdgeOracle(Oracle):
    """A model of transformers whose components are told, one by one, what to read."""

    def forward(self, embedded, see=None):
        """One forward from embeddings of one prompt; returns logits and states, differentiable."""
        return self._hooked(see, inputs_embeds=embedded[None])

    def embed(self, tokens):
        return self.embedding(torch.from_numpy(tokens[tokens != PADDING]))

    def norm(self, target):
        if target is None:
            return self.final_norm
        layer = self.layers[target[0]]
        return layer.attention_norm if isinstance(target[1], int) else layer.mlp_norm

    @contextmanager
    def reading(self, target, delta, through=HEAD_INPUTS):
        """The target (None for the unembedding) reads a stream that is changed by ``delta``."""
        clean = []

        def change_stream(module, args):
            clean.append(module.forward(args[0]))
            return (args[0] + delta,)

        handles = [self.norm(target).register_forward_pre_hook(change_stream)]
        if target is not None and isinstance(target[1], int):
            for projection in self.layers[target[0]].projections:
                seen = torch.tensor([reader in through for reader in projection.readers])[:, None]

                def mix(module, args, output, dims=projection.dims, seen=seen):
                    before = module.forward(clean[0]).unflatten(-1, dims)
                    return torch.where(seen, output.unflatten(-1, dims), before).flatten(-len(dims))

                handles.append(projection.module.register_forward_hook(mix))
        with hooked(handles):
            yield

    def target_state(self, embedded, target, delta, through=HEAD_INPUTS):
        """What the target says when it reads the changed stream."""
        with self.reading(target, delta, through):
            return self.forward(embedded)[1][target]

    def logits_over(self, embedded, target, delta, through=HEAD_INPUTS):
        """Logits when the target alone reads the changed stream, and all below reads the target."""
        state = self.target_state(embedded, target, delta, through)
        return self.forward(embedded, {target: state})[0]

    def slope(self, embedded, target, delta, read, through=HEAD_INPUTS):
        """The derivative of a readout along a change of what the target reads."""
        return (self.slopes(embedded, target, read, through=through) * delta).sum().item()

    def slopes(self, embedded, target, read, rules="", through=HEAD_INPUTS):
        """The derivatives of a readout by the stream that the target reads, by some rules."""
        with torch.enable_grad(), gradient_rules(self.model, rules):
            delta = torch.zeros_like(embedded, requires_grad=True)
            value = read(self.logits_over(embedded.detach(), target, delta, through))
            return torch.autograd.grad(value, delta)[0]


def oracle_edges(
    model,
    prompts,
    ablation,
    measure,
    *,
    observe_all=False,
    seed=0,
    effects=None,
    experts=False,
    runs=None,
):
    """Everything the engine gives for one ablation of direct scope, prompt by prompt.

    Returns changes of targets or of the first readout [source, target, prompt], and the effects
    over the edge to the unembedding [readout, source, prompt].
    """
    effects = effects or known_readouts()
    oracle = EdgeOracle(model, experts, runs)
    nodes, count = oracle.nodes, len(prompts)
    edges = np.full((len(nodes), len(nodes), count), np.nan)
    direct = np.zeros((len(known_readouts()), len(nodes), count))
    corpora = oracle.corpora(prompts)
    rule = ablation.replacement
    if rule.fitting_steps:
        corpora["constants"] = oracle.optimal_constants(
            prompts, rule.fitting_steps, corpora["clean"]
        )
    which = known_readouts().index(effects[0])
    for i in range(count):
        with torch.no_grad():
            embedded = oracle.embed(prompts.tokens[i])
            clean_logits, clean = oracle.forward(embedded)
        value = np.array(readouts(clean_logits, prompts, i))
        at = slice(None) if observe_all else scored(prompts, i)

        def read(logits, i=i, clean_logits=clean_logits):
            return differentiable(logits, prompts, i, effects[0], clean_logits)

        @cache
        def slopes(target, read=read, i=i):
            each = points(oracle, prompts, i, ablation.steps or 1)
            return [oracle.slopes(point, target, read, ablation.estimator) for point in each]

        for s, source in enumerate(nodes):
            new = oracle.replacement(rule, i, corpora, source, clean[source], seed, ablation.name)
            delta = oracle.contribution(*source, new - clean[source]).detach()
            with torch.no_grad(), oracle.reading(None, delta):
                moved = oracle.forward(embedded)[0]
            direct[:, s, i] = np.array(readouts(moved, prompts, i, clean_logits)) - value
            for t, target in enumerate(nodes):
                if not oracle.feasible(source, target):
                    continue
                if ablation.estimator != "exact":
                    edges[s, t, i] = np.mean([(of * delta).sum().item() for of in slopes(target)])
                    continue
                with torch.no_grad():
                    if ablation.observable == "readout":
                        moved = oracle.logits_over(embedded, target, delta, ablation.through)
                        edges[s, t, i] = (
                            readouts(moved, prompts, i, clean_logits)[which] - value[which]
                        )
                    else:
                        state = oracle.target_state(embedded, target, delta, ablation.through)
                        edges[s, t, i] = change(
                            measure,
                            oracle.contribution(*target, clean[target])[at],
                            oracle.contribution(*target, state)[at],
                        )
    return edges, direct


def points(oracle, prompts, i, steps):
    """Embeddings from the corrupted twin (left out) to the clean prompt."""
    with torch.no_grad():
        clean = oracle.embed(prompts.tokens[i])
        if steps == 1:
            return [clean]
        origin = oracle.embed(prompts.reference[i])
        return [origin + j / steps * (clean - origin) for j in range(1, steps + 1)]


def differentiable(logits, prompts, i, name, clean):
    """A readout as a tensor."""
    at = scored(prompts, i)
    rows, before = logits[at], clean[at]
    place = torch.arange(len(rows))
    tokens = (torch.from_numpy(x[i][: len(at)]) for x in (prompts.targets, prompts.decoys))
    right, wrong = (rows[place, token] for token in tokens)
    log_total = rows.logsumexp(dim=-1)
    match name:
        case "cross_entropy":
            actual = log_total - right
        case "log_probability":
            actual = right - log_total
        case "logit_difference":
            actual = right - wrong
        case "probability_difference":
            actual = (right - log_total).exp() - (wrong - log_total).exp()
        case "kl_divergence":
            expected = before.log_softmax(dim=-1)
            actual = (expected.exp() * (expected - rows.log_softmax(dim=-1))).sum(dim=-1)
    return actual.mean()
