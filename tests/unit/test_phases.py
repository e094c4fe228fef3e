"""Phases: change points that are there, none where there are none, names by their criteria."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cntbench.analysis.calibration.simulated import frozen, phased, planted, template
from cntbench.dynamics.junctures import align, window
from cntbench.dynamics.orders import stability
from cntbench.dynamics.phases import NAMES, Phases, concentration, find_phases, name_phases, settled
from cntbench.dynamics.segments import (
    WIDEST,
    Segmentation,
    advantages,
    best_transitions,
    boundaries,
    curve,
    levels,
    most,
    segment,
    shortest,
    surrogates,
)
from cntbench.dynamics.trajectory import FEATURES, standardised, trajectory
from cntbench.readouts import known_readouts


def noise(seed: int, count: int = 40) -> np.ndarray:
    return standardised(np.random.default_rng(seed).standard_normal((count, 5)))


def smooth_curve(features: np.ndarray, degree: int, scale: np.ndarray) -> np.ndarray:
    """The best polynomial in time at any rate, by the residuals of all features over a scale."""
    time = np.linspace(0, 1, len(features))
    clocks = [np.expm1(-r * time) / np.expm1(-r) for r in (5, -5, 10, -10, 20, -20)]
    fits = [
        np.column_stack(
            [np.polynomial.Polynomial.fit(c, column, degree)(c) for column in features.T]
        )
        for c in (time, *clocks)
    ]
    return min(fits, key=lambda fit: np.square((features - fit) / scale).sum())


def noise_left(features: np.ndarray) -> np.ndarray:
    """What the most flexible curve leaves of features, dims ``feature``."""
    fit = smooth_curve(features, 2 * most(len(features)), np.ones(features.shape[1]))
    return np.maximum((features - fit).std(axis=0), 0.05)


def over_noise(features: np.ndarray) -> np.ndarray:
    """Features over their noise: the search is in these."""
    return features / noise_left(features)


def explained(features: np.ndarray, *transitions: tuple[int, int]) -> float:
    """What levels between transitions explain of features, by least squares."""
    time = np.arange(len(features))
    basis = [np.interp(time, [left - 1, reached], [0, 1]) for left, reached in transitions]
    basis = np.column_stack([np.ones(len(features)), *basis])
    fit = basis @ np.linalg.lstsq(basis, features, rcond=None)[0]
    return float(np.square(fit).sum())


@given(seed=st.integers(0, 1000), count=st.integers(15, 24))
def test_one_transition_is_the_best_of_all(seed, count):
    features, least = noise(seed, count), shortest(count)
    scaled = over_noise(features)
    lengths = {0, *np.geomspace(2, max(2, WIDEST * count), 6).round().astype(int)}
    best = max(
        explained(scaled, (left, left + length))
        for length in lengths
        for left in range(least, count - least - length + 1)
    )
    assert explained(scaled, *segment(features).transitions[0]) == pytest.approx(best)


@given(seed=st.integers(0, 1000), count=st.integers(20, 40))
def test_transitions_explain_more_than_the_best_jumps_and_leave_levels(seed, count):
    features, least = noise(seed, count), shortest(count)
    scaled = over_noise(features)
    for k, transitions in enumerate(segment(features).transitions, 1):
        jumps = max(
            explained(scaled, *((at, at) for at in places))
            for places in combinations(range(least, count - least + 1, 1 if k < 3 else least), k)
            if (np.diff([0, *places, count]) >= least).all()
        )
        # Several are moved in turn, from the best jumps, and never to where they explain less.
        assert explained(scaled, *transitions) >= jumps * (1 - 1e-9)
        ends = np.array([0, *np.ravel(transitions), count])
        assert (np.diff(ends)[::2] >= least).all()


def test_the_advantage_is_the_logarithm_of_the_residuals_ratio():
    features = noise(3)
    segments = segment(features)
    for k, transitions in enumerate(segments.transitions, 1):
        smooth = smooth_curve(features, 2 * k, noise_left(features))
        np.testing.assert_allclose(curve(features, 2 * k), smooth, atol=1e-7)
        left = [
            np.square(features - smooth).sum(axis=0),
            np.square(features - levels(features, transitions)).sum(axis=0),
        ]
        expected = (np.log(left[0] / left[1]) / 2).mean() - 0.02 * k
        assert segments.advantage[k - 1] == pytest.approx(expected, abs=1e-5)
    assert segments.number == 1 + np.argmax(segments.advantage - 0.04 * np.arange(1, 5))


def test_many_series_are_searched_as_one_is():
    drawn = np.array([noise(seed, 50) for seed in range(5)])
    for features, advantage in zip(drawn, advantages(drawn), strict=True):
        np.testing.assert_allclose(advantage, segment(features).advantage)
    for features, ends in zip(drawn, best_transitions(drawn, 2), strict=True):
        assert tuple(map(tuple, ends.tolist())) == segment(features).transitions[1]


def test_a_line_has_no_advantage_for_levels_and_a_step_and_a_ramp_between_levels_have():
    line = standardised(np.linspace(0, 1, 60)[:, None] * np.ones(5))
    assert (segment(line).advantage < 0).all()
    step = standardised((np.arange(60) >= 25)[:, None] * np.ones(5))
    ramp = standardised(np.clip((np.arange(60) - 19) / 6, 0, 1)[:, None] * np.ones(5))
    for features, expected in (step, (25, 25)), (ramp, (20, 25)):
        segments = segment(features)
        assert segments.transitions[0] == (expected,)
        assert segments.advantage.argmax() == 0
        assert segments.advantage[0] > 0.1
    assert boundaries(((20, 25), (30, 30))) == (23, 30)


def test_surrogates_keep_what_they_should():
    rng = np.random.default_rng(0)
    walk = np.zeros((400, 2))
    shocks = rng.standard_normal((400, 2)) @ np.array([[1, 0.8], [0, 0.6]])
    for at in range(1, 400):
        walk[at] = np.array([0.9, 0.3]) * walk[at - 1] + shocks[at]
    drawn = surrogates(standardised(walk), rng, 300)
    assert drawn.shape == (300, 400, 2)
    np.testing.assert_allclose(drawn.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(drawn.std(axis=1), 1)
    lagged = (drawn[:, 1:] * drawn[:, :-1]).mean(axis=(0, 1))
    np.testing.assert_allclose(lagged, [0.9, 0.3], atol=0.08)
    steps = np.diff(drawn, axis=1)
    between = np.corrcoef(steps.reshape(-1, 2).T)[0, 1]
    assert between == pytest.approx(np.corrcoef(np.diff(walk, axis=0).T)[0, 1], abs=0.08)


@pytest.mark.parametrize("memory", [-0.9, 0.3, 0.8, 1.0])
def test_surrogates_correct_the_bias_of_the_coefficient_up_to_a_random_walk(memory):
    """Kendall's correction, (1 + 3 ρ) / n; the noise of the same draws is added up by a loop."""
    series = np.zeros((40, 1))
    shocks = np.random.default_rng(1).standard_normal(40)
    for at in range(1, 40):
        series[at] = memory * series[at - 1] + shocks[at] + (memory == 1)
    series = standardised(series)
    raw = (series[1:] * series[:-1]).sum() / np.square(series[:-1]).sum()
    coefficient = min(max(raw + (1 + 3 * raw) / 40, 0), 1)
    expected = np.zeros((140, 6))
    for at, noise_then in enumerate(np.random.default_rng(0).standard_normal((140, 6))):
        expected[at] = noise_then + (coefficient * expected[at - 1] if at else 0)
    drawn = surrogates(series, np.random.default_rng(0), 6)
    np.testing.assert_allclose(abs(drawn[..., 0]), abs(standardised(expected[100:]).T), atol=1e-9)


def test_surrogates_of_what_does_not_vary_do_not():
    features = noise(0)
    features[:, 2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = surrogates(features, np.random.default_rng(0), 10)
    assert (drawn[..., 2] == 0).all()
    assert np.isfinite(drawn).all()


def test_how_many_phases_a_film_has_room_for():
    assert [most(count) for count in (4, 10, 16, 25, 40, 143)] == [0, 1, 2, 4, 4, 4]


def test_planted_phases_are_found():
    film = phased(np.random.default_rng(5), base=template(checkpoints=143))
    phases = find_phases(film, np.random.default_rng(0), 99)
    assert phases.count == 3
    assert phases.p_value <= 0.05
    # What is learnt in the film rises from each phase to the next.
    jumps = np.argsort(-np.abs(np.diff(film.readout("logit_difference"))))[:2] + 1
    assert np.abs(np.sort(jumps) - phases.boundaries).max() <= 2
    assert (phases.lower <= phases.boundaries).all()
    assert (phases.boundaries <= phases.upper).all()


@pytest.mark.parametrize(("reached", "count"), [(4, 3), (5, 1)])
def test_phases_are_found_up_to_a_p_value_of_one_in_twenty(reached, count, monkeypatch):
    """The film counts as one of 100 draws; only some of the 99 surrogates reach its score."""
    film = phased(np.random.default_rng(5), base=template(checkpoints=143))
    best = segment(trajectory(film)).advantage
    price = 0.04 * np.arange(1, 5)
    lower = (best - price).max() + price - 1e-6  # a higher advantage, of more transitions
    drawn = np.where(np.arange(99)[:, None] < reached, best, lower)
    monkeypatch.setattr("cntbench.dynamics.segments.advantages", lambda features: drawn)
    phases = find_phases(film, np.random.default_rng(0), 99)
    assert (phases.p_value, phases.count) == ((1 + reached) / 100, count)


def test_levels_that_a_smooth_curve_fits_better_are_no_phases(monkeypatch):
    film = frozen(np.random.default_rng(0), template())
    assert segment(trajectory(film)).advantage.max() < 0
    monkeypatch.setattr("cntbench.dynamics.phases.chance", lambda *arguments: 0.01)
    assert find_phases(film, np.random.default_rng(0), 9).count == 1


@pytest.mark.parametrize("way", [-1, 1])
def test_boundaries_lie_in_95_of_100_resampled_transitions(way, monkeypatch):
    """And in the whole transition, which is at one side of these and as wide as any."""
    film = phased(np.random.default_rng(5), template(checkpoints=143), width=0.08)
    ends = np.array(segment(trajectory(film)).transitions[1])
    assert (ends[:, 1] > ends[:, 0]).all()
    moved = ends + way * (np.arange(101)[:, None, None] // 4 + 1)
    monkeypatch.setattr("cntbench.dynamics.segments.best_transitions", lambda *arguments: moved)
    phases = find_phases(film, np.random.default_rng(0), 101)
    np.testing.assert_array_equal(phases.lower, ends[:, 0] - 25 * (way < 0))
    np.testing.assert_array_equal(phases.upper, ends[:, 1] + 25 * (way > 0))


def test_residuals_are_resampled_in_blocks(monkeypatch):
    """Of 12 neighbours among 143 checkpoints: most pairs of neighbours stay neighbours."""
    features = trajectory(phased(np.random.default_rng(5), template(checkpoints=143)))
    segmentation = segment(features)
    residual = features - levels(features, segmentation.transitions[1])
    drawn = []

    def best(series, count):
        drawn.append(series)
        return np.tile(np.array([[40, 40], [90, 90]]), (len(series), 1, 1))

    monkeypatch.setattr("cntbench.dynamics.segments.best_transitions", best)
    monkeypatch.setattr("cntbench.dynamics.phases.standardised", lambda series: series)
    film = phased(np.random.default_rng(5), template(checkpoints=143))
    find_phases(film, np.random.default_rng(0), 30)
    resampled = drawn[-1] - (features - residual)
    at = np.abs(resampled[:, :, None, 0] - residual[:, 0]).argmin(axis=-1)
    np.testing.assert_allclose(resampled, residual[at], atol=1e-9)
    together = (np.diff(at, axis=1) % 143 == 1).mean()
    assert together == pytest.approx(11 / 12, abs=0.02)


def test_a_film_without_phases_has_none_and_says_how_sure():
    phases = find_phases(frozen(np.random.default_rng(0), template()), np.random.default_rng(0), 99)
    assert phases.count == 1
    assert phases.names == ("",)
    assert 0.05 < phases.p_value <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15])
def test_a_film_that_is_too_short_has_no_phases(count):
    film = planted(np.random.default_rng(0), base=template(checkpoints=40)).film
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phases = find_phases(film.take(slice(count)), np.random.default_rng(0), 9)
    assert (phases.count, phases.names, len(phases.advantage)) == (1, ("",), 0)
    assert np.isnan(phases.p_value)
    assert phases.features.shape == (count, len(FEATURES))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_film_of_equal_graphs_has_no_phases_and_no_warnings(weight):
    base = template(checkpoints=30)
    film = base.with_weights(np.where(np.isnan(base.weights), np.nan, weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phases = find_phases(film, np.random.default_rng(0), 9)
    assert phases.count == 1
    assert (phases.features == 0).all()


def test_the_trajectory_is_of_the_neighbours():
    film = planted(np.random.default_rng(0), base=template(checkpoints=20)).film
    features = trajectory(film)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    # Spreaders keep their order in this film.
    np.testing.assert_allclose(features.std(axis=0), [1, 1, 0, 1, 1])
    tau = stability(film, "gatherer", "peers", 1)
    calm = [tau[max(0, at - 1) : at + 1].mean() for at in range(20)]
    influence = np.nanmean(film.weights, axis=(1, 2))
    for name, raw in (("gatherer_stability", calm), ("influence", influence)):
        column = features[:, list(FEATURES).index(name)]
        np.testing.assert_allclose(column, (raw - np.mean(raw)) / np.std(raw))
    # Time runs both ways alike.
    np.testing.assert_allclose(trajectory(film.take(slice(None, None, -1))), features[::-1])


def course(**of: list[float]) -> np.ndarray:
    """Features that are constant in phases of ten checkpoints, their values standardised or not."""
    length = len(next(iter(of.values()))) * 10
    features = np.zeros((length, len(FEATURES)))
    for place, name in enumerate(FEATURES):
        features[:, place] = np.repeat(of.get(name, [0.0] * (length // 10)), 10)
    return features


STABLE = {"spreader_stability": [-1.0, 0.1, 1.0], "gatherer_stability": [-1.0, 0.1, 1.0]}


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (
            {"turnover": [1.0, -0.1, -1.0], "concentration": [-1.0, 0.0, 1.0], **STABLE},
            NAMES,
        ),
        # The other way round: it ends in what it should begin with, and that comes too late.
        (
            {"turnover": [-1.0, 0.1, 1.0], **{k: v[::-1] for k, v in STABLE.items()}},
            ("refinement", "", ""),
        ),
        # More settled, but not more concentrated.
        ({"turnover": [1.0, 0.0, -1.0], **STABLE}, ("exploration", "", "refinement")),
        ({"concentration": [-1.0, 0.0, 1.0]}, ("", "", "")),
        # More of both, but one of them by less than a quarter of a standard deviation.
        (
            {
                "turnover": [0.3, 0.2, -1.0],
                "spreader_stability": [-0.3, -0.2, 1.0],
                "gatherer_stability": [-0.3, -0.2, 1.0],
                "concentration": [-1.0, 0.0, 1.0],
            },
            ("exploration", "", "refinement"),
        ),
        (
            {"turnover": [1.0, -0.1, -1.0], "concentration": [-0.1, 0.1, 1.0], **STABLE},
            ("exploration", "", "refinement"),
        ),
    ],
)
def test_names_follow_their_criteria(of, expected):
    assert name_phases(course(**of), (10, 20)) == expected


def test_a_phase_that_still_changes_is_no_refinement():
    features = course(turnover=[1.0, -1.0])
    features[10:, list(FEATURES).index("concentration")] = np.linspace(-1, 1, 10)
    assert name_phases(features, (10,)) == ("exploration", "")


def test_a_phase_that_comes_back_to_where_it_was_stands_still():
    """Its straight line has no slope at all; the line's other number is no change."""
    there_and_back = [-0.5, 0.5, -0.5, 0.25, 2, 2, 0.25, -0.5, 0.5, -0.5]
    features = course(turnover=[-1.0], spreader_stability=[1.0], gatherer_stability=[1.0])
    features[:, list(FEATURES).index("concentration")] = there_and_back
    assert name_phases(features, ()) == ("refinement",)


@pytest.mark.parametrize(
    ("calm", "change", "expected"),
    [
        (0.26, 0.49, "refinement"),
        (0.26, -0.49, "refinement"),
        (0.26, 0.51, ""),
        (0.26, -0.51, ""),
        (0.24, 0.49, ""),
        (-0.24, 0.49, ""),
        (-0.26, 0.49, "exploration"),
    ],
)
def test_names_follow_their_criteria_to_their_ends(calm, change, expected):
    """A first phase, and how settled it is or how concentrated changes in a straight line."""
    line = change * np.linspace(-0.5, 0.5, 10)
    for moving in ("settled", "concentration"):
        features = course(turnover=[-calm], spreader_stability=[calm], gatherer_stability=[calm])
        if moving == "settled":
            features += line[:, None] * [-1, 0, 1, 1, 0]
        else:
            features[:, list(FEATURES).index("concentration")] += line
        assert name_phases(features, ()) == (expected,)


def test_settled_is_the_mean_of_three():
    features = noise(1)
    columns = dict(zip(FEATURES, features.T, strict=True))
    expected = (
        columns["spreader_stability"] + columns["gatherer_stability"] - columns["turnover"]
    ) / 3
    np.testing.assert_allclose(settled(features), expected)
    np.testing.assert_array_equal(concentration(features), columns["concentration"])


def phases_at(*boundaries: int) -> Phases:
    at = np.array(boundaries, dtype=np.int64)
    return Phases(at, at, at, ("",) * (len(at) + 1), np.empty(0), np.nan, np.empty((0, 5)))


@pytest.mark.parametrize("change", [1, -1])
def test_boundaries_are_held_against_the_readouts_steepest_change(change):
    base = template(checkpoints=100, spacing=10)
    readouts = np.zeros_like(base.readouts)
    readouts[known_readouts().index("accuracy"), 50:] = change
    readouts[known_readouts().index("cross_entropy")] = np.nan
    alignment = align(replace(base, readouts=readouts), phases_at(30, 52))
    place = known_readouts().index("accuracy")
    middle = alignment["readout_step"][place]
    assert 450 <= middle <= 500
    np.testing.assert_allclose(
        alignment["readout_distance"][place], np.array([29.5, 51.5]) - middle / 10
    )
    for name in ("cross_entropy", "logit_difference"):
        assert np.isnan(alignment["readout_step"][known_readouts().index(name)])
    nearest = np.abs(alignment["readout_distance"][place]).min()
    near = [min(abs(at + 4 - 29.5), abs(at + 4 - 51.5)) <= nearest for at in range(92)]
    assert alignment["readout_chance"][place] == np.mean(near)
    assert np.isnan(align(replace(base, readouts=readouts), phases_at())["readout_chance"]).all()


@pytest.mark.parametrize("checkpoints", [40, 100])
@pytest.mark.parametrize("jump", [11, 15, 20])
def test_the_window_itself_is_among_those_as_near_to_a_boundary(checkpoints, jump):
    base = template(checkpoints=checkpoints)
    readouts = base.readouts + np.clip(np.arange(checkpoints) - jump, 0, 3)
    size = window(base)
    for boundary in range(5, 25):
        alignment = align(replace(base, readouts=readouts), phases_at(boundary))
        starts = np.arange(checkpoints - size)
        apart = np.abs(starts + size / 2 - (boundary - 0.5))
        chance = np.mean(apart <= np.abs(alignment["readout_distance"][0, 0]))
        assert alignment["readout_chance"][0] == chance >= 1 / len(starts)


def test_a_further_transition_raises_the_advantage_by_four_hundredths():
    transitions = (((10, 11),), ((10, 11), (20, 21)))
    for more, number in ((0.03, 1), (0.05, 2)):
        assert Segmentation(transitions, np.array([0.1, 0.1 + more])).number == number


def test_a_feature_that_does_not_vary_changes_no_advantage():
    features = standardised(np.random.default_rng(0).standard_normal((3, 40, 4)).cumsum(axis=1))
    more = np.concatenate([features, np.zeros((3, 40, 2))], axis=2)
    np.testing.assert_allclose(advantages(more), advantages(features))


@pytest.mark.parametrize(("count", "least"), [(40, 5), (100, 5), (101, 6), (109, 6), (143, 8)])
def test_a_level_has_a_twentieth_of_the_checkpoints_or_more(count, least):
    assert shortest(count) == least
    for at in (least - 2, least, count - least, count - least + 2):
        jump = standardised(np.repeat(np.arange(count)[:, None] >= at, 2, axis=1).astype(float))
        for transitions in segment(jump + 1e-3 * noise(0, count)[:, :2]).transitions:
            ends = np.array([[0, 0], *transitions, [count, count]])
            assert (ends[1:, 0] - ends[:-1, 1] >= least).all()
            assert at in (least - 2, count - least + 2) or (at, at) in transitions
