"""The statistics of claims: their values on films whose answer is known, and their null models."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from cntbench.analysis.calibration.simulated import (
    exponential,
    frozen,
    gated,
    layers_only,
    phased,
    planted,
    template,
    wandering,
)
from cntbench.dynamics.film import Film, Undefined
from cntbench.dynamics.junctures import juncture, window
from cntbench.dynamics.nulls import layer_pairs, time_order
from cntbench.dynamics.orders import groups, stability
from cntbench.dynamics.phases import concentration, settled
from cntbench.dynamics.resampling import (
    FEWEST,
    flipped_means,
    mean_interval,
    null_interval,
    resampled_blocks,
)
from cntbench.dynamics.segments import curve, levels, segment
from cntbench.dynamics.statistics import (
    distinct_phases,
    held_strength,
    juncture_contrast,
    memory,
    phase_course,
    rank_stability,
    stability_gap,
    tail_weight,
)
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.trajectory import standardised, trajectory
from cntbench.metrics import tail
from cntbench.plugins import room
from cntbench.readouts import known_readouts
from cntbench.runs.catalogue import load_catalogue
from cntbench.testing import folders_under_test, under_test

SHIPPED = [
    memory.Parameters(),
    rank_stability.Parameters(role="spreader", among="peers", lag=0.125),
    rank_stability.Parameters(role="gatherer", among="all", lag=0.25, last=1.0),
    stability_gap.Parameters(lag=0.03),
    juncture_contrast.Parameters(readout="cross_entropy", among="peers"),
    tail_weight.Parameters(within="all"),
    tail_weight.Parameters(within="peers", last=0.5),
    distinct_phases.Parameters(phases=3),
    phase_course.Parameters(phases=3),
    held_strength.Parameters(role="spreader"),
    held_strength.Parameters(role="gatherer", last=1.0),
]
#: Those of a user's folder with the parameters that the claims there have.
STATISTICS = SHIPPED
if folders_under_test():
    STATISTICS = [
        test.statistic
        for claim in load_catalogue(folders_under_test()).claims.values()
        for test in claim.tests
        if test.spec.statistic in under_test("statistic")
    ]
every_statistic = pytest.mark.parametrize("statistic", STATISTICS, ids=repr)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def film(seed: int = 0, checkpoints: int = 60) -> Film:
    return planted(rng(seed), base=template(checkpoints=checkpoints), duration=8).film


def value(statistic: Statistic, of: Film) -> float:
    return float(statistic.series(of).mean())


def test_the_gap_over_lags_is_that_of_the_claim_at_its_lag():
    film = planted(np.random.default_rng(1), base=template(checkpoints=42)).film
    gaps = stability_gap.over_lags(film)
    short = stability_gap.over_lags(film.take(slice(FEWEST)))
    assert np.isfinite(short[:, 0]).all()
    assert np.isnan(short[:, 1:]).all()
    for lag, (mean, lower, upper) in zip(stability_gap.LAGS, gaps, strict=True):
        apart = max(1, round(lag * 42))
        gap = stability(film, "spreader", "peers", apart) - stability(
            film, "gatherer", "peers", apart
        )
        assert mean == pytest.approx(gap.mean())
        assert lower <= mean <= upper
    enough = stability_gap.over_lags(film.take(slice(FEWEST + 1)))
    assert np.isfinite(enough[0]).all()  # lag 1 leaves just so many gaps
    for count, defined in ((1, False), (2, False), (3, True)):
        few = stability_gap.over_lags(film.take(slice(count)))
        assert np.isfinite(few[0, 0]) == defined


def test_every_statistic_is_tried():
    assert {type(shipped).__module__.rsplit(".", 1)[1] for shipped in SHIPPED} == set(
        room("statistic")
    )


@pytest.mark.parametrize("seed", range(4))
def test_values_lie_within_a_statistics_limits(seed):
    example = film(seed, 40)
    shuffled = example.with_weights(time_order.draw(example, rng(seed)))
    results = [value(memory.Parameters(), of) for of in (example, shuffled)]
    lowest, highest = memory.Parameters.limits
    assert lowest <= min(results) < max(results) <= highest


@every_statistic
def test_scaling_all_weights_changes_nothing(statistic):
    example = film()
    for factor in (7, 2.0**-40, 2.0**40):
        scaled = replace(example, weights=example.weights * factor, errors=example.errors * factor)
        np.testing.assert_allclose(statistic.series(example), statistic.series(scaled), rtol=1e-6)


@every_statistic
def test_relabelling_peers_changes_nothing(statistic):
    example = film()
    order = np.arange(len(example.names))
    order[:3] = 2, 0, 1  # heads of layer 0
    order[5:7] = 6, 5  # and of layer 1
    relabelled = replace(
        example,
        weights=example.weights[:, order][:, :, order],
        errors=example.errors[:, order][:, :, order],
        names=tuple(example.names[i] for i in order),
    )
    np.testing.assert_allclose(value(statistic, example), value(statistic, relabelled))


@every_statistic
def test_the_film_is_not_changed(statistic):
    example = film()
    before = example.weights.copy(), example.readouts.copy()
    series = statistic.series(example)
    for null in statistic.own_nulls:
        statistic.draws(example, null, rng(), 5)
    statistic.bounds(series, rng().standard_normal(50))
    np.testing.assert_array_equal(example.weights, before[0])
    np.testing.assert_array_equal(example.readouts, before[1])


@every_statistic
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_films_in_which_nothing_happens_are_answered_or_not_without_warnings(statistic, weight):
    base = template(checkpoints=60)
    nothing = base.with_weights(np.where(np.isnan(base.weights), np.nan, weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(Undefined):
            assert np.isfinite(value(statistic, nothing))


@every_statistic
def test_the_interval_holds_the_value(statistic):
    example = film()
    series = statistic.series(example)
    drawn = (
        statistic.draws(example, next(iter(statistic.own_nulls)), rng(), 99)
        if statistic.own_nulls
        else np.zeros(99)
    )
    low, high = statistic.bounds(series, drawn)
    assert low <= series.mean() <= high


@every_statistic
def test_draws_depend_on_the_seed_alone(statistic):
    example = film()
    for null in statistic.own_nulls:
        first, again = (statistic.draws(example, null, rng(4), 9) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert len(first) == 9


def test_memory_compares_neighbours_with_checkpoints_half_a_film_apart():
    example = film(checkpoints=21)
    edges = example.weights[:, example.feasible]

    def distances(lag):
        pairs = zip(edges, edges[lag:], strict=False)
        return [1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for a, b in pairs]

    expected = 1 - np.array(distances(1)) / np.mean(distances(10))
    np.testing.assert_allclose(memory.Parameters().series(example), expected)


def test_memory_of_an_exchangeable_film_is_none_and_of_a_slow_one_is_nearly_all():
    shuffled = frozen(rng(), template(checkpoints=60))
    drawn = [
        value(memory.Parameters(), shuffled.with_weights(time_order.draw(shuffled, rng(i))))
        for i in range(50)
    ]
    assert abs(np.mean(drawn)) < 0.02
    base = template(checkpoints=60)
    slow = base.with_weights(base.weights + np.linspace(0.5, 1, 60)[:, None, None])
    assert value(memory.Parameters(), slow) > 0.9


@pytest.mark.parametrize(("role", "axis"), [("spreader", 2), ("gatherer", 1)])
def test_rank_stability_among_all_is_kendalls_of_all_strengths(role, axis):
    example = film()
    able = example.feasible.any(axis=axis - 1)
    strength = np.nansum(example.weights, axis=axis)[:, able]
    taus = [stats.kendalltau(strength[at], strength[at + 8])[0] for at in range(30, 52)]
    statistic = rank_stability.Parameters(role=role, among="all", lag=0.125)
    np.testing.assert_allclose(statistic.series(example), taus)


def test_rank_stability_is_of_the_end_of_the_film():
    example = film()
    whole = rank_stability.Parameters(role="gatherer", among="peers", lag=0.125, last=1.0)
    late = rank_stability.Parameters(role="gatherer", among="peers", lag=0.125, last=0.5)
    expected = stability(example, "gatherer", "peers", 8)
    np.testing.assert_array_equal(whole.series(example), expected)
    np.testing.assert_array_equal(late.series(example), expected[30:])


def test_layers_alone_give_no_stability_among_peers():
    statistic = rank_stability.Parameters(role="spreader", among="peers", lag=0.125)
    example = film()
    drawn = [
        value(statistic, example.with_weights(layer_pairs.draw(example, rng(i)))) for i in range(50)
    ]
    assert abs(np.mean(drawn)) < 0.03
    assert value(statistic, example) > 0.9


def test_the_gap_turns_round_with_the_roles():
    example = film()
    statistic = stability_gap.Parameters(lag=0.03)
    assert value(statistic, example) > 0.1
    # Turned round, early layers become late ones.
    turned = replace(
        example,
        weights=np.swapaxes(example.weights, 1, 2)[:, ::-1, ::-1],
        names=example.names[::-1],
        layer=example.layer.max() - example.layer[::-1],
    )
    assert value(statistic, turned) == pytest.approx(-value(statistic, example))


@pytest.mark.parametrize(("lag", "stretches"), [(0.03, [10] * 9 + [7]), (0.1, [21] * 4 + [6])])
def test_signs_are_those_of_stretches_that_overlapping_orders_do_not_reach(lag, stretches):
    gap = np.ones(sum(stretches))
    statistic = stability_gap.Parameters(lag=lag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability_gap.Parameters, "series", lambda self, film: gap)
        drawn = statistic.draws(film(checkpoints=100), "sign_flips", rng(), 20_000)
    flipped = (1 - drawn) / 2 * len(gap)
    counts = range(len(stretches))
    possible = {stretches[0] * n + last for n in counts for last in (0, stretches[-1])}
    assert {*flipped.round().tolist()} == possible
    assert drawn.mean() == pytest.approx(0, abs=4 * drawn.std() / 141)


def test_exchanged_roles_give_every_course_a_random_place():
    """By loops: a course is a component's share of what its peers send, or receive, on average."""
    example, lag = film(), 3
    courses, pairs = [], {}
    for axis, role in ((2, "spreader"), (1, "gatherer")):
        able, group = example.feasible.any(axis=axis - 1), groups(example)
        strength = np.nansum(example.weights, axis=axis)
        places = {}
        for component in np.flatnonzero(able):
            peers = [c for c in np.flatnonzero(able) if group[c] == group[component]]
            if len(peers) > 1:
                places[component] = len(courses)
                courses.append(strength[:, component] / strength[:, peers].mean(axis=1))
        pairs[role] = [
            (places[a], places[b]) for a in places for b in places if a < b and group[a] == group[b]
        ]
    drawn = stability_gap.Parameters(lag=lag / len(example)).draws(
        example, "exchanged_roles", rng(), 5
    )
    again = rng()
    for gap in drawn:
        order = again.permutation(len(courses))
        tau = {}
        for role, of_role in pairs.items():
            signs = [np.sign(courses[order[a]] - courses[order[b]]) for a, b in of_role]
            tau[role] = np.mean([sign[lag:] * sign[:-lag] for sign in signs])
        assert gap == pytest.approx(tau["spreader"] - tau["gatherer"])
    assert np.ptp(drawn) > 0


def test_random_signs_have_no_mean_and_the_right_spread():
    series = rng().standard_normal(120) + 3
    drawn = flipped_means(series, 10, rng(), 4000)
    sums = series.reshape(12, 10).sum(axis=1)
    assert abs(drawn.mean()) < 0.1
    assert drawn.std() == pytest.approx(np.sqrt((sums**2).sum()) / 120, rel=0.05)
    assert np.abs(drawn).max() <= series.mean() + 1e-9


@pytest.mark.parametrize("count", [40, 53, 143])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, 0.9])
def test_intervals_cover_the_mean_of_series_with_memory(count, correlation):
    """In 93 of 100 series or more; of 1000, as many less as a standard error has. Nor in all."""
    shocks = rng(count).standard_normal((count + 200, 1000))
    series = np.zeros_like(shocks)
    for at in range(1, len(series)):
        series[at] = correlation * series[at - 1] + shocks[at]
    bounds = np.array([mean_interval(course) for course in series[200:].T])
    covered = ((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean()
    print(f"{count} moments, correlation {correlation}: {covered:.3f}")
    assert 0.93 - 0.008 <= covered <= 0.97


def test_power_is_half_at_what_is_needed_and_certain_without_error():
    statistic = memory.Parameters()
    assert statistic.power(film(), 0.1, 0.1, 0.05, rng()) == pytest.approx(0.5)
    assert statistic.power(film(), 0.2, 0.1, 0.05, rng()) == pytest.approx(0.977, abs=0.001)
    assert [statistic.power(film(), 0.1, at, 0.0, rng()) for at in (0.05, 0.2)] == [1, 0]


def test_phases_that_explain_little_would_be_missed():
    statistic = distinct_phases.Parameters(phases=3)
    clear, vague = (f(rng(1), template(checkpoints=80)) for f in (phased, frozen))
    assert statistic.power(clear, 0.02, 0.0, 0.01, rng()) > 0.8
    assert statistic.power(vague, 0.02, 0.0, 0.01, rng()) < 0.5
    short = clear.take(slice(0, None, 2))
    assert statistic.power(short, 0.02, 9.0, 0.01, rng()) == 0  # more than any film has


@pytest.mark.parametrize(
    ("needed", "error", "power"),
    [(0.1, 0.1, 0.5), (-0.1, 0.1, 0.97725), (0.3, 0.1, 0.02275), (0.1, 0, 1), (0.11, 0, 0)],
)
def test_the_power_is_that_of_a_normal_statistic_about_its_effect(needed, error, power):
    result = memory.Parameters().power(film(), 0.1, needed, error, rng())
    assert result == pytest.approx(power, abs=1e-5)


def test_a_series_that_does_not_vary_has_no_width():
    assert mean_interval(np.full(20, 0.3)) == (pytest.approx(0.3), pytest.approx(0.3))


def test_null_intervals_are_as_wide_as_the_null_distribution():
    drawn = rng().gamma(2, size=20_000)
    low, high = null_interval(10.0, drawn)
    lower, upper = np.quantile(drawn - drawn.mean(), [0.025, 0.975])
    assert (low, high) == pytest.approx((10 - upper, 10 - lower))


def test_only_strengths_of_components_that_have_peers_are_compared():
    example, statistic = film(), held_strength.Parameters(role="spreader")
    alone = ["MLP" in name for name in example.names]
    quiet = example.weights.copy()
    quiet[:, alone] *= 0
    assert value(statistic, example.with_weights(quiet)) == value(statistic, example)


def test_a_weight_of_zero_counts_as_the_smallest_other_one_where_gatekeepers_are_held():
    example = gated(rng(), template(layers=4, heads=3, checkpoints=48))
    statistic = held_strength.Parameters(role="gatekeeper")
    least, zero = example.weights.copy(), example.weights.copy()
    small = rng(1).random(example.weights.shape) < 0.1
    least[small] = np.nanmin(np.where(small, np.nan, example.weights)[24:])
    zero[small] = 0
    least[:, ~example.feasible] = zero[:, ~example.feasible] = np.nan
    assert value(statistic, example.with_weights(zero)) == value(
        statistic, example.with_weights(least)
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # Noise around levels: a long change is as large as a short one.
        (lambda r, shape: np.diff(r.standard_normal((shape[0] + 1, shape[1])), axis=0), 5 / 6),
        # A random walk, averaged over stretches: Working 1960.
        (lambda r, shape: r.standard_normal(shape), 1 - (6 - 1 / 3) / (6 * 2 / 3)),
        # A drift: steps add up.
        (lambda r, shape: np.ones((shape[0], 1)) * r.standard_normal(shape[1]), -5.0),
    ],
)
def test_strengths_are_held_or_wander_or_drift(steps, expected):
    base = template(heads=12, checkpoints=144)
    values = []
    for seed in range(10):
        walk = steps(rng(seed), (144, len(base.names))).cumsum(axis=0)
        weights = np.where(base.feasible, 1.0, np.nan) * np.exp(0.1 * walk)[:, :, None]
        statistic = held_strength.Parameters(role="spreader", last=1.0)
        values.append(value(statistic, base.with_weights(weights)))
    assert np.mean(values) == pytest.approx(expected, abs=0.25)


def test_the_variance_ratio_is_its_definition():
    example = film(checkpoints=72)
    statistic = held_strength.Parameters(role="gatherer", last=1.0)
    received = np.nansum(example.weights, axis=1) + ~example.feasible.any(axis=0)
    stretches = np.log(received).reshape(12, 6, -1).mean(axis=1)
    far, near = 0.0, 0.0
    for layer in np.unique(example.layer)[1:]:
        heads = [i for i, n in enumerate(example.names) if example.layer[i] == layer and "H" in n]
        level = stretches[:, heads] - stretches[:, heads].mean(axis=1, keepdims=True)
        far += np.mean([np.square(level[i + 6] - level[i]).sum() for i in range(6)])
        near += np.mean([np.square(level[i + 1] - level[i]).sum() for i in range(11)])
    assert value(statistic, example) == pytest.approx(1 - far / (6 * near))


def test_the_variance_ratio_of_gatekeepers_is_of_the_stretches_graphs():
    film = gated(rng(), template(layers=3, heads=3, checkpoints=72), size=0.3)
    statistic = held_strength.Parameters(role="gatekeeper", last=1.0)
    levels = []
    for stretch in np.log(film.weights).reshape(12, 6, *film.weights.shape[1:]).mean(axis=1):
        graph = nx.DiGraph()
        for source, target in np.argwhere(film.feasible):
            graph.add_edge(source, target, length=1 / np.exp(stretch[source, target]))
        passing = nx.betweenness_centrality(graph, weight="length")
        heads = [passing[i] for i, n in enumerate(film.names) if n.startswith("L1.H")]
        levels.append(np.array(heads) - np.mean(heads))
    far = np.mean([np.square(levels[i + 6] - levels[i]).sum() for i in range(6)])
    near = np.mean([np.square(levels[i + 1] - levels[i]).sum() for i in range(11)])
    assert near
    assert value(statistic, film) == pytest.approx(1 - far / (6 * near))


@pytest.mark.parametrize("role", ["spreader", "gatekeeper"])
def test_random_steps_have_one_sign_for_all_components(role):
    """By loops. A step is one of strengths, or of the logarithms of all weights."""
    example = gated(rng(), template(layers=3, heads=3, checkpoints=72), size=0.3)
    statistic = held_strength.Parameters(role=role, last=1.0)
    drawn = statistic.draws(example, "random_steps", rng(), 4)
    logs = np.log(example.weights).reshape(12, 6, *example.weights.shape[1:]).mean(axis=1)
    levels, own = statistic._levels(example), role == "spreader"
    shape = (4, 11, 1) if own else (4, 12, 1, 1)
    for draw, signs in zip(drawn, rng().choice([-1.0, 1.0], shape), strict=True):
        course = [levels[0]] if own else [logs[0]]
        for at in range(1, 12):
            step = levels[at] - levels[at - 1] if own else logs[at] - logs[at - 1]
            course.append(course[-1] + step * signs[at - 1 if own else at])
        walk = np.array(course) if own else statistic._passing(example, np.array(course))
        far = np.mean([np.square(walk[i + 6] - walk[i]).sum() for i in range(6)])
        near = np.mean([np.square(walk[i + 1] - walk[i]).sum() for i in range(11)])
        assert draw == pytest.approx(1 - far / (6 * near))


def test_gatekeepers_of_walking_weights_are_not_held():
    statistic = held_strength.Parameters(role="gatekeeper", last=1.0)
    base = template(layers=4, heads=5, checkpoints=48)
    p_values = []
    for seed in range(20):
        walking = wandering(rng(seed), base)
        drawn = statistic.draws(walking, "random_steps", rng(seed), 39)
        p_values.append((1 + (drawn >= value(statistic, walking)).sum()) / 40)
    assert sum(p <= 0.05 for p in p_values) <= 3  # more have a chance of 2 % at a rate of 0.05


@pytest.mark.parametrize(("count", "length"), [(10, 3), (9, 3), (7, 7), (5, 1), (4, 9)])
def test_blocks_are_of_neighbours_and_fill_the_series(count, length):
    blocks = resampled_blocks(count, length, rng(), 400)
    assert blocks.shape == (400, count)
    for start in range(0, count, length):
        block = blocks[:, start : start + length]
        np.testing.assert_array_equal(np.diff(block, axis=1) % count, 1 % count)
        assert {*block[:, 0].tolist()} == {*range(count)}


@pytest.mark.parametrize("count", [3, 10, 41])
def test_an_interval_is_the_same_if_time_runs_backwards(count):
    series = rng().standard_normal((20, count)).cumsum(axis=1)
    series[:, -1] = series[:, 0]  # its lag-one correlation leaves the last value out
    for course in series:
        np.testing.assert_allclose(mean_interval(course), mean_interval(course[::-1]), rtol=1e-9)


def learning(start: int, stop: int, *, checkpoints: int = 100, error: float = 0.01) -> Film:
    """A film whose cross-entropy falls from 4 to 1 between two checkpoints."""
    base = template(checkpoints=checkpoints)
    readouts, errors = base.readouts.copy(), base.readout_errors + error
    place = known_readouts().index("cross_entropy")
    readouts[place] = np.interp(np.arange(checkpoints), [start, stop], [4, 1])
    return replace(base, readouts=readouts, readout_errors=errors)


def with_a_gap(film: Film) -> Film:
    """A film without readouts at one checkpoint."""
    readouts = film.readouts.copy()
    readouts[:, 70] = np.nan
    return replace(film, readouts=readouts)


def test_the_juncture_is_where_a_readout_improves_most():
    example = learning(40, 48)
    assert window(example) == 8
    assert juncture(example, "cross_entropy") == slice(40, 48)
    assert window(example.take(slice(3))) == 2
    small = replace(
        example, readouts=example.readouts / 999, readout_errors=example.readout_errors / 999
    )
    assert juncture(small, "cross_entropy") == slice(40, 48)


@pytest.mark.parametrize(("at", "counts"), [(32, False), (40, True), (48, True), (56, False)])
def test_a_juncture_stands_out_from_the_noise_at_its_two_ends(at, counts):
    example = learning(40, 48)
    for error, stands_out in ((0.59, True), (0.61, not counts)):  # its improvement is 3
        errors = example.readout_errors * 0
        errors[:, at] = error
        noisy = replace(example, readout_errors=errors)
        if stands_out:
            assert juncture(noisy, "cross_entropy") == slice(40, 48)
        else:
            with pytest.raises(Undefined, match="within its noise"):
                juncture(noisy, "cross_entropy")


@pytest.mark.parametrize(("length", "stands_out"), [(26, True), (28, False)])
def test_a_juncture_is_three_tenths_of_the_range_or_more(length, stands_out):
    example = learning(20, 20 + length)  # its window holds 8 checkpoints
    if stands_out:
        assert juncture(example, "cross_entropy") == slice(20, 28)
    else:
        with pytest.raises(Undefined, match="29% of its range"):
            juncture(example, "cross_entropy")


def test_a_readout_that_was_not_measured_has_no_juncture():
    with pytest.raises(Undefined, match="kl_divergence was not measured"):
        juncture(learning(40, 48), "kl_divergence")


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (learning(0, 99), "its steepest improvement is 8% of its range"),
        (learning(40, 48, error=1.0), "its steepest improvement is within its noise"),
        (learning(40, 48, error=0.44), "is within its noise"),  # that of both ends
        (learning(40, 48, error=np.nan), "standard errors of cross_entropy were not measured"),
        (learning(40, 48).take(slice(60, None)), "cross_entropy has no learning juncture"),
        (learning(40, 48, error=0.0).take(slice(60, None)), "has no learning juncture$"),
        (replace(learning(4, 8), readouts=-learning(4, 8).readouts), "0% of its range"),
        (replace(learning(4, 8), readouts=np.nan * learning(4, 8).readouts), "is not defined"),
        (with_a_gap(learning(40, 48)), "is not defined at every checkpoint"),
        (learning(40, 48).take(slice(40, 42)), "needs 3 checkpoints, has 2"),
    ],
)
def test_what_is_no_juncture_is_said(example, says):
    with pytest.raises(Undefined, match=says):
        juncture(example, "cross_entropy")


def test_a_juncture_at_an_end_cannot_be_compared():
    example = film(checkpoints=100)
    statistic = juncture_contrast.Parameters(readout="cross_entropy", among="peers")
    edge = replace(example, readouts=learning(2, 8).readouts, readout_errors=example.readout_errors)
    with pytest.raises(Undefined, match="from step 0 to 64, is too near an end of the film"):
        statistic.series(edge)


@pytest.mark.parametrize(("start", "result"), [(7, False), (8, True), (83, True), (84, False)])
def test_windows_just_before_and_after_the_juncture_fit_into_the_film(start, result):
    example = film(checkpoints=100)  # windows hold 8 transitions, so the last one starts at 91
    of = learning(start, start + 8)
    of = replace(example, readouts=of.readouts, readout_errors=of.readout_errors)
    statistic = juncture_contrast.Parameters(readout="cross_entropy", among="peers")
    with contextlib.nullcontext() if result else pytest.raises(Undefined, match="too near an end"):
        statistic.series(of)


def test_the_roles_of_two_peers_change():
    example = planted(rng(), base=template(heads=2, checkpoints=60)).film
    pairs = [
        example.layer == layer for layer in np.unique(example.layer[example.feasible.any(axis=0)])
    ]
    heads = np.array(["H" in name for name in example.names])
    received = np.nansum(example.weights, axis=1)
    first = np.array([received[:, of & heads].T for of in pairs])
    share = first[:, 0] / first.sum(axis=1)
    change = np.abs(share[:, 5:] - share[:, :-5]).mean(axis=0)
    change /= change.mean()
    actual = juncture_contrast.contrasts(example, "peers", 5, "gatherer")
    expected = change[5:-5] - (change[:-10] + change[10:]) / 2
    np.testing.assert_allclose(actual[5:-5], expected)


def test_the_contrast_is_of_the_juncture_with_its_neighbours():
    example = film(seed=3, checkpoints=100)
    statistic = juncture_contrast.Parameters(readout="cross_entropy", among="all")
    received = np.nansum(example.weights, axis=1)
    share = received / received.sum(axis=1, keepdims=True)
    change = np.array([np.abs(share[t + 8] - share[t]).sum() for t in range(92)])
    change /= change.mean()
    at = juncture(example, "cross_entropy").start
    expected = change[at] - (change[at - 8] + change[at + 8]) / 2
    assert value(statistic, example) == pytest.approx(expected)
    assert expected > 1
    layers = [example.layer == layer for layer in np.unique(example.layer)]
    heads = np.array(["H" in name for name in example.names]) & example.feasible.any(axis=0)
    shares = [received[:, of & heads] for of in layers if (of & heads).any()]
    shares = [share / share.sum(axis=1, keepdims=True) for share in shares]
    moved = [[np.abs(share[t + 8] - share[t]).sum() for t in range(92)] for share in shares]
    change = np.mean(moved, axis=0) / np.mean(moved)
    expected = change[at] - (change[at - 8] + change[at + 8]) / 2
    statistic = juncture_contrast.Parameters(readout="cross_entropy", among="peers")
    assert value(statistic, example) == pytest.approx(expected)


def test_randomised_phases_keep_the_spread_of_contrasts():
    example = film(seed=3, checkpoints=100)
    statistic = juncture_contrast.Parameters(readout="cross_entropy", among="peers")
    contrasts = juncture_contrast.contrasts(example, "peers", window(example), "gatherer")
    drawn = statistic.draws(example, "phase_randomised", rng(), 4000)
    assert drawn.std() == pytest.approx(contrasts.std(), rel=0.05)
    assert abs(drawn.mean()) < 0.1


def test_a_shift_between_layers_is_a_change_among_all_and_none_among_peers():
    effects = {"all": [], "peers": []}
    for seed in range(8):
        example = layers_only(rng(seed), template(checkpoints=100))
        quiet = replace(example, weights=example.weights / example.weights.mean(axis=0))
        for among in effects:
            series = juncture_contrast.contrasts(quiet, among, 8, "gatherer")
            at = juncture(example, "cross_entropy").start
            effects[among].append(series[at] / series.std())
    assert np.mean(effects["all"]) > np.mean(effects["peers"])


@pytest.mark.parametrize(("within", "heavy"), [("all", 0.1), ("peers", 0.03)])
def test_tails_are_told_by_their_weight(within, heavy):
    base = template(layers=5, heads=5, checkpoints=4)
    shape = base.weights.shape[1:]

    def tail(draw, seed=1) -> float:
        weights = np.where(base.feasible, draw(rng(seed), shape), np.nan)
        statistic = tail_weight.Parameters(within=within, last=1.0)
        example = base.with_weights(np.repeat(weights[None], 4, axis=0))
        # Medians of few edges make any tail longer, that of the null model too.
        return (
            value(statistic, example) - statistic.draws(example, "exponential", rng(0), 200).mean()
        )

    assert tail(lambda r, s: r.lognormal(0, 1.8, s)) > heavy
    exponential = [tail(lambda r, s: r.exponential(1, s), seed) for seed in range(20)]
    assert abs(np.mean(exponential)) < 0.02
    # Uniform and normal weights are better fitted by a log-normal than by an exponential, too.
    assert tail(lambda r, s: r.uniform(0, 1, s)) < -0.05
    assert tail(lambda r, s: 5 + r.standard_normal(s)) < 0


def test_the_signed_ratio_is_powerlaws():
    powerlaw = pytest.importorskip("powerlaw")
    weights = rng(2).lognormal(0, 1.5, 60)
    smallest = np.sort(weights)[30]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = powerlaw.Fit(weights, xmin=smallest, verbose=0)
        ratios = [
            fit.distribution_compare(name, "exponential")[0] / 30
            for name in ("power_law", "lognormal")
        ]
    assert tail_weight.signed_ratio(weights) == pytest.approx(max(ratios), rel=1e-3)


def test_the_sign_of_the_ratio_is_of_the_same_tail_as_the_ratio():
    """Divided by the median of an odd number, many weights are 1, and may be the smallest."""
    raw = rng(1).lognormal(0, 0.5, (60, 15, 3))
    weights = np.sort((raw / np.median(raw, axis=-1, keepdims=True)).reshape(60, 45))
    signs = []
    for row in weights:
        excess = row[row >= row[22]] - row[22]
        signs.append(np.sign(excess.std() - excess.mean()))
    np.testing.assert_array_equal(np.sign(tail_weight.signed_ratio(weights)), signs)


def test_how_often_tails_are_told_from_exponential_ones_on_graphs_of_nanos_size():
    draw = rng(0)
    limit = np.quantile(tail_weight.signed_ratio(draw.exponential(size=(4000, 75))), 0.95)
    rates = {
        sigma: (tail_weight.signed_ratio(draw.lognormal(0, sigma, (500, 75))) > limit).mean()
        for sigma in (0.5, 1.0, 1.3)
    }
    assert rates[0.5] < 0.1
    assert rates[1.0] == pytest.approx(0.5, abs=0.1)
    assert rates[1.3] == pytest.approx(0.75, abs=0.1)
    # Without the sign, short tails would be taken for long ones.
    plain = [
        tail.ratios(draw.uniform(size=(500, 1, 75)), "log-normal").mean,
        tail.ratios(draw.exponential(size=(4000, 1, 75)), "log-normal").mean,
    ]
    assert (plain[0] > np.quantile(plain[1], 0.95)).mean() > 0.9
    assert (tail_weight.signed_ratio(draw.uniform(size=(500, 75))) > limit).mean() < 0.01


def test_layers_of_different_level_are_a_long_tail_that_goes_when_divided():
    raw, divided = [], []
    statistic = tail_weight.Parameters(within="peers")
    for seed in range(20):
        example = exponential(rng(seed), template(layers=4, heads=4, checkpoints=2))
        level = np.exp(1.5 * rng(seed).standard_normal((4, 4)))[
            example.layer[:, None], example.layer
        ]
        layered = example.with_weights(example.weights * level)
        raw.append(value(tail_weight.Parameters(within="all"), layered))
        null = statistic.draws(layered, "exponential", rng(seed), 50)
        divided.append(value(statistic, layered) - null.mean())
    assert np.mean(raw) > 0.05
    assert abs(np.mean(divided)) < 0.03


def test_the_exponential_null_does_not_depend_on_levels():
    example = exponential(rng(0), template(checkpoints=4))
    statistic = tail_weight.Parameters(within="peers")
    drawn = statistic.draws(example, "exponential", rng(1), 50)
    louder = replace(example, weights=example.weights * np.arange(1, 16)[:, None])
    np.testing.assert_array_equal(statistic.draws(louder, "exponential", rng(1), 50), drawn)


def test_tails_are_of_the_late_edges_that_have_peers():
    """Also the draws; a weight of 0 is no edge, and the smallest tail that counts has a CV of 2."""
    example = film(checkpoints=40)
    source, target = np.argwhere(example.feasible)[3]
    example.weights[-1, source, target] = 0
    late = example.take(slice(30, None))
    count = int(example.feasible.sum()) - 1
    everywhere = tail_weight.Parameters(within="all")
    for statistic in (everywhere, tail_weight.Parameters(within="peers")):
        whole = replace(statistic, last=1.0)
        np.testing.assert_array_equal(statistic.series(example), whole.series(late))
    expected = tail_weight.signed_ratio(rng().exponential(size=(9, count)))
    np.testing.assert_allclose(everywhere.draws(example, "exponential", rng(), 9), expected)
    normal = rng().standard_normal((400, count))
    expected = tail_weight.signed_ratio(np.exp(np.sqrt(np.log(5)) * normal))
    np.testing.assert_allclose(everywhere.spread(example, rng()), expected, atol=0.01)
    # Of edges with peers, the draws are divided by medians as well: that of each column alone.
    small = example.take(slice(1)).with_weights(example.weights[:1])
    peers = tail_weight.Parameters(within="peers")
    _, group = peers._edges(small)
    for spread, raw in (
        (peers.spread(small, rng()), np.exp(1.27 * rng().standard_normal((400, len(group))))),
        (peers.draws(small, "exponential", rng(), 400), rng().exponential(size=(400, len(group)))),
    ):
        for number in np.unique(group):
            raw[:, group == number] /= np.median(raw[:, group == number], axis=1, keepdims=True)
        np.testing.assert_allclose(spread, tail_weight.signed_ratio(raw))
    divided = tail_weight._over_medians(np.array([1.0, 2, 9, 0, 4]), np.array([0, 0, 0, 0, 1]))
    assert divided.tolist() == [0.5, 1, 4.5, 0, 1]
    # One MLP in a layer: an edge between two of them is alone.
    edges, _ = tail_weight.Parameters(within="peers")._edges(example)
    mlps = ["MLP" in name for name in example.names]
    assert edges.shape[1] == example.feasible.sum() - example.feasible[np.ix_(mlps, mlps)].sum()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_even_weights_are_no_long_tail_in_any_unit(scale):
    assert tail_weight.signed_ratio(scale * np.linspace(1, 2, 60)) < 0
    assert tail_weight.signed_ratio(scale / np.linspace(0.01, 1, 60)) > 0
    # An exponential tail without its farthest weights is short, and no other fits it better.
    assert -0.02 < tail_weight.signed_ratio(-scale * np.log1p(-np.arange(200) / 200)[1:]) < 0


def test_tails_of_few_edges_have_no_shape():
    with pytest.raises(Undefined, match="fewer than 10 edges"):
        tail_weight.Parameters(within="all").series(
            exponential(rng(), template(layers=2, heads=1, checkpoints=3))
        )


def test_three_phases_are_distinct_from_others_and_lead_somewhere():
    three = phased(rng(5), template(checkpoints=143))
    assert value(distinct_phases.Parameters(phases=3), three) > 0.01
    assert value(distinct_phases.Parameters(phases=2), three) < 0
    assert value(distinct_phases.Parameters(phases=4), three) < 0
    assert value(phase_course.Parameters(phases=3), three) > 1
    backwards = three.take(slice(None, None, -1))
    assert value(phase_course.Parameters(phases=3), backwards) < -1


@pytest.mark.parametrize("count", [2, 3, 4])
def test_statistics_of_phases_are_their_definitions(count):
    for example in (
        phased(rng(5), template(checkpoints=143)),
        film(),
        wandering(rng(), template()),
    ):
        features = trajectory(example)
        segments = segment(features)
        score = segments.advantage - 0.04 * np.arange(1, len(segments.advantage) + 1)
        over = score[count - 2] - np.delete(score, count - 2).max()
        statistic = distinct_phases.Parameters(phases=count)
        expected = min(segments.advantage[count - 2], over)
        assert value(statistic, example) == pytest.approx(expected)
        assert statistic._excess(segments.advantage[None]) == pytest.approx(max(expected, 0))
        parts = []
        for k, transitions in enumerate(segments.transitions, 1):
            fits = curve(features, 2 * k), levels(features, transitions)
            left = [np.square(features - fit) for fit in fits]
            smooth, stepped = ((of / of.mean(axis=0)).mean(axis=1) for of in left)
            parts.append((smooth - stepped) / 2)
        rival = np.delete(np.arange(len(score)), count - 2)[np.delete(score, count - 2).argmax()]
        against = parts[rival] if over < segments.advantage[count - 2] else 0
        moments = expected + parts[count - 2] - against
        np.testing.assert_allclose(statistic.series(example), moments, atol=1e-9)
        first, last = (segments.transitions[count - 2][at][end] for at, end in ((0, 0), (-1, 1)))
        differences = [
            of(features)[last:].mean() - of(features)[:first].mean()
            for of in (settled, concentration)
        ]
        expected = min(differences)
        assert value(phase_course.Parameters(phases=count), example) == pytest.approx(expected)


def test_power_is_of_phases_with_transitions_of_an_eighth_of_the_film():
    features = standardised(rng().standard_normal((80, 5)).cumsum(axis=0))
    planted_courses = distinct_phases.Parameters(phases=3)._planted(features, features, rng())
    for planted_course in planted_courses[:5]:
        moves = np.abs(np.diff(planted_course, axis=0)).max(axis=1) > 1e-9
        assert 20 <= moves.sum() <= 22


def test_wandering_is_no_phase():
    statistic = distinct_phases.Parameters(phases=3)
    values = [value(statistic, wandering(rng(s), template(checkpoints=60))) for s in range(10)]
    assert np.median(values) < 0


def test_surrogates_are_never_less_than_one_phase():
    drawn = distinct_phases.Parameters(phases=3).draws(film(), "autoregressive", rng(), 50)
    assert (drawn >= 0).all()


@pytest.mark.parametrize("statistic", [distinct_phases, phase_course])
def test_films_too_short_for_their_phases_are_said_to_be(statistic):
    short = film().take(slice(20))
    with pytest.raises(Undefined, match="the film is too short for 5 phases"):
        statistic.Parameters(phases=5).series(short)
