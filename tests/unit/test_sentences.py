"""Sentences of the page and the terminal: singular, plural, none, missing."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from support.films import random_film

from cntbench.comparison.claims import too_short
from cntbench.reporting.sentences.claims import hold
from cntbench.reporting.sentences.components import carriers
from cntbench.reporting.sentences.emergence import left_out, others
from cntbench.reporting.sentences.head import (
    all_counted,
    edges_held,
    heading,
    lede,
    lost,
    over_models,
    phase_words,
    size_words,
)
from cntbench.reporting.sentences.methods import decision, which_method
from cntbench.results.schema import STATUS
from cntbench.views.circuit import CircuitView, Part
from cntbench.views.comparison import Agreement
from cntbench.views.heads import BEHAVIOURS, ScoredBehaviour
from cntbench.views.metrics import PhaseView
from cntbench.views.verdict import Ranked, Ranking


@pytest.fixture(scope="module")
def film():
    return random_film(names=["step0", "step1", "step2"], tasks=("induction", "bigram"))


def phases(*steps, p=0.01, names=(), moments=None):
    at = np.array(steps, dtype=float)
    return PhaseView(len(steps) + 1, p, at, at - 1, at + 1, names, moments or {})


def test_what_was_measured(film):
    assert lede(film).startswith("Causal influence between 6 components")
    assert "at 3 checkpoints (steps 0 to 2), on 2 tasks, with 2 ablation methods." in lede(film)
    moment = film.isel(checkpoint=[0], task=[0], ablation=[0])
    assert "at 1 checkpoint, on 1 task, with 1 ablation method." in lede(moment)
    assert heading("my-gpt", "induction") == "Induction in my-gpt"


def test_what_is_left_out(film):
    assert left_out(film) == ""
    gap = film.copy(deep=True)
    gap["status"] = gap["status"].astype(object)
    gap["status"][:, :, 1] = "failed"
    assert left_out(gap) == "1 of 3 checkpoints does not count: step1 (failed)."
    gap["status"][:, :, 2] = "duplicate"
    assert left_out(gap) == (
        "2 of 3 checkpoints do not count: step1 (failed) and step2 (duplicate)."
    )


@pytest.mark.parametrize(
    ("left", "count", "says"),
    [
        (0, 1, "The one checkpoint was measured."),
        (0, 3, "All 3 checkpoints were measured, and no two have the same weights."),
        (1, 3, "leave out 1 of 3 checkpoints, which is a gap in the figures:"),
        (2, 3, "leave out 2 of 3 checkpoints, which are gaps in the figures:"),
    ],
)
def test_how_many_count(left, count, says):
    assert all_counted(left, count).endswith(says)


def test_what_figures_hold():
    assert edges_held(9, 9) == ""
    assert "holds the 4 of 9 edges with" in edges_held(4, 9)
    assert "per feasible edge" in size_words(False)
    assert "its layers' share" in size_words(True)
    assert over_models("chain", 1) == "Scores are means over 1 model of each of: chain."
    assert len({lost(status) for status in (*STATUS, "odd")}) == len(STATUS) + 1


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (phases(8), "2 phases on a with zero ablation (p = 0.01), with a change point at step 8 "),
        (phases(8, 1064, names=("one", "", "two")), "at steps 8 [7, 9] and 1,064 [1,063, 1,065]; "),
        (phases(8, 64, names=("one", "", "two")), "named one and two."),
        (phases(p=np.nan), "Too few checkpoints to tell phases on a with zero ablation."),
        (phases(p=0.5), "no better than drift does (p = 0.50)."),
        (
            phases(p=0.5, moments={"accuracy": 8.0}),
            "The readout changes most: accuracy near step 8.",
        ),
        (
            phases(p=0.5, moments={"accuracy": 8.0, "cross_entropy": 9.0, "x": np.nan}),
            "The readouts change most: accuracy near step 8 and cross entropy near step 9.",
        ),
    ],
)
def test_phases(view, says):
    assert says in phase_words(view, "a", "zero")


def part(name="L1.H0", effect=-2.0, *does):
    done = tuple(
        ScoredBehaviour(behaviour, 0.9) for behaviour in BEHAVIOURS if behaviour.name in does
    )
    return Part(name, 0, 1, effect, 0.1, done)


def shown(*parts, ablations=("zero",), measured=True, foremost=None):
    first = foremost or (parts[0] if parts else None)
    return CircuitView("a", "logit_difference", 1200, ablations, measured, parts, first, ())


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (None, "No checkpoint was measured."),
        (shown(measured=False), "Effects on the logit difference were not measured on a."),
        (
            shown(foremost=part()),
            "None stands out at step 1,200: the largest effect on the logit difference on a is "
            "that of L1.H0, −2.00 ± 0.10 by zero ablation.",
        ),
        (
            shown(part(), ablations=("zero", "mean")),
            "At step 1,200, ablating L1.H0 lowers the logit difference on a by 2.00 ± 0.10 (zero "
            "ablation); no other stands out.",
        ),
        (
            shown(part("L1.H0", 2.0, "induction"), part("L0.MLP")),
            "At step 1,200, ablating L1.H0 (induction head) raises the logit difference on a by "
            "2.00 ± 0.10 (zero ablation), followed by L0.MLP.",
        ),
        (
            shown(part(), part("L0.H1", -1.0, "induction", "copying"), part("L0.H2")),
            "followed by L0.H1 (induction and copying head) and L0.H2.",
        ),
    ],
)
def test_who_carries_a_task(view, says):
    assert says in carriers(view, "a")


SUPPORTED = {"supported": ["zero", "mean"]}
OPEN = {"inconclusive": ["zero", "mean"]}
MIXED = {"supported": ["zero"], "inconclusive": ["mean"]}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({}, "No claim was tested on a."),
        ({"b_c": {"supported": ["zero"]}}, "Of 1 claim tested on a, b c is supported with zero."),
        ({"b": OPEN, "c": OPEN}, "All 2 claims tested on a are inconclusive with every ablation."),
        (
            {"b": SUPPORTED, "c": OPEN, "d": OPEN, "e": MIXED},
            "Of 4 claims tested on a, b is supported and 2 are inconclusive with every ablation; "
            "the verdict on e depends on the ablation.",
        ),
        (
            {"b": MIXED, "c": MIXED},
            "Of 2 claims tested on a, the verdict on b and c depends on the ablation.",
        ),
        (
            {"b": {"not supported": ["zero"]}, "c": {"not supported": ["zero"]}},
            "All 2 claims tested on a are not supported with zero.",
        ),
    ],
)
def test_which_claims_hold(labels, says):
    assert hold(labels, "a") == says


def ranked(title, *names, passes=np.nan):
    methods = tuple(
        Ranked(name, 1, len(names) > 1, 0.9 - i / 10, 0.8, 1.0, passes, False)
        for i, name in enumerate(names)
    )
    return Ranking(title, "AUROC", "", "", methods, ())


@pytest.mark.parametrize(
    ("rankings", "says"),
    [
        ([], "The comparison has no tests of the methods of this result."),
        ([ranked("direct edges", "zero")], "Use zero for direct edges (AUROC 0.90)."),
        (
            [ranked("direct edges", "zero", "mean"), ranked("total influence", "zero")],
            "Use zero for direct edges (AUROC 0.90, tied with 1 other) and total influence (AUROC "
            "0.90).",
        ),
        (
            [ranked("direct edges", "zero"), ranked("total influence", "mean")],
            "Use zero for direct edges (AUROC 0.90) and mean for total influence (AUROC 0.90).",
        ),
    ],
)
def test_which_method_to_use(rankings, says):
    assert decision(rankings, []) == says


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ({"a": (1, 2), "b": (1, 9)}, "Of this result's methods, b fails least often, on 1 of 10 t"),
        (
            {"a": (0, 2), "b": (0, 9)},
            "a and b fail equally often, on 0 of 2 test circuits or 0 of ",
        ),
        ({"a": (1, 2), "b": (2, 1)}, "Of this result's methods, a fails least often, on 1 of 3 t"),
    ],
)
def test_methods_that_are_tested_on_other_circuits_are_compared_by_shares(tests, says):
    methods = [
        SimpleNamespace(ablation=name, failed=range(failed), passed=range(passed))
        for name, (failed, passed) in tests.items()
    ]
    assert decision([], methods).startswith(says)


def test_which_ablations_order_the_edges_most_and_least_alike():
    alike = np.array([[[1, 0.9, 0.2], [0.9, 1, 0.4], [0.2, 0.4, 1]]])
    agreement = Agreement(("t",), ("a", "b", "c"), alike, alike, alike)
    assert which_method("t", agreement, SimpleNamespace(method=(), verdict=None)).points == (
        "On t, the rank correlation of edges is highest for b and a (ρ = 0.90) and lowest for c "
        "and a (ρ = 0.20).",
    )


def test_the_best_of_all_methods_is_named_beside_a_method_without_a_score():
    """One of the result's two methods was not measured on circuits, and another one was."""
    recovery = {"a": 0.6, "new": np.nan, "c": 0.9}
    tested = [
        SimpleNamespace(
            ablation=name, passed=(), failed=(), recovery={("realistic", "direct"): (score, score)}
        )
        for name, score in recovery.items()
    ]
    methods = SimpleNamespace(method=tested, verdict=None)
    nothing = np.full((1, 2, 2), np.nan)
    agreement = Agreement(("t",), ("a", "new"), nothing, nothing, nothing)
    [point] = which_method("t", agreement, methods).points
    assert point.endswith(
        "0.60 (a) in the realistic setting (0.5 is chance); best of all 2 methods: 0.90 (c)."
    )


def test_of_tied_methods_the_cheapest_is_used():
    dear, cheap = ranked("x", "dear", passes=5.0), ranked("x", "cheap", passes=4.0)
    both = dataclasses.replace(dear, method=(*dear.method, *cheap.method))
    assert both.use.ablation == "cheap"
    second = dataclasses.replace(dear, method=(dataclasses.replace(dear.method[0], rank=2),))
    assert second.use.ablation == "dear"


def test_other_tasks_are_variants_controls_or_others(film):
    spec = (
        '{"tasks": {"induction": {"generator": "repeated_block", "parameters": {"block": 16}}, '
        '"bigram": {"generator": "repeated_block", "parameters": {"block": 8, "filler": 3}}}}'
    )
    variant = film.assign_attrs(spec=spec)
    assert others(variant, "induction")[0].startswith("At the last step, accuracy on the variant ")
    permuted = film.assign_attrs(spec=spec.replace('"filler": 3', '"permuted": true'))
    assert others(permuted, "induction")[0].startswith("At the last step, accuracy on the control ")
    own = film.assign_coords(task=["induction", "mine"])
    assert others(own, "induction")[0].startswith("At the last step, accuracy on the other task ")
    assert others(film.isel(task=[0]), "induction") == []


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        (["a: the effect may be 0"], ""),
        (["a needs 24, has 1"], "1 checkpoint is too few for 1 of 1 claim: it needs 24."),
        (["a needs 24, has 0", "b"], "0 checkpoints are too few for 1 of 2 claims: it needs 24."),
        (["a needs 24, has 3", "a needs 24, has 3", "b needs 24, has 3"],
         "3 checkpoints are too few for 2 of 2 claims: they need 24."),
        # The fewest of several tasks are too few for all of these claims.
        (["a needs 40, has 30", "b needs 24, has 20", "c"],
         "20 checkpoints are too few for 2 of 3 claims: they need 24 or 40."),
        (["b needs 24, has 20", "a needs 24, has 20", "a needs 40, has 30"],
         "20 checkpoints are too few for 2 of 2 claims: they need 24 or 40."),
        # Two films that do not answer, as pools of films say it.
        (["a none of 2 films answers: needs 24, has 19; needs 24, has 1"],
         "1 checkpoint is too few for 1 of 1 claim: it needs 24."),
    ],
)  # fmt: skip
def test_too_few_checkpoints(reasons, says):
    judgements = []
    for reason in reasons:
        claim, _, why = reason.partition(" ")
        judgements.append(SimpleNamespace(claim=claim, why=why.replace(",", " checkpoints,")))
    assert too_short(judgements) == says
