"""The engine against the naive oracle, on architectures, prompts and ablations drawn at random.

In double precision, so that the bound says that the equations are the same: rounding of single
precision is magnified without limit where a LayerNorm meets a short vector.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.memory import peak_bytes
from support.models import decoder, ragged_prompts, random_gpt_neox, random_model, random_prompts
from support.oracle import close, oracle_influence
from support.strategies import models

from cntbench.ablations.measures import cosine, relative_l2
from cntbench.ablations.replacements import mean, noise, resample, zero
from cntbench.ablations.replacements._base import Replacement
from cntbench.engine import chunking
from cntbench.engine import influence as engine
from cntbench.engine.chunking import Chunking
from cntbench.engine.influence import Ablation, influence
from cntbench.engine.request import Request
from cntbench.readouts import known_readouts

MEASURES = {"relative_l2": relative_l2.measure, "cosine": cosine.measure}
POPULATIONS = st.sampled_from(["clean", "reference"])
RULES = st.one_of(
    st.builds(zero.Parameters),
    st.builds(resample.Parameters, donor=st.sampled_from(["reference", "other"])),
    st.builds(
        mean.Parameters,
        population=POPULATIONS,
        over=st.sampled_from([("prompt",), ("prompt", "position")]),
    ),
    st.builds(noise.Parameters, population=POPULATIONS, scale=st.floats(0, 3)),
)


@st.composite
def workloads(draw, **kind):
    model = draw(models(**kind))
    if draw(st.booleans(), label="ragged"):
        count, seed = draw(st.integers(2, 4), label="prompts"), draw(st.integers(0, 2**16))
        return model, ragged_prompts(count=count, vocabulary=model.config.vocab_size, seed=seed)
    length = draw(st.integers(1, 9), label="length")
    prompts = random_prompts(
        count=draw(st.integers(2, 4), label="prompts"),
        length=length,
        scored=draw(st.integers(1, length), label="scored"),
        vocabulary=model.config.vocab_size,
        seed=draw(st.integers(0, 2**16)),
    )
    return model, prompts


@settings(deadline=None, max_examples=15)
@given(
    workloads(),
    st.lists(st.tuples(RULES, st.sampled_from(sorted(MEASURES))), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 5),
)
def test_the_engine_equals_the_oracle(workload, methods, observe_all, seed):
    model, prompts = workload
    ablations = [Ablation(f"a{i}", r, MEASURES[m]) for i, (r, m) in enumerate(methods)]
    result = influence(
        Request(
            decoder(model),
            prompts,
            ablations,
            observe_all=observe_all,
            effects=known_readouts(),
            readouts=known_readouts(),
            seed=seed,
        )
    )
    for i, (rule, measure) in enumerate(methods):
        expected, values, effects = oracle_influence(
            model, prompts, rule, measure, name=f"a{i}", observe_all=observe_all, seed=seed
        )
        # Near 0 the cosine distance of the oracle, 1 − cos, is a difference of near equals, as is
        # the variance of states that hardly differ: noise of that spread is known to its root.
        exact = 1e-7 if isinstance(rule, noise.Parameters) else 1e-10
        close(result.influence[i], expected, atol=1e-7 if measure == "cosine" else exact)
        close(result.readout_value, values)
        close(result.readout_effect[i], effects, atol=exact)


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_single_precision_is_within_its_rounding(architecture):
    shape = {"layers": 3, "heads": 4, "width": 16, "mlp": 128, "vocabulary": 40}
    prompts = random_prompts(count=3, length=12, scored=5, vocabulary=40)
    ablation = Ablation("zero", zero.Parameters(), relative_l2.measure)
    single = decoder(random_model(architecture, **shape))
    result = influence(
        Request(single, prompts, [ablation], effects=known_readouts(), readouts=known_readouts())
    )
    exact = random_model(architecture, **shape, dtype=torch.float64)
    expected, values, effects = oracle_influence(exact, prompts, zero.Parameters(), "relative_l2")
    close(result.influence[0], expected, rtol=1e-5, atol=1e-6)
    close(result.readout_value, values, rtol=1e-5, atol=1e-6)
    close(result.readout_effect[0], effects, rtol=1e-5, atol=1e-5)


class Itself(Replacement):
    """The clean states stand in for themselves."""

    def replace(self, states):
        return states.clean.clone()


#: Products are rounded by where they lie in memory on some processors, if heads have a width that
#: is not a multiple of four.
WIDTHS = st.sampled_from([4, 8, 12, 16, 32])


@settings(deadline=None, max_examples=15)
@given(
    workloads(dtype=torch.float32, width=WIDTHS), st.sampled_from(sorted(MEASURES)), st.booleans()
)
def test_a_component_s_own_output_changes_exactly_nothing(workload, measure, observe_all):
    """On one thread, as every process of a run has: more of them round by who does what."""
    model, prompts = workload
    ablations = [
        Ablation("itself", Itself(), MEASURES[measure]),
        Ablation("other", resample.Parameters(donor="other"), MEASURES[measure]),
    ]
    result = influence(
        Request(
            decoder(model),
            prompts,
            ablations,
            observe_all=observe_all,
            effects=known_readouts(),
            readouts=known_readouts(),
        )
    )
    assert np.nanmax(np.abs(result.influence[0]), initial=0) == 0
    assert np.abs(result.readout_effect[0]).max() == 0


@pytest.mark.parametrize("vocabulary", [33, 1024, 1025, 3000])
def test_a_component_s_own_output_changes_nothing_over_a_large_vocabulary(vocabulary):
    # Enough rows for several tiles, of unequal heights and widths.
    model = random_gpt_neox(layers=2, heads=3, vocabulary=vocabulary)
    prompts = random_prompts(count=7, length=33, scored=31, vocabulary=vocabulary)
    ablation = Ablation("itself", Itself(), relative_l2.measure)
    result = influence(
        Request(
            decoder(model), prompts, [ablation], effects=known_readouts(), readouts=known_readouts()
        )
    )
    assert np.abs(result.readout_effect).max() == 0


@settings(deadline=None, max_examples=20)
@given(workloads(), RULES, st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.booleans())
@example(None, zero.Parameters(), 2, 5, 2, False)
def test_chunks_do_not_matter(workload, rule, n_prompts, n_sources, n_runs, observe_all):
    model, prompts = workload or (random_gpt_neox(dtype=torch.float64), random_prompts(count=5))
    ablation = Ablation("x", rule, relative_l2.measure)

    def run():
        return influence(
            Request(
                decoder(model),
                prompts,
                [ablation],
                observe_all=observe_all,
                effects=known_readouts(),
                readouts=known_readouts(),
            )
        )

    whole = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "chunking", lambda *_, **__: Chunking(n_prompts, n_sources, n_runs))
        pieces = run()
    for name in ("influence", "influence_se", "readout_value", "readout_effect", "prefix_matching"):
        close(getattr(pieces, name), getattr(whole, name))


@pytest.mark.parametrize("observe_all", [False, True])
def test_threads_do_not_matter_in_single_precision(observe_all):
    model = decoder(random_gpt_neox(layers=3, heads=4, width=16, mlp=128, vocabulary=40))
    prompts = random_prompts(count=9, length=33, scored=11, vocabulary=40)
    ablation = Ablation("zero", zero.Parameters(), relative_l2.measure)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(influence(Request(model, prompts, [ablation], observe_all=observe_all)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        close(other.influence, results[0].influence, rtol=1e-6, atol=1e-6)
        close(other.readout_effect, results[0].readout_effect, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rules", "observe_all"), [("zero", False), ("all", False), ("all", True)])
def test_the_memory_budget_is_respected_and_used(rules, observe_all, monkeypatch):
    # Without the limit that keeps pieces in the cache, only the budget bounds them.
    monkeypatch.setattr(chunking, "ROWS_AT_ONCE", 10**9)
    shape = {"layers": 2, "heads": 4, "width": 16, "mlp": 128, "vocabulary": 2500}
    model = decoder(random_gpt_neox(**shape))
    prompts = random_prompts(count=4, length=48, scored=23, vocabulary=2500)
    ablations = [Ablation("zero", zero.Parameters(), relative_l2.measure)]
    if rules == "all":
        over = ("prompt",)
        ablations += [
            Ablation("mean", mean.Parameters(population="clean", over=over), cosine.measure),
            Ablation("resample", resample.Parameters(donor="reference"), relative_l2.measure),
        ]
    budget, measured = 4 * 2**20, []

    def run(memory_budget=budget):
        return influence(
            Request(
                model,
                prompts,
                ablations,
                observe_all=observe_all,
                effects=known_readouts(),
                readouts=known_readouts(),
                memory_budget=memory_budget,
            )
        )

    assert budget / 4 <= peak_bytes(lambda: measured.append(run())) <= budget
    close(measured[-1].influence, run(2**30).influence, rtol=1e-6, atol=1e-6)
