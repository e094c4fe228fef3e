"""Prompts of different lengths, measured together: each as if it were alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.ablations import shipped
from support.models import ARCHITECTURES, decoder, ragged_prompts, random_model
from support.oracle import Oracle, change, close, oracle_influence
from support.runs import plan_for
from support.trajectories import write_trajectory
from tokenizers import Tokenizer, models, pre_tokenizers

import cntbench
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, noise, resample
from cntbench.engine.attention_scores import PATTERN_SCORES
from cntbench.engine.influence import Influence, influence
from cntbench.engine.optimal_constants import Losses
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.prompts import Prompt, Prompts, batch, lengths
from cntbench.readouts import known_readouts

READOUTS = known_readouts()

METHODS = [entry.method for entry in shipped().values()]
#: Replacements that one prompt, with its twin, determines.
ALONE = [
    method
    for method in METHODS
    if not (
        method.replacement.population_corpus
        or method.replacement.fitting_steps
        or method.replacement.donor_corpus == "other"
    )
]
#: Replacements that other prompts determine.
BY_OTHERS = [
    mean.Parameters(population="clean", over=("prompt",)),
    mean.Parameters(population="clean", over=("prompt", "position")),
    mean.Parameters(population="reference", over=("prompt",)),
    mean.Parameters(population="reference", over=("prompt", "position")),
    noise.Parameters(scale=1.0, population="clean"),
    resample.Parameters(donor="other"),
]
OTHERS = [method for method in METHODS if method.replacement.donor_corpus == "other"]


def measured(model, prompts: Prompts, methods, **options) -> Influence:
    effects = ("logit_difference", "cross_entropy")
    return influence(
        Request(model, prompts, methods, effects=effects, readouts=READOUTS, **options)
    )


def single(prompts: Prompts, row: int) -> Prompts:
    """One prompt without its padding, made anew."""

    def trimmed(tokens):
        return tokens[row][: int(lengths(tokens)[row])]

    arrays = (prompts.tokens, prompts.scored, prompts.targets, prompts.decoys, prompts.reference)
    return batch([Prompt(*map(trimmed, arrays))])


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_alone_and_among_others_agree(architecture, everywhere):
    """For every replacement and measure within one prompt, beside those that take other prompts."""
    model = decoder(random_model(architecture, dtype=torch.float64))
    prompts = ragged_prompts(count=5, seed=1)
    assert len(set(lengths(prompts.tokens))) > 2
    options = {"observe_all": everywhere, "keep": ("prompts",)}
    together = measured(model, prompts, [*ALONE, *OTHERS], **options)
    alone = 3  # the patterns are means over all prompts, which any ablation has
    apart = [
        measured(model, single(prompts, row), ALONE if row < alone else ALONE[:1], **options)
        for row in range(len(prompts))
    ]
    for name in ("influence", "edge_effect", "readout_effect", "readout_value"):
        kept = together.kept[f"{name}_by_prompt"]
        actual = (kept if name == "readout_value" else kept[: len(ALONE)])[..., :alone]
        each = [item.kept[f"{name}_by_prompt"] for item in apart[:alone]]
        expected = np.concatenate(each, axis=-1)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6, err_msg=name)
        assert np.nanmax(abs(actual)) > 1e-3, "something is compared"
    for name in PATTERN_SCORES:
        each = np.array([getattr(item, name) for item in apart])
        heads = ~np.isnan(getattr(together, name))
        expected = np.full(len(heads), np.nan)
        expected[heads] = np.nanmean(each[:, heads], axis=0)
        np.testing.assert_allclose(getattr(together, name), expected, atol=1e-6)


def test_replacements_by_other_prompts_equal_the_oracle():
    """All at once, so that prompts are padded to the length of those that run beside them."""
    known, prompts = random_model("gpt_neox", dtype=torch.float64), ragged_prompts(count=5, seed=1)
    methods = [Ablation(f"a{i}", rule, relative_l2.measure) for i, rule in enumerate(BY_OTHERS)]
    actual, runs = measured(decoder(known), prompts, methods).influence, {}
    for i, rule in enumerate(BY_OTHERS):
        name, measure = f"a{i}", "relative_l2"
        expected, *_ = oracle_influence(known, prompts, rule, measure, name=name, runs=runs)
        close(actual[i], expected, atol=1e-7)


def test_a_later_draw_takes_a_later_prompt():
    model, prompts = decoder(random_model("gpt_neox")), ragged_prompts(count=5, seed=1)
    rule, anchors = resample.Parameters(donor="other"), [p[p >= 0][0] for p in prompts.scored]
    each = []
    for places in (1, 2):
        other, their_anchors = (np.roll(x, -places, axis=0) for x in (prompts.tokens, anchors))
        turned = replace(prompts, other=other, anchors=np.stack([anchors, their_anchors], axis=1))
        each.append(measured(model, turned, [Ablation("x", rule, relative_l2.measure)]).influence)
    both = measured(model, prompts, [Ablation("x", rule, relative_l2.measure, draws=2)]).influence
    np.testing.assert_allclose(both, np.mean(each, axis=0), rtol=1e-5)
    assert not np.allclose(*each, equal_nan=True, rtol=1e-2)


def test_chunks_and_order_do_not_matter():
    model = decoder(random_model("llama", dtype=torch.float64))
    prompts, order = ragged_prompts(count=6, seed=2), np.array([4, 1, 5, 0, 3, 2])
    fitted = [m for m in METHODS if m.replacement.fitting_steps]
    methods = [m for m in METHODS if m not in fitted][::3]
    whole = measured(model, prompts, methods)
    turned = measured(model, prompts.take(order), methods)
    small = measured(model, prompts, methods, memory_budget=1)
    for name in ("influence", "influence_se", "readout_effect", "edge_effect_se"):
        for other in (turned, small):
            actual, expected = getattr(other, name), getattr(whole, name)
            np.testing.assert_allclose(actual, expected, atol=1e-6, err_msg=name)


def test_the_loss_under_constants_is_that_of_each_prompt():
    model = random_model("gpt_neox", dtype=torch.float64)
    oracle, prompts = Oracle(model), ragged_prompts(count=4, seed=3)
    losses = Losses(decoder(model), prompts, 2**30)
    constants = torch.randn(len(oracle.nodes), 16, dtype=torch.float64)
    values = losses.of(torch.arange(len(oracle.nodes)), constants)
    for number, node in enumerate(oracle.nodes):
        width = 16 if node[1] is None else 8
        expected = oracle.loss(prompts, node, constants[number, :width])
        np.testing.assert_allclose(values[number], expected, atol=1e-9)


def test_generators_of_one_length_are_not_padded():
    prompt = Prompt(*(np.arange(n) for n in (4, 1, 1, 1)), reference=np.arange(4))
    prompts = batch([prompt, prompt])
    assert prompts.anchors is None
    assert prompts.groups() == [slice(None)]
    assert prompts.cut(()) is prompts


FRAMES = [
    "When {a} and {b} went to the store , {c} gave a drink to",
    "then {a} and {b} went to the park . {c} gave a ball to",
    "after {a} and {b} had met , {c} gave the book to",
    "When it was late at night {a} and {b} went to a store and {c} gave a book to",
]
NAMES = ["Mary", "John", "Tom", "Anna"]
WORDS = dict.fromkeys([*NAMES, *(word for frame in FRAMES for word in frame.split())])


def ioi() -> list[dict]:
    """Twenty prompts of four lengths; the twin has another subject."""
    rng, rows = np.random.default_rng(0), []
    for number in range(20):
        a, b, other, _ = rng.permutation(NAMES)
        frame = FRAMES[number % len(FRAMES)]
        rows.append(
            {
                "clean": frame.format(a=a, b=b, c=b),
                "corrupted": frame.format(a=a, b=b, c=other),
                "answer": str(a),
                "wrong": str(b),
            }
        )
    return rows


TOKENIZER = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
TOKENIZER.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def tokens(text: str) -> np.ndarray:
    return np.array(TOKENIZER.encode(text).ids)


@pytest.mark.filterwarnings("ignore:.*prompts repeat:cntbench.errors.CntbenchNote")
@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_indirect_objects_from_a_file_equal_plain_hooks_prompt_by_prompt(architecture, tmp_path):
    rows, path = ioi(), tmp_path / "ioi.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    model = random_model(architecture, vocabulary=40, dtype=torch.float64)
    part = cntbench.influence(
        model, str(path), ["resample", "zero"], tokenizer=TOKENIZER, dtype="float64"
    ).isel(task=0, checkpoint=0)
    oracle = Oracle(model)
    influences, effects, values = [], [], []
    for row in rows:
        clean, twin = tokens(row["clean"]), tokens(row["corrupted"])
        right, wrong = int(tokens(row["answer"])[0]), int(tokens(row["wrong"])[0])
        (logits, states), (_, donor) = oracle.run(clean), oracle.run(twin)
        value = (logits[-1, right] - logits[-1, wrong]).item()
        values.append(value)
        influences.append([])
        effects.append([])
        for kind in ("resample", "zero"):
            edges = np.full((len(oracle.nodes),) * 2, np.nan)
            moved = []
            for s, source in enumerate(oracle.nodes):
                new = donor[source] if kind == "resample" else torch.zeros_like(states[source])
                changed, ablated = oracle.run(clean, {source: new})
                moved.append((changed[-1, right] - changed[-1, wrong]).item() - value)
                for t, target in enumerate(oracle.nodes):
                    if oracle.feasible(source, target):
                        ends = (oracle.contribution(*target, run[target])[-1:]
                                for run in (states, ablated))  # fmt: skip
                        edges[s, t] = change("relative_l2", *ends)
            influences[-1].append(edges)
            effects[-1].append(moved)
    np.testing.assert_allclose(part["influence"], np.mean(influences, axis=0), atol=1e-5)
    effect = part["readout_effect"].sel(readout="logit_difference")
    np.testing.assert_allclose(effect, np.mean(effects, axis=0), atol=1e-5)
    assert abs(effect).max() > 0.01
    value = part["readout_value"].sel(readout="logit_difference")
    np.testing.assert_allclose(value, np.mean(values), atol=1e-5)


UNEQUAL = [
    {"clean": [1, 2, 3], "corrupted": [1, 2, 4], "answer": 5, "wrong": 6},
    {"clean": [1, 2, 3, 4], "corrupted": [1, 2, 4], "answer": 5, "wrong": 6},
]


@pytest.mark.filterwarnings("ignore:.*prompts repeat:cntbench.errors.CntbenchNote")
@pytest.mark.parametrize("name", sorted(shipped()))
def test_twins_of_another_length_are_refused_where_positions_correspond(name):
    model = random_model("gpt2")
    method = shipped()[name].method
    rows = [*UNEQUAL, *[UNEQUAL[0]] * (method.draws if method.draws > 1 else 0)]
    if name.startswith(("resample", "mean_reference_by_position")) and "other" not in name:
        with pytest.raises(CntbenchError) as caught:
            cntbench.influence(model, ablation=name, prompts=rows)
        assert "prompts[1]: corrupted: is 3 tokens long and clean is 4, but" in str(caught.value)
        assert f"ablation {name!r} needs positions that correspond" in str(caught.value)
    else:
        result = cntbench.influence(model, ablation=name, prompts=rows)
        assert result["readout_effect"].sel(readout="logit_difference").notnull().all()


def test_the_population_of_unequal_twins_is_all_their_positions():
    """A mean over all positions of the corrupted prompts, whose lengths are their own."""
    model = random_model("gpt2", dtype=torch.float64)
    view, oracle = decoder(model), Oracle(model)
    parts = [(row["clean"], row["corrupted"]) for row in UNEQUAL]
    prompts = batch(
        [
            Prompt(np.array(a), np.array([len(a) - 1]), np.array([5]), np.array([6]), np.array(b))
            for a, b in parts
        ]
    )
    rule = mean.Parameters(population="reference", over=("prompt", "position"))
    result = influence(Request(view, prompts, [Ablation("x", rule, _nothing)]))
    node, twins = oracle.nodes[0], [oracle.run(np.array(twin))[1] for _, twin in parts]
    average = torch.cat([states[node] for states in twins]).mean(dim=0)
    effects = []
    for clean, _ in parts:
        before, after = (
            oracle.run(np.array(clean), replace)[0][-1]
            for replace in (None, {node: average.expand(len(clean), -1)})
        )
        effects.append((after[5] - after[6] - before[5] + before[6]).item())
    index = READOUTS.index("logit_difference")
    np.testing.assert_allclose(result.readout_effect[0, index, 0], np.mean(effects), atol=1e-9)


def _nothing(clean, ablated):
    return ablated.new_zeros(ablated.shape[0], ablated.shape[1], ablated.shape[3])


def test_a_run_refuses_unequal_twins_before_it_starts(tmp_path):
    folder = write_trajectory(tmp_path / "steps", steps=(0,))
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, UNEQUAL)))
    plan_for(folder, tasks=(str(path),), ablations=("zero", "noise"))
    with pytest.raises(CntbenchError, match=r"x.jsonl, line 2: corrupted: is 3 tokens long"):
        plan_for(folder, tasks=(str(path),), ablations=("zero", "resample"))
