"""Common checks of every ablation in the catalogue, on small random models.

A new ablation is checked by lying in its folder; nothing is to be registered here. Ablations that
differ in parameters, scope or measure alone share examples and runs; another check says that those
that are measured together do not mix.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import pkgutil
import random
from contextlib import contextmanager

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from support import ablations as every_ablation
from support.ablations import kinds, measures, with_few_steps
from support.anatomy import Anatomy, parts, silence
from support.edge_oracle import SLOPES, oracle_edges
from support.models import decoder, random_gpt_neox, random_prompts, randomised
from support.oracle import oracle_influence, oracle_readouts
from support.strategies import models

from cntbench import engine
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.replacements import mean, noise, resample, zero
from cntbench.ablations.replacements._base import Replacement
from cntbench.components import feasible
from cntbench.engine.attention_scores import PATTERN_SCORES
from cntbench.engine.influence import Influence, influence
from cntbench.engine.request import Request
from cntbench.models.decoder import Decoder
from cntbench.readouts import known_readouts
from cntbench.runs.catalogue import AblationEntry
from cntbench.testing import under_test

#: Few steps do not converge, and are enough for what is checked here.
pytestmark = pytest.mark.filterwarnings("ignore:the optimal constants")
EVERY = pytest.mark.parametrize("names", kinds(), ids="+".join)
EVERY_MEASURE = pytest.mark.parametrize("measure", sorted(under_test("measure")))
#: Numbers of all prompts; those of single prompts and positions have tests of their own.
FIELDS = [
    field.name
    for field in dataclasses.fields(Influence)
    if field.name not in ("kept", "prompts_measured")
]
MEANS = [name for name in FIELDS if not name.endswith("_se")]
OF_ABLATIONS = [
    name for name in FIELDS if name.startswith(("influence", "readout_effect", "edge_effect"))
]
VOCABULARY = 17
#: The simplest case, and one at random, of each kind.
FEW = settings(max_examples=2)
COUNTS = st.integers(1, 4)


@functools.cache
def shipped() -> dict[str, AblationEntry]:
    """Every ablation by its name; those that fit something take few steps."""
    entries = every_ablation.shipped()
    return {name: with_few_steps(entry) for name, entry in entries.items()}


def methods_of(names) -> list[Ablation]:
    """Return the methods of some ablations."""
    return [shipped()[name].method for name in names]


class Case:
    """A model of transformers, prompts for it, and what the engine is asked."""

    def __init__(self, model, prompts, observe_all, seed) -> None:
        self.model = model
        self.prompts = prompts
        self.observe_all = observe_all
        self.seed = seed

    def __repr__(self) -> str:
        c, p = self.model.config, self.prompts
        return (
            f"{c.model_type}: {c.num_hidden_layers} layers of {c.num_attention_heads} heads, "
            f"d_model {c.hidden_size}, parallel {self.anatomy.parallel}, {self.model.dtype}, "
            f"{len(p)} prompts of {p.tokens.shape[1]} tokens, {p.scored.shape[1]} scored, "
            f"observe_all {self.observe_all}, seed {self.seed}"
        )

    def measure(self, ablations, *, model=None, prompts=None, **options) -> Influence:
        """Run the engine, with something else in place of what the case has."""
        options = {"observe_all": self.observe_all, "seed": self.seed, **options}
        return influence(
            Request(
                self.view if model is None else decoder(model),
                self.prompts if prompts is None else prompts,
                ablations,
                effects=known_readouts(),
                readouts=known_readouts(),
                **options,
            )
        )

    def enough_for(self, *names: str) -> Case:
        """The case, with as many prompts as some ablations need."""
        beside = max(shipped()[name].method.fewest_prompts for name in names) - 1
        if not beside:
            return self
        count, length = self.prompts.tokens.shape
        more = random_prompts(
            count=max(count, 1 + beside),
            length=length,
            scored=self.prompts.scored.shape[1],
            vocabulary=VOCABULARY,
            seed=self.seed,
        )
        return Case(self.model, more, self.observe_all, self.seed)

    @functools.cached_property
    def view(self) -> Decoder:
        """The engine's view of the model."""
        return decoder(self.model)

    @property
    def anatomy(self) -> Anatomy:
        """Where the model has its parts."""
        return Anatomy(self.model)

    @property
    def allowed(self) -> np.ndarray:
        """Feasible edges."""
        return feasible(self.view.components)

    def with_weights(self, change) -> torch.nn.Module:
        """A model of the same shape whose weights a function has changed in place."""
        other = randomised(self.model.config, dtype=self.model.dtype)
        other.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            for layer in Anatomy(other).layers:
                change(layer)
        return other


@st.composite
def cases(
    draw,
    *,
    dtypes=(torch.float32, torch.float64),
    prompts=COUNTS,
    layers=(2, 1, 3),
    heads=(2, 1, 3),
):
    """Small models of every architecture; the first of each list is what is tried first."""
    length = draw(st.integers(2, 7))
    model = draw(
        models(
            dtype=draw(st.sampled_from(dtypes)),
            layers=st.sampled_from(layers),
            heads=st.sampled_from(heads),
            width=st.sampled_from([4, 8]),
            mlp=st.just(24),
            vocabulary=st.just(VOCABULARY),
        )
    )
    request = random_prompts(
        count=draw(prompts),
        length=length,
        scored=draw(st.integers(1, length)),
        vocabulary=VOCABULARY,
        seed=draw(st.integers(0, 1000)),
    )
    # Noise of no spread is rounding, the root of a difference of equals.
    assume(len(np.unique(request.tokens)) > 1)
    return Case(model, request, draw(st.booleans()), draw(st.integers(0, 2**32 - 1)))


#: In double precision, where what differs by rounding only is told from what differs.
doubles = functools.partial(cases, dtypes=(torch.float64,))


def equal(one: Influence, two: Influence, fields=FIELDS):
    """Equal to the last bit, NaN where NaN."""
    for name in fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def close(one: Influence, two: Influence, fields=FIELDS):
    """Equal but for the rounding of sums in another order, in double precision."""
    for name in fields:
        np.testing.assert_allclose(
            getattr(one, name), getattr(two, name), rtol=1e-7, atol=1e-9, err_msg=name
        )


#: What rounding may leave of a change that is none, by precision.
ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-12}


def nothing_changes(result: Influence, case: Case):
    """Every influence is zero, and every effect but for rounding.

    Exactly zero in single precision, which the engine runs in: runs that start from equal streams
    go through the same matrix products, and equal rows give equal bits. In double precision GELU
    gives the last few numbers of a tensor other last bits than the rest.
    """
    exactly = case.model.dtype == torch.float32
    rounding = ROUNDING[case.model.dtype]
    on_readout = ~np.isnan(result.edge_effect).all(axis=(1, 2))
    edges = result.influence[~on_readout][:, case.allowed]
    assert (edges <= (0 if exactly else rounding)).all()
    assert (result.influence[on_readout][:, case.allowed] <= rounding).all()
    assert (abs(result.readout_effect) <= rounding).all()


def methods(rule: Replacement, measure: str) -> list[Ablation]:
    """A replacement in every scope, observed and estimated in every way."""
    edge = {"scope": "direct", "observable": "readout"}
    return [
        Ablation("total", rule, measures()[measure].measure),
        Ablation("direct", rule, measures()[measure].measure, scope="direct"),
        Ablation("patched", rule, **edge),
        Ablation("eap", rule, **edge, estimator="eap"),
        Ablation("eap_ig", rule, **edge, estimator="eap_ig", steps=2),
    ]


class Identity(Replacement):
    """Replaces a component by its own clean output."""

    def replace(self, states):
        return states.clean


@EVERY_MEASURE
@settings(max_examples=15)
@given(case=cases())
def test_the_clean_output_changes_nothing(measure, case):
    result = case.measure(methods(Identity(), measure))
    nothing_changes(result, case)


def test_the_clean_output_changes_exactly_no_readout():
    identity = methods(Identity(), "relative_l2")
    for seed in range(20):
        model = random_gpt_neox(vocabulary=VOCABULARY, seed=seed)
        prompts = random_prompts(count=1, scored=1, vocabulary=VOCABULARY, seed=seed)
        result = influence(
            Request(
                decoder(model),
                prompts,
                identity,
                effects=known_readouts(),
                readouts=known_readouts(),
            )
        )
        assert not np.nan_to_num(result.edge_effect).any(), f"seed {seed}"
        assert (result.readout_effect == 0).all(), f"seed {seed}"


@EVERY
@FEW
@given(case=cases())
def test_feasible_edges_are_in_range_others_are_nan_and_bits_the_same_again(names, case):
    case = case.enough_for(*names)
    result = case.measure(methods_of(names))
    _check_range(names, case, result)
    _check_bits(names, case, result)


def _check_range(names, case, result: Influence):
    for i, name in enumerate(names):
        measure = shipped()[name].spec.measure
        low, high = measures()[measure].RANGE if measure else (0.0, float("inf"))
        edges, errors = result.influence[i], result.influence_se[i]
        assert np.isfinite(edges[case.allowed]).all(), name
        assert (edges[case.allowed] >= low).all(), name
        assert (edges[case.allowed] <= high).all(), name
        assert np.isnan(edges[~case.allowed]).all(), name
        assert np.isfinite(result.readout_effect[i]).all(), name
        if measure:
            assert np.isnan(result.edge_effect[i]).all(), name
            assert np.isnan(result.edge_effect_se[i]).all(), name
        else:
            np.testing.assert_array_equal(abs(result.edge_effect[i]), edges, name)
            np.testing.assert_array_equal(result.edge_effect_se[i], errors, name)
        assert np.isnan(errors[~case.allowed]).all(), name
        if len(case.prompts) > 1:
            assert (errors[case.allowed] >= 0).all(), name
            assert np.isfinite(result.readout_effect_se[i]).all(), name
        else:
            assert np.isnan(errors).all(), f"{name}: one prompt has no standard error"


def oracle(name, case, runs):
    """Influence and effects by the naive oracle, means over draws and prompts.

    ``runs`` are those that the oracle made of the case for other ablations.
    """
    spec, ablation = shipped()[name].spec, shipped()[name].method
    edges, effects = [], []
    for draw in range(ablation.draws):
        prompts = dataclasses.replace(
            case.prompts, other=np.roll(case.prompts.tokens, -1 - draw, axis=0)
        )
        label = f"{name}#{draw}" if draw else name
        options = {"observe_all": case.observe_all, "seed": case.seed, "runs": runs}
        if ablation.scope == "direct":
            each, effect = oracle_edges(case.model, prompts, ablation, spec.measure, **options)
            single, effect = each.mean(-1), effect.mean(-1)
        else:
            single, _, effect = oracle_influence(
                case.model, prompts, ablation.replacement, spec.measure, name=label, **options
            )
        edges.append(abs(single))
        effects.append(effect)
    return np.mean(edges, axis=0), np.mean(effects, axis=0)


@EVERY
@FEW
# Two layers have every kind of edge; the oracles' own tests draw three.
@given(case=doubles(prompts=st.integers(1, 2), layers=(2, 1), heads=(2, 1)))
def test_agrees_with_the_naive_oracle(names, case):
    case = case.enough_for(*names)
    result = case.measure(methods_of(names))
    # Cosine distances of 1e-16 cannot be told from 0 by their definition.
    agree = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9)
    runs = {}
    agree(result.readout_value, oracle_readouts(case.model, case.prompts, runs))
    for name, changes, effect in zip(names, result.influence, result.readout_effect, strict=True):
        method = shipped()[name].method
        known = method.estimator in ("exact", *SLOPES)  # others have oracles of their own
        if known or method.scope == "direct":
            edges, effects = oracle(name, case, runs)
            agree(effect, effects, err_msg=name)
        if known:
            agree(changes, edges, err_msg=name)


def _check_bits(names, case, result: Influence):
    torch.manual_seed(5)  # the streams of the libraries have no part in it
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    equal(case.measure(methods_of(names)), result)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@EVERY
@FEW
@given(
    # One row at a time, a third layer would take several times as long.
    case=doubles(prompts=st.sampled_from([2, 3, 1]), layers=(2, 1), heads=(2, 1)),
    times=st.integers(2, 3),
    budget=st.sampled_from([20_000, 1, 100_000, 2**30]),
    at_once=st.sampled_from([7, 40, 1, 250]),
    data=st.data(),
)
def test_how_it_is_measured_does_not_matter(names, case, times, budget, at_once, data):
    """Prompts in another order and several times, some sources, other chunks: on one model."""
    case = case.enough_for(*names)
    with left_alone(case):
        alone = case.measure(methods_of(names))
        _check_order(names, case, alone, data)
        _check_duplicates(names, case, alone, times)
        _check_some_sources(names, case, alone, data)
        _check_chunks(names, case, alone, budget, at_once)


def _check_order(names, case, single: Influence, data):
    order = np.array(data.draw(st.permutations(range(len(case.prompts)))))
    close(case.measure(methods_of(names), prompts=case.prompts.take(order)), single)


def _check_duplicates(names, case, single: Influence, times):
    twice = case.prompts.take(np.tile(np.arange(len(case.prompts)), times))
    close(case.measure(methods_of(names), prompts=twice), single, MEANS)


def _check_some_sources(names, case, single: Influence, data):
    n = single.influence.shape[-1]
    first = data.draw(st.integers(0, n - 1))
    some = range(first, data.draw(st.integers(first + 1, n)))
    others = [source for source in range(n) if source not in some]
    expected = {field: getattr(single, field).copy() for field in OF_ABLATIONS}
    for field, values in expected.items():
        source = 2 if field.startswith("readout") else 1
        np.moveaxis(values, source, 0)[others] = np.nan
    result = case.measure(methods_of(names), sources=some)
    close(result, dataclasses.replace(single, **expected))


def _check_chunks(names, case, single: Influence, budget, at_once):
    if budget < 2**30:
        close(case.measure(methods_of(names), memory_budget=budget), single)
    with pytest.MonkeyPatch.context() as patch:
        for module, key in chunking_constants():
            patch.setattr(module, key, at_once)
        close(case.measure(methods_of(names)), single)


def chunking_constants():
    """Every number of the engine that says how much goes through at once."""
    results = []
    for info in pkgutil.iter_modules(engine.__path__, "cntbench.engine."):
        module = importlib.import_module(info.name)
        results += [(module, key) for key in vars(module) if key.endswith("_AT_ONCE")]
    return results


def test_there_are_chunking_constants_to_vary():
    assert len(chunking_constants()) >= 2


@contextmanager
def left_alone(case):
    """Whatever is measured, no tensor of the model and no array of the prompts is changed."""
    held = [*tensors(case.view), *case.model.state_dict().values()]
    arrays = [v for v in vars(case.prompts).values() if isinstance(v, np.ndarray)]
    assert len(held) > 10
    assert len(arrays) == 7
    before = [value.clone() for value in held], [value.copy() for value in arrays]
    yield
    for now, then in zip(held, before[0], strict=True):
        assert torch.equal(now, then)
    for now, then in zip(arrays, before[1], strict=True):
        assert (now == then).all()


@dataclasses.dataclass(frozen=True)
class SameNoise(Replacement):
    """A rule whose random draws are the same for all heads of a layer."""

    rule: Replacement

    @property
    def random(self):
        return self.rule.random

    @property
    def donor_corpus(self):
        return self.rule.donor_corpus

    @property
    def population_corpus(self):
        return self.rule.population_corpus

    @property
    def fitting_steps(self):
        return self.rule.fitting_steps

    def replace(self, states):
        def first():
            drawn = states.noise()
            return drawn[..., :1, :].expand_as(drawn)

        return self.rule.replace(dataclasses.replace(states, noise=first))


@EVERY
@FEW
@given(case=doubles(), data=st.data())
def test_permuting_heads_permutes_the_matrix(names, case, data):
    case = case.enough_for(*names)
    heads = case.model.config.num_attention_heads
    layers = case.model.config.num_hidden_layers
    n_keys = case.anatomy.n_keys
    shared_by = heads // n_keys
    # Heads that share a key stay together.
    orders, of_keys = [], []
    for _ in range(layers):
        keys = data.draw(st.permutations(range(n_keys)))
        within = [data.draw(st.permutations(range(shared_by))) for _ in keys]
        of_keys.append(list(keys))
        orders.append([k * shared_by + j for k, of in zip(keys, within, strict=True) for j in of])
    left = iter(zip(orders, of_keys, strict=True))

    def permute(layer):
        order, keys = next(left)
        for reader, views in layer.heads.items():
            for view in views:
                view.copy_(view[order if reader == "query" else keys])
        layer.weight.copy_(layer.weight[order])

    shared = [
        dataclasses.replace(method, replacement=SameNoise(method.replacement))
        for method in methods_of(names)
    ]
    before = case.measure(shared)
    after = case.measure(shared, model=case.with_weights(permute))
    nodes = np.array(
        [(heads + 1) * i + j for i, order in enumerate(orders) for j in (*order, heads)]
    )
    expected = dataclasses.replace(
        before,
        influence=before.influence[:, nodes][:, :, nodes],
        influence_se=before.influence_se[:, nodes][:, :, nodes],
        readout_effect=before.readout_effect[:, :, nodes],
        readout_effect_se=before.readout_effect_se[:, :, nodes],
        edge_effect=before.edge_effect[:, nodes][:, :, nodes],
        edge_effect_se=before.edge_effect_se[:, nodes][:, :, nodes],
        **{score: getattr(before, score)[nodes] for score in PATTERN_SCORES},
    )
    close(after, expected)


def tensors(value, seen=None):
    """Every tensor that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, functools.partial):
        yield from tensors((value.args, value.keywords), seen)
    elif isinstance(value, dict):
        yield from tensors(tuple(value.values()), seen)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item, seen)
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("cntbench"):
        yield from tensors(tuple(vars(value).values()), seen)


def reachability(edges):
    """Transitive closure of a boolean matrix."""
    reached = edges.copy()
    for k in range(len(edges)):
        reached |= reached[:, k, None] & reached[None, k]
    return reached


@EVERY
@settings(max_examples=4)
@given(case=doubles(), data=st.data())
def test_influence_runs_along_edges_that_carry_something(names, case, data):
    """Heads and MLPs that write nothing, or read nothing, are nodes without edges."""
    case = case.enough_for(*names)
    heads, count = case.model.config.num_attention_heads, len(case.allowed)
    shared_by = heads // case.anatomy.n_keys
    fates = data.draw(
        st.lists(st.sampled_from(["live", "mute", "deaf"]), min_size=count, max_size=count)
    )
    for first in range(0, count, heads + 1):
        for place in range(first, first + heads, shared_by):
            group = slice(place, place + shared_by)
            if "deaf" in fates[group]:  # they share the value
                fates[group] = ["deaf"] * shared_by
    left = iter(fates)
    speechless = []

    def maim(layer):
        for head in range(heads):
            fate = next(left)
            if fate == "mute":
                layer.weight[head] = 0
            elif fate == "deaf":  # W_V is zero, and so is z
                for view in layer.heads["value"]:
                    view[head // shared_by] = 0
            speechless.append(fate != "live")
        fate = next(left)
        if fate == "mute":
            silence(layer.outer)
        elif fate == "deaf":  # writes a constant
            silence(*layer.inner, bias=False)
        biased = len(parts(layer.outer)) > 1  # without, the constant is zero
        speechless.append(fate == "mute" or (fate == "deaf" and not biased))

    result = case.measure(methods_of(names), model=case.with_weights(maim))
    mute = np.array(speechless)
    unmoved = np.array([fate != "live" for fate in fates])
    direct = case.allowed & ~mute[:, None] & ~unmoved[None, :]
    for name, method, changes, effect in zip(
        names, methods_of(names), result.influence, result.readout_effect, strict=True
    ):
        if method.uses("contributions"):
            continue  # what somebody reads is no effect
        carried = np.nan_to_num(changes) > ROUNDING[torch.float64]
        reached = direct if method.scope == "direct" else reachability(direct)
        assert not (carried & ~reached).any(), name
        assert (abs(effect[:, mute]) <= ROUNDING[torch.float64]).all(), name
        if isinstance(method.replacement, zero.Parameters):
            assert (carried == direct).all(), f"{name}: nothing live is without effect"


@EVERY_MEASURE
@FEW
@given(case=cases())
def test_noise_of_no_scale_changes_nothing(measure, case):
    rule = noise.Parameters(scale=0.0, population="clean")
    result = case.measure(methods(rule, measure))
    nothing_changes(result, case)


@EVERY_MEASURE
@FEW
@given(case=cases(prompts=st.integers(2, 3)))  # one prompt has no other
def test_donors_that_are_the_prompts_themselves_change_nothing(measure, case):
    clean = case.prompts.tokens
    same = dataclasses.replace(case.prompts, reference=clean.copy(), other=clean.copy())
    for donor in ("reference", "other"):
        rule = resample.Parameters(donor=donor)
        result = case.measure(methods(rule, measure), prompts=same)
        nothing_changes(result, case)


@EVERY_MEASURE
@FEW
@given(case=cases(prompts=st.just(1)))
def test_the_mean_of_equal_prompts_is_the_prompt_itself(measure, case):
    rule = mean.Parameters(population="clean", over=("prompt",))
    equal = dataclasses.replace(case.prompts.take(np.array([0, 0])), index=np.arange(2))
    result = case.measure(methods(rule, measure), prompts=equal)
    nothing_changes(result, case)


@FEW
@given(case=doubles(), data=st.data())
def test_ablations_that_are_measured_together_do_not_mix(case, data):
    names = data.draw(st.permutations(sorted(shipped())))
    case = case.enough_for(*names)
    together = case.measure(methods_of(names))
    for i, name in enumerate(names):
        alone = case.measure([shipped()[name].method])
        for field in OF_ABLATIONS:
            np.testing.assert_allclose(
                getattr(together, field)[i],
                getattr(alone, field)[0],
                rtol=1e-7,
                atol=1e-9,
                err_msg=f"{name}: {field}",
            )
        close(together, alone, [field for field in MEANS if field not in OF_ABLATIONS])


@FEW
@given(case=doubles(prompts=st.integers(2, 4)))
def test_means_and_standard_errors_are_those_over_prompts(case):
    ablations = methods(zero.Parameters(), "relative_l2")
    whole = case.measure(ablations)
    each = [
        case.measure(ablations, prompts=case.prompts.take([i])) for i in range(len(case.prompts))
    ]
    for value, error in [
        ("edge_effect", "edge_effect_se"),
        ("readout_value", "readout_se"),
        ("readout_effect", "readout_effect_se"),
    ]:
        single = np.stack([getattr(item, value) for item in each])
        expected = single.std(axis=0, ddof=1) / np.sqrt(len(each))
        np.testing.assert_allclose(getattr(whole, value), single.mean(axis=0), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(getattr(whole, error), expected, rtol=1e-7, atol=1e-9)
    targets = case.measure(ablations[:2])
    single = np.stack([item.influence[:2] for item in each])
    expected = single.std(axis=0, ddof=1) / np.sqrt(len(each))
    np.testing.assert_allclose(targets.influence, single.mean(axis=0), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(targets.influence_se, expected, rtol=1e-7, atol=1e-9)


@FEW
@given(case=doubles(prompts=st.integers(2, 4)))
def test_the_seed_and_the_name_make_the_noise(case):
    if not case.allowed.any():
        return
    rule = noise.Parameters(scale=1.0, population="clean")
    measured = measures()["relative_l2"].measure
    one, two, three = (
        case.measure([Ablation(name, rule, measured)], seed=seed).influence[0][case.allowed]
        for name, seed in [("a", 1), ("a", 2), ("b", 1)]
    )
    for a, b in itertools.combinations((one, two, three), 2):
        assert (a != b).all()


@FEW
@given(case=doubles(prompts=st.integers(4, 6)), draws=st.integers(2, 3), data=st.data())
def test_several_draws_are_the_mean_over_single_ones(case, draws, data):
    rule = data.draw(
        st.sampled_from(
            [noise.Parameters(scale=1.0, population="clean"), resample.Parameters(donor="other")]
        )
    )
    ablations = methods(rule, "relative_l2")[:-1]
    several = [dataclasses.replace(item, draws=draws) for item in ablations]
    whole = case.measure([ablations[0], *several])
    each = []
    for draw in range(draws):
        other = np.roll(case.prompts.tokens, -1 - draw, axis=0)
        named = [
            dataclasses.replace(item, name=f"{item.name}#{draw}" if draw else item.name)
            for item in ablations
        ]
        each.append(case.measure(named, prompts=dataclasses.replace(case.prompts, other=other)))
    for field in ("influence", "readout_effect", "edge_effect"):
        single = np.mean([getattr(item, field) for item in each], axis=0)
        result = getattr(whole, field)
        if field == "influence":  # of a mean effect, the absolute value
            effects = np.mean([item.edge_effect for item in each], axis=0)
            single = np.where(np.isnan(effects), single, abs(effects))
        np.testing.assert_allclose(result[1:], single, rtol=1e-7, atol=1e-9, err_msg=field)
        alone = getattr(each[0], field)[0]
        np.testing.assert_allclose(result[0], alone, rtol=1e-7, atol=1e-9, err_msg=field)
    if case.allowed.any():
        first, mean_of_all = whole.influence[:2, case.allowed]
        assert (abs(first - mean_of_all) > 1e-9).any()
