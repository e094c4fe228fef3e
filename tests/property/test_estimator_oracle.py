"""Estimators against naive oracles: autograd on plain transformers, with rules set by hooks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.anatomy import Anatomy, hooked, silence
from support.counting import counted
from support.edge_oracle import EdgeOracle, differentiable, oracle_edges
from support.models import decoder, random_model, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import noise, resample, zero
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts

ARCHITECTURES = ("gpt_neox", "gpt2", "llama")
#: A mixture whose experts are components.
EXPERTS = "qwen3_moe, experts"
READOUT = {"scope": "direct", "observable": "readout"}


def engine(model, experts):
    """The engine's view of a model, by experts or not."""
    view = decoder(model)
    return view.by_experts() if experts else view


def edge_effects(model, prompts, rule, **given):
    """Effects of edges on the logit difference."""
    request = Request(model, prompts, [Ablation("a", rule, **READOUT, **given)])
    return influence(request).edge_effect[0]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request):
    """A random model of transformers in double precision."""
    return random_model(request.param, dtype=torch.float64, heads=2, width=4, mlp=8)


@pytest.mark.parametrize("estimator", ["relp", "gim"])
def test_rules_for_the_way_back_are_those_of_the_oracle(model, estimator):
    prompts = random_prompts(count=1, length=4, scored=2)
    rule = resample.Parameters(donor="reference")
    ablation = Ablation("a", rule, **READOUT, estimator=estimator)
    effects = ("cross_entropy",)
    result = influence(Request(decoder(model), prompts, [ablation], effects=effects))
    expected, _ = oracle_edges(model, prompts, ablation, None, effects=effects)
    np.testing.assert_allclose(result.edge_effect[0], expected[..., 0], rtol=1e-7, atol=1e-10)
    eap = edge_effects(decoder(model), prompts, rule, estimator="eap")
    assert not np.allclose(result.edge_effect[0], eap, equal_nan=True, rtol=1e-2)


def test_relevance_is_defined_where_hidden_units_are_zero():
    model = random_model("gpt_neox", dtype=torch.float64)
    silence(*Anatomy(model).layers[1].inner)
    effects = edge_effects(decoder(model), random_prompts(), zero.Parameters(), estimator="relp")
    assert (effects[:, -1] == 0)[:3].all(), "the MLP says the same whatever it reads"


@pytest.mark.parametrize("estimator", ["relp", "gim", "information_flow"])
@pytest.mark.parametrize("heads", [2, 4])
def test_one_way_back_by_rules_costs_no_more_than_eap(estimator, heads):
    model = decoder(random_model("llama", layers=3, heads=heads, width=8))
    prompts = random_prompts(count=1, length=12, scored=4)
    method = Ablation("a", zero.Parameters(), **READOUT, estimator="eap")
    eap = Request(model, prompts, [method])
    other = replace(eap, ablations=[replace(method, estimator=estimator)])
    assert predicted_work(other).flops <= 1.5 * predicted_work(eap).flops


@pytest.mark.parametrize("budget", [2**30, 1])
def test_the_work_of_estimators_is_what_is_predicted(budget):
    model = decoder(random_model("llama", layers=2, width=8))
    methods = [
        Ablation(name, zero.Parameters(), **READOUT, estimator=name)
        for name in ("relp", "gim", "atp_star", "information_flow")
    ]
    methods += [
        replace(methods[0], name="over activations", estimator="eap_ig_activations", steps=2),
        Ablation("linear", zero.Parameters(), relative_l2.measure, estimator="linear"),
    ]
    prompts = random_prompts(count=2, length=8, scored=3)
    request = Request(model, prompts, methods, memory_budget=budget)
    work = predicted_work(request)
    assert counted(request) == (work.attention_tokens, work.mlp_tokens, work.products)


class HeldOracle(EdgeOracle):
    """Some components say what they are told to, whoever asks."""

    held = None

    def forward(self, embedded, see=None):
        return super().forward(embedded, {**(self.held or {}), **(see or {})})


def test_over_activations_each_block_goes_from_replaced_to_clean(model):
    steps, prompts = 2, random_prompts(count=1, length=4, scored=2)
    rule = resample.Parameters(donor="reference")
    given = {"estimator": "eap_ig_activations", "steps": steps}
    effects = edge_effects(decoder(model), prompts, rule, **given)
    oracle = HeldOracle(model)
    with torch.no_grad():
        embedded = oracle.embed(prompts.tokens[0])
        clean_logits, clean = oracle.forward(embedded)
        _, twin = oracle.forward(oracle.embed(prompts.reference[0]))

    def read(logits):
        return differentiable(logits, prompts, 0, "logit_difference", clean_logits)

    for s, source in enumerate(oracle.nodes):
        change = oracle.contribution(*source, twin[source] - clean[source]).detach()
        block = [
            n for n in oracle.nodes if n[0] == source[0] and (n[1] is None) == (source[1] is None)
        ]
        for t, target in enumerate(oracle.nodes):
            if not oracle.feasible(source, target):
                continue
            slopes = []
            for step in range(1, steps + 1):
                oracle.held = {
                    n: (twin[n] + step / steps * (clean[n] - twin[n])).detach() for n in block
                }
                slopes.append(oracle.slope(embedded, target, change, read))
            oracle.held = None
            assert effects[s, t] == pytest.approx(np.mean(slopes), rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("scope", ["total", "direct"])
def test_linear_effects_on_targets_are_the_limit_of_small_changes(model, scope):
    """The change of the target along a thousandth of the ablation, a thousandfold."""
    prompts = random_prompts(count=2, length=5, scored=2)
    view = decoder(model)
    rule = noise.Parameters(scale=1.0, population="clean")
    small = replace(rule, scale=1e-5)
    measure = relative_l2.measure
    methods = [
        Ablation("a", rule, measure, scope, estimator="linear"),
        Ablation("a", small, measure, scope),
    ]
    result = influence(Request(view, prompts, methods, observe_all=scope == "total"))
    linear, exact = result.influence
    np.testing.assert_allclose(linear, 1e5 * exact, rtol=1e-3)
    # So is the change of the final stream, of which readouts are no linear functions.
    tiny = replace(methods[1], estimator="linear")
    effects = influence(Request(view, prompts, [tiny, methods[1]])).readout_effect
    by_derivative, exact = effects[:, known_readouts().index("logit_difference")]
    np.testing.assert_allclose(by_derivative, exact, rtol=1e-3, atol=1e-12)


class AttentionOracle(EdgeOracle):
    """Patched attention weights, and gradients around layers, by hooks on plain transformers."""

    def effect(self, embedded, target, delta, read, around=None):
        """What AtP says of one edge, its softmax recomputed, by gradients around one layer."""
        with self.stopped(around):
            if not isinstance(target[1], int):
                return self.slope(embedded, target, delta, read)
            by_values = self.slope(embedded, target, delta, read, through=("value",))
            return by_values + self.through_weights(embedded, target, delta, read)

    def through_weights(self, embedded, target, delta, read):
        """The change of the head's attention weights times the gradient in them."""
        layer, head = target
        clean = self.weights(embedded, layer)[head]
        moved = 0
        for reader in ("query", "key"):
            with self.reading(target, delta, (reader,)):
                moved += self.weights(embedded, layer)[head] - clean
        with torch.enable_grad():
            scale = torch.zeros((), dtype=delta.dtype, requires_grad=True)
            with self.moved_weights(layer, head, scale * moved):
                value = read(self.forward(embedded)[0])
            return torch.autograd.grad(value, scale)[0].item()

    def weights(self, embedded, layer):
        """Attention weights of a layer, dims ``head, query, key``."""
        results = []
        with torch.no_grad(), self.seen_weights(lambda weights: results.append(weights)):
            self.forward(embedded)
        return results[layer][0]

    def moved_weights(self, layer, head, change):
        """The weights of one head are changed."""
        seen = []

        def see(weights):
            seen.append(weights)
            if len(seen) == layer + 1:
                weight = torch.zeros(len(weights[0]), 1, 1, dtype=weights.dtype)
                weight[head] = 1
                return weights + weight * change
            return None

        return self.seen_weights(see)

    @contextmanager
    def seen_weights(self, see):
        """Call ``see(weights)`` in each layer; its result replaces them."""

        def softmax(scores, **_):
            weights = scores.softmax(-1)
            new = see(weights)
            return weights if new is None else new

        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        try:
            with patch.object(torch.nn.functional, "softmax", softmax):
                yield
        finally:
            self.model.set_attn_implementation(before)

    @contextmanager
    def stopped(self, layer):
        """Nothing goes back through what attention and MLP of a layer write."""
        handles = []
        if layer is not None:
            modules = self.layers[layer].output, self.layers[layer].mlp
            handles = [m.register_forward_hook(lambda m, a, out: out.detach()) for m in modules]
        with hooked(handles):
            yield


@pytest.mark.parametrize(
    ("architecture", "layers", "heads"),
    [
        ("gpt_neox", 3, 1),
        ("gpt2", 3, 1),  # its first MLP goes around two layers, one after the other
        ("gpt2", 1, 2),
        ("llama", 2, 2),
        ("qwen3", 2, 2),
        (EXPERTS, 2, 1),
    ],
)
def test_atp_star_recomputes_attention_and_goes_around_layers(architecture, layers, heads):
    shape = {"layers": layers, "heads": heads, "width": 4, "mlp": 8}
    model = random_model(architecture, **shape, dtype=torch.float64)
    prompts = random_prompts(count=1, length=4, scored=2)
    experts = architecture == EXPERTS
    effects = edge_effects(engine(model, experts), prompts, zero.Parameters(), estimator="atp_star")
    oracle = AttentionOracle(model, experts)
    with torch.no_grad():
        embedded = oracle.embed(prompts.tokens[0])
        clean_logits, clean = oracle.forward(embedded)

    def read(logits):
        return differentiable(logits, prompts, 0, "logit_difference", clean_logits)

    for s, source in enumerate(oracle.nodes):
        delta = oracle.contribution(*source, -clean[source])
        for t, target in enumerate(oracle.nodes):
            if not oracle.feasible(source, target):
                continue
            whole = oracle.effect(embedded, target, delta, read)
            expected = whole
            if layers > 1:
                around = [
                    oracle.effect(embedded, target, delta, read, layer)
                    for layer in range(layers)
                    if layer != target[0]
                ]
                expected = np.sign(whole) * np.abs(around).sum() / (layers - 1)
            assert effects[s, t] == pytest.approx(expected, rel=1e-7, abs=1e-10)


def proximity(part, whole):
    """How near a part of a sum comes to it, by sums of absolute values."""
    return max(float(whole.abs().sum() - (part - whole).abs().sum()), 0.0)


def shares_of(parts, whole):
    """The share of each of some vectors in their sum."""
    near = [proximity(part, whole) for part in parts]
    return [neighbour / sum(near) if sum(near) else 0.0 for neighbour in near]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "olmo3", "gemma2", EXPERTS])
@torch.no_grad()
def test_information_flow_is_followed_part_by_part(architecture):
    model = random_model(architecture, dtype=torch.float64, heads=2, width=4, mlp=8)
    prompts = random_prompts(count=1, length=4, scored=2)
    experts, rule = architecture == EXPERTS, zero.Parameters()
    effects = edge_effects(engine(model, experts), prompts, rule, estimator="information_flow")
    oracle = AttentionOracle(model, experts)
    nodes, length = oracle.nodes, 4
    embedded = oracle.embed(prompts.tokens[0])
    _, clean = oracle.forward(embedded)
    streams, values = read_streams(oracle, embedded)
    written = {node: oracle.contribution(*node, clean[node]) for node in nodes}
    weights = [oracle.weights(embedded, layer) for layer in range(len(oracle.layers))]
    left = {(node, i): 0.0 for node in nodes for i in range(length)}
    expected = np.full((len(nodes), len(nodes)), np.nan)

    def flow_into(reader, i, amount):
        """Share out what flows from a stream at one position; returns who gets how much."""
        stream = streams[reader][i]
        sources = [n for n in nodes if reader is None or oracle.feasible(n, reader)]
        parts = [written[n][i] for n in sources]
        rest = stream - sum(parts, start=torch.zeros_like(stream))
        given = shares_of([*parts, rest], stream)[:-1]
        for node, share in zip(sources, given, strict=True):
            left[node, i] += amount * share
            if reader is not None:
                place = nodes.index(node), nodes.index(reader)
                expected[place] = np.nan_to_num(expected[place]) + amount * share

    for i in prompts.scored[0]:
        flow_into(None, int(i), 0.5)
    for node in reversed(nodes):
        layer, head = node
        into = np.zeros(length)
        for i in range(length):
            if not isinstance(head, int):
                into[i] += left[node, i]
                continue
            parts = [
                weights[layer][head, i, j] * oracle.contribution(*node, values[node][j])
                for j in range(length)
            ]
            whole = sum(parts)
            # A norm after attention divides the parts as it divides their sum.
            share = (whole @ written[node][i]) / (whole @ whole)
            parts = [share * part for part in parts]
            into += left[node, i] * np.array(shares_of(parts, written[node][i]))
        for i in range(length):
            flow_into(node, i, into[i])
    np.testing.assert_allclose(effects, expected, rtol=1e-7, atol=1e-10)


def read_streams(oracle, embedded):
    """What each component reads, and the values of each head, by hooks."""
    streams, values, handles = {}, {}, []

    def note(keys):
        return lambda module, args: streams.update(dict.fromkeys(keys, args[0][0]))

    def note_values(layer, projection):
        def hook(module, args, output):
            if "value" in projection.readers:
                parts = output[0].unflatten(-1, projection.dims)
                part = parts.select(-2, projection.readers.index("value"))
                by_head = part.reshape(len(part), -1, oracle.width)
                sharing = oracle.n_heads // by_head.shape[1]
                values.update({(layer, h): by_head[:, h // sharing] for h in range(oracle.n_heads)})

        return hook

    handles.append(oracle.final_norm.register_forward_pre_hook(note([None])))
    for index, layer in enumerate(oracle.layers):
        heads = [(index, head) for head in range(oracle.n_heads)]
        handles.append(layer.attention_norm.register_forward_pre_hook(note(heads)))
        others = [n for n in oracle.nodes if n[0] == index and n not in heads]
        handles.append(layer.mlp_norm.register_forward_pre_hook(note(others)))
        for projection in layer.projections:
            handles.append(projection.module.register_forward_hook(note_values(index, projection)))
    oracle.forward(embedded)
    for handle in handles:
        handle.remove()
    return streams, values
