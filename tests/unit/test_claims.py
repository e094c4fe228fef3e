"""Claims: specs that are refused, tests, verdicts and what they follow from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cntbench.analysis.calibration.simulated import (
    frozen,
    layers_only,
    planted,
    template,
    untrained,
)
from cntbench.analysis.pooling import pool_films
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult, examine, holm, judge
from cntbench.dynamics.nulls import _draws
from cntbench.dynamics.statistics import tail_weight
from cntbench.errors import SpecError
from cntbench.runs.catalogue import load_catalogue

CLAIM = """
version = 1
summary = "Mine."
text = "It is so."
source = "me"
about = "dynamics"
"""
TEST = """
[[test]]
statistic = "rank_stability"
null = "layer_pairs"
minimum = 0.2
rules_out = "the layers alone"
parameters = { role = "spreader", among = "peers", lag = 0.25 }
"""
MEMORY = """
[[test]]
statistic = "memory"
null = "time_order"
minimum = 0.1
rules_out = "graphs in no order of time"
"""


def claim(folder: Path, text: str, name: str = "mine") -> Claim:
    path = folder / "claims" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load_catalogue([folder]).some_claims([name])[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CLAIM, ["key 'test' is missing"]),
        (CLAIM + "test = []", ["test = [] is not allowed"]),
        (CLAIM + "levle = 0.1" + TEST, ["unknown key 'levle'", "Did you mean 'level'"]),
        (CLAIM + "level = 1.5" + TEST, ["level = 1.5 is not allowed", "less than 1"]),
        (CLAIM.replace("dynamics", "dynamic") + TEST,
         ['about = "dynamic" is not allowed', "Did you mean 'dynamics'"]),
        (CLAIM + TEST.replace("rank_stability", "rank_stabilty"),
         ["unknown statistic 'rank_stabilty'", "Did you mean 'rank_stability'"]),
        (CLAIM + TEST.replace("layer_pairs", "layer_pair"),
         [": test 1: null: unknown null model 'layer_pair'", "Did you mean 'layer_pairs'"]),
        (CLAIM + MEMORY + TEST.replace("layer_pairs", "sign_flips"),
         [": test 2: null: unknown null model 'sign_flips'", "time_order"]),
        (CLAIM + TEST.replace("minimum = 0.2", "minimum = -1"),
         ["test 1: minimum = -1 is not allowed"]),
        (CLAIM + TEST.replace("minimum", "minmum"),
         ["unknown key 'test 1: minmum'", "Did you mean 'minimum'"]),
        (CLAIM + TEST.replace("0.25", "0.9"), ["test 1: parameters.lag = 0.9 is not allowed"]),
        (CLAIM + TEST.replace('role = "spreader"', 'role = "speader"'),
         ['test 1: parameters.role = "speader" is not allowed', "Did you mean 'spreader'"]),
        (CLAIM + TEST.replace(", lag = 0.25", ""), ["'test 1: parameters.lag' is missing"]),
        (CLAIM + MEMORY + "parameters = { lag = 1 }",
         ["unknown key 'test 1: parameters.lag'", "Nothing is available"]),
    ],
)  # fmt: skip
def test_a_bad_spec_says_where_and_what_is_allowed(tmp_path, text, says):
    with pytest.raises(SpecError) as caught:
        claim(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "claims" / "mine.toml"))
    for part in says:
        assert part in message


def test_a_users_claim_stands_beside_the_shipped_ones(tmp_path):
    own_claim = claim(tmp_path, CLAIM + MEMORY + TEST)
    assert [test.spec.null for test in own_claim.tests] == ["time_order", "layer_pairs"]
    assert own_claim.needs == 24
    assert "three_phases" in load_catalogue([tmp_path]).claims
    with pytest.raises(SpecError, match="claim 'three_phases' already exists"):
        claim(tmp_path, CLAIM + TEST, "three_phases")


def test_the_five_claims_of_the_source_study_are_shipped():
    claims = load_catalogue().claims
    for name in (
        "three_phases",
        "spreader_hierarchy",
        "gatherers_less_stable",
        "gatherers_reconfigure",
        "long_tailed_weights",
    ):
        assert "2509.15269" in claims[name].spec.source
    for item in claims.values():
        if item.spec.about == "dynamics":
            # Nothing is said about time unless the order of the checkpoints matters.
            assert item.tests[0].spec.null == "time_order"


def test_claims_are_chosen_by_name():
    catalogue = load_catalogue()
    assert [c.name for c in catalogue.some_claims(["three_phases"])] == ["three_phases"]
    assert [some_claim.name for some_claim in catalogue.some_claims()] == list(catalogue.claims)
    with pytest.raises(SpecError, match="Did you mean 'three_phases'"):
        catalogue.some_claims(["tree_phases"])
    with pytest.raises(SpecError, match="no claims are named"):
        catalogue.some_claims([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_agrees_with_its_definition(p_values):
    adjusted = holm(np.array(p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        assert adjusted[i] == pytest.approx(largest)
    # No claim is rejected that Bonferroni's correction would not let stand a little longer.
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1) + 1e-12).all()


GOOD = ClaimTestResult(
    value=0.9, null=0.1, lower=0.7, upper=0.9, p_value=0.01, power=0.8, detectable=0.1, least=0.001
)


@pytest.fixture
def two(tmp_path) -> Claim:
    """A claim of two tests, the second one about layers, with smallest effects 0.1 and 0.2."""
    return claim(tmp_path, CLAIM + MEMORY + TEST)


@pytest.mark.parametrize(
    ("first", "second", "word", "reason", "decisive"),
    [
        (GOOD, GOOD, "supported", "", 1),
        (replace(GOOD, p_value=0.05), GOOD, "supported", "", 0),
        (GOOD, replace(GOOD, value=0.2, null=0.0), "supported", "", 1),
        (replace(GOOD, p_value=0.06), GOOD, "inconclusive",
         "may be explained by graphs in no order", 0),
        (GOOD, replace(GOOD, p_value=0.06), "inconclusive",
         "may be explained by the layers alone", 1),
        # There is stability, but no more than layers give.
        (GOOD, replace(GOOD, null=0.85, lower=0.0, upper=0.1, p_value=0.04), "not supported",
         "is explained by the layers alone", 1),
        (GOOD, replace(GOOD, value=0.05, null=0.0, lower=0.0, upper=0.1, p_value=0.3),
         "not supported", "is smaller than the claim requires", 1),
        (GOOD, replace(GOOD, value=0.2, null=0.1, lower=-0.1, upper=0.3, p_value=0.3),
         "inconclusive", "is not clearly 0.2 or more, which the claim requires", 1),
        (GOOD, replace(GOOD, value=0.2, null=0.1, lower=-0.1, upper=0.2), "inconclusive",
         "is not clearly 0.2 or more, which the claim requires", 1),
        # An effect that might have been missed is no absent one.
        (GOOD, replace(GOOD, value=0.05, null=0.0, lower=0.0, upper=0.1, p_value=0.3, power=0.3),
         "inconclusive", "is not seen, but may be missed with probability 0.7", 1),
        (GOOD, replace(GOOD, value=0.05, null=0.0, lower=0.0, upper=0.1, power=np.nan),
         "inconclusive", "is not seen, but may be missed: more checkpoints", 1),
        # From 9 draws no p-value is smaller than 0.1.
        (GOOD, replace(GOOD, p_value=0.1, least=0.1), "inconclusive",
         "cannot be told from chance in so few draws: 19 are needed", 1),
        (ClaimTestResult(reason="no such thing"), GOOD, "inconclusive", "no such thing", 0),
        # A test that fails outweighs one that is undecided.
        (replace(GOOD, p_value=0.5), replace(GOOD, lower=0.0, upper=0.1), "not supported",
         "is explained by the layers alone", 1),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_tests(two, first, second, word, reason, decisive):
    verdict = judge([two.rule], [[first, second]])[0]
    assert verdict.label == word
    assert verdict.reason.startswith(reason)
    power = "; 0.2 would be found with probability 0.80"
    assert verdict.reason.endswith(power) == (word == "not supported")
    assert verdict.decisive == decisive
    simulated = [replace(test, detectable=np.nan) for test in (first, second)]
    about_others = verdict.reason.replace("; 0.2 would", "; such an effect would")
    assert judge([two.rule], [simulated])[0].reason == about_others
    if not first.reason:
        assert verdict.p_value == max(first.p_value, second.p_value)


def test_over_several_films_an_effect_has_to_be_more_than_that_of_some(two):
    wide = [GOOD, replace(GOOD, lower=-0.1)]
    assert judge([two.rule], [wide])[0].label == "supported"
    verdict = judge([two.rule], [wide], several=True)[0]
    assert (verdict.label, verdict.reason, verdict.decisive) == ("inconclusive", "may be 0", 1)
    assert judge([two.rule], [[GOOD, replace(GOOD, lower=0.0)]], several=True)[0] == verdict


def test_verdicts_are_corrected_for_the_number_of_claims_that_are_answered(two):
    almost = [GOOD, replace(GOOD, p_value=0.02)]
    assert judge([two.rule], [almost])[0].label == "supported"
    three = judge([two.rule] * 3, [almost, [GOOD, ClaimTestResult(reason="x")], almost])
    assert [one.label for one in three] == ["supported", "inconclusive", "supported"]
    assert three[0].corrected == pytest.approx(0.04)
    assert np.isnan(three[1].corrected)
    four = judge([two.rule] * 3, [almost] * 3)
    assert {one.label for one in four} == {"inconclusive"}


def examined(film, names=None, **options):
    claims = load_catalogue().some_claims(names)
    judged = examine(film, claims, **{"seed": 0, "labels": ["x"], "draws": 99, **options})
    verdicts = judge([claim.rule for claim in claims], judged)
    names = [claim.name for claim in claims]
    return dict(zip(names, zip(judged, verdicts, strict=True), strict=True))


def test_too_few_checkpoints_are_said_to_be():
    film = planted(np.random.default_rng(0), base=template(checkpoints=30)).film
    verdicts = examined(film)
    for name in ("three_phases", "gatherers_reconfigure"):
        assert verdicts[name][1].label == "inconclusive"
        assert verdicts[name][1].reason == "needs 40 checkpoints, has 30"
    assert verdicts["gatherers_less_stable"][1].p_value > 0


def test_a_frozen_trajectory_is_one_checkpoint_and_says_nothing_about_dynamics():
    film = frozen(np.random.default_rng(0), template(checkpoints=1))
    for name, (_, verdict) in examined(film).items():
        if load_catalogue().claims[name].spec.about == "dynamics":
            assert verdict.label == "inconclusive"
            assert verdict.reason.endswith("has 1")
        else:
            assert np.isfinite(verdict.p_value)


def test_stability_that_layers_explain_is_said_to_be():
    film = layers_only(np.random.default_rng(0), template(checkpoints=60))
    tests, verdict = examined(film, ["spreader_hierarchy"])["spreader_hierarchy"]
    power = tests[verdict.decisive].power
    told = f"is explained by the layers alone; 0.1 would be found with probability {power:.2f}"
    assert (verdict.label, verdict.reason) == ("not supported", told)


def test_an_untrained_trajectory_has_no_memory():
    film = untrained(np.random.default_rng(0), template(checkpoints=60))
    tests, verdict = examined(film, ["spreader_hierarchy"])["spreader_hierarchy"]
    assert abs(tests[0].value) < 0.05
    assert verdict.label == "not supported"


def test_a_test_is_found_alike_whatever_it_is_asked_with(tmp_path):
    """Also where its interval is drawn at random: here stability varies over time."""
    film = layers_only(np.random.default_rng(0), template(checkpoints=60))
    shipped = load_catalogue().some_claims(["spreader_hierarchy", "three_phases"])
    options = {"seed": 0, "labels": ["x"], "draws": 19}
    together = examine(film, [claim(tmp_path, CLAIM + TEST + MEMORY), *shipped], **options)
    for item, tests in zip(shipped, together[1:], strict=True):
        # Written out, since NaN is not equal to itself.
        assert repr(examine(film, [item], **options)) == repr([tests])


def test_a_single_prompt_has_no_noise_to_hold_anything_against():
    film = planted(np.random.default_rng(0), base=template(checkpoints=60), duration=8).film
    film = replace(film, errors=film.errors * np.nan)
    tests, verdict = examined(film, ["gatherers_less_stable"])["gatherers_less_stable"]
    assert verdict.label == "inconclusive"
    assert verdict.reason == "is not defined under the null model 'frozen'"
    assert np.isfinite(tests[1].p_value)


def test_without_untrained_models_they_are_no_null_model(tmp_path):
    own_claim = claim(tmp_path, CLAIM + TEST.replace("layer_pairs", "untrained"))
    film = planted(np.random.default_rng(0), base=template(checkpoints=60)).film
    options = {"seed": 0, "labels": ["x"], "draws": 99}
    assert examine(film, [own_claim], **options)[0][0].reason == "no untrained models were measured"
    others = np.repeat(film.weights[:1], 3, axis=0)
    verdicts = examine(replace(film, untrained=others), [own_claim], **options)[0][0]
    assert verdicts.p_value in (0.25, 0.5, 0.75, 1.0)


def test_every_untrained_model_is_a_draw_however_large_the_film(tmp_path, monkeypatch):
    own_claim = claim(tmp_path, CLAIM + TEST.replace("layer_pairs", "untrained"))
    film = planted(np.random.default_rng(0), base=template(checkpoints=60)).film
    others = np.repeat(film.weights[:1], 20, axis=0)
    monkeypatch.setattr(_draws, "BATCH", 1)  # a film is larger than what is drawn at once
    verdicts = examine(replace(film, untrained=others), [own_claim], seed=0, labels=["x"], draws=99)
    assert verdicts[0][0].least == pytest.approx(1 / 21)


def test_a_null_model_of_its_own_that_is_not_defined_supports_nothing(monkeypatch):
    film = planted(np.random.default_rng(0), base=template(checkpoints=60), duration=8).film
    undefined = np.full(99, np.nan)
    monkeypatch.setattr(tail_weight.Parameters, "draws", lambda *arguments: undefined)
    verdict = examined(film, ["long_tailed_weights"])["long_tailed_weights"][1]
    assert verdict.label == "inconclusive"
    assert verdict.reason == "is not defined under the null model 'exponential'"


def test_the_draws_needed_are_those_for_all_claims_even_if_the_correction_ends_at_1(two):
    few = [GOOD, replace(GOOD, p_value=0.1, least=0.1)]
    verdict = judge([two.rule] * 12, [few] * 12)[0]
    assert verdict.corrected == 1
    assert verdict.reason.endswith(": 239 are needed")
    strict = judge([replace(two.rule, level=0.01)] * 12, [few] * 12)[0]
    assert strict.reason.endswith(": 1199 are needed")


def test_the_draws_needed_of_pooled_films_are_fewer_than_those_of_one(two):
    """Two films need 10 draws each for a p-value of 0.01, a single one 99."""
    for draws, label, reason in (
        (9, "inconclusive", "cannot be told from chance in so few draws: more are needed"),
        (10, "supported", ""),
    ):
        least = 1 / (1 + draws)
        best = replace(GOOD, p_value=least, mid_p_value=least / 2, least=least)
        pooled = pool_films([[best] * 2] * 2, two.rule)
        verdict = judge([two.rule] * 5, [pooled] * 5, several=True)[0]
        assert (verdict.label, verdict.reason) == (label, reason)
