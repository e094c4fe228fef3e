"""Where roles reconfigure: found where it is planted, and not where nothing changes."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.stats import binom

from cntbench.analysis.calibration.simulated import frozen, planted, template
from cntbench.dynamics import reconfiguration as module
from cntbench.dynamics.nulls import _draws
from cntbench.dynamics.reconfiguration import LEVEL, WINDOW, reconfigurations, reversed_share
from cntbench.dynamics.roles import ROLES, strength

SHORT = template(checkpoints=30)


def test_pairs_are_turned_round_as_a_loop_counts_them():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 4, (2, 20, 7)).astype(float)
    before[:, 3] = np.nan
    share = reversed_share(before, after)
    for item, a, b in zip(share, before, after, strict=True):
        pairs = [(i, j) for i in range(7) for j in range(i) if 3 not in (i, j)]
        expected = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i, j in pairs) / len(pairs)
        assert item == pytest.approx(expected)


def test_pairs_at_the_ends():
    order = np.arange(5.0)
    assert reversed_share(order, order) == 0
    assert reversed_share(order, order[::-1]) == 1
    assert reversed_share(order, order * 0) == 0
    assert np.isnan(reversed_share(np.array([1.0, np.nan]), np.array([1.0, 2.0])))


def test_changes_are_between_means_over_windows():
    film = planted(np.random.default_rng(0), base=SHORT).film
    changes = reconfigurations(film, np.random.default_rng(1), 5)
    for role in ROLES:
        change = changes[role].change
        assert np.isnan(change[0])
        for at in (1, 2, 11, 29):
            before = film.weights[max(0, at - WINDOW) : at].mean(axis=0)
            after = film.weights[at : at + WINDOW].mean(axis=0)
            expected = reversed_share(*(strength(w, film.layer, role) for w in (before, after)))
            assert change[at] == expected


def test_planted_gatherers_reconfigure_at_the_emergence_and_spreaders_do_not():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        made = planted(rng, base=template(), emergence=600, exploration=0)
        changes = reconfigurations(made.film, rng, 200)
        at = made.film.step[changes["gatherer"].reconfigures == 1]
        assert len(at) > 0
        assert (abs(at - 600) <= 48).all()
        assert not (changes["spreader"].reconfigures == 1).any()


def test_the_level_is_kept_on_frozen_films():
    films, rng = 40, np.random.default_rng(0)
    wrong = dict.fromkeys(ROLES, 0)
    for _ in range(films):
        changes = reconfigurations(frozen(rng, SHORT), rng, 100)
        for role in ROLES:
            wrong[role] += bool((changes[role].reconfigures == 1).any())
    for role in ROLES:
        assert binom.sf(wrong[role] - 1, films, LEVEL) > 1e-3


def test_a_run_of_significant_checkpoints_has_one_peak():
    values = np.array([np.nan, 1, 5, 7, 7, 0, 6, 9, 2])
    peaks = module._peaks(values, values >= 5)
    np.testing.assert_array_equal(peaks, [np.nan, 0, 0, 1, 0, 0, 0, 1, 0])


def test_p_values_are_those_of_the_largest_change_anywhere():
    standardised = np.array([[np.nan, 2.0, 3.0], [np.nan, 2.5, 0.0], [np.nan, 0.0, 1.0]])
    largest = module._largest_anywhere(standardised)
    np.testing.assert_allclose(largest, [np.nan, 2 / 3, 1 / 3])


def test_changes_are_standardised_by_the_draws_or_by_one_pair():
    """A loop over checkpoints; at the last two, draws hardly change or not at all."""
    rng = np.random.default_rng(0)
    changes = rng.beta(0.2, 0.2, (1 + 9, 5)) * [np.nan, 1, 1, 0.1, 0]
    changes[0] = np.nan, 0.9, 0.5, 0.4, 1
    strengths = rng.random((5, 4))
    strengths[:, 1] = strengths[2, 0] = np.nan
    standardised = np.full(changes.shape, np.nan)
    for at in range(1, 5):
        mean = sum(changes[:, at]) / 10
        deviation = np.sqrt(sum((changes[:, at] - mean) ** 2) / 10)
        standardised[:, at] = (changes[:, at] - mean) / max(deviation, 1 / 3)  # pairs of three
    change = module._reconfiguration(changes, strengths)
    np.testing.assert_array_equal(change.change, changes[0])
    np.testing.assert_allclose(change.noise, changes.mean(axis=0))
    np.testing.assert_allclose(change.noise_deviation, changes.std(axis=0))
    np.testing.assert_allclose(change.p_value, module._largest_anywhere(standardised))
    assert len(set(change.p_value[1:])) > 2


def test_the_noise_of_a_change_is_at_the_mean_standard_errors_of_both_windows():
    film = frozen(np.random.default_rng(0), template(checkpoints=10))
    errors = film.errors * np.linspace(0, 12, 10)[:, None, None]
    film, rng = dataclasses.replace(film, errors=errors), np.random.default_rng(1)
    at, sides = 5, (slice(1, 5), slice(5, 9))
    graph = np.mean([film.weights[side].mean(axis=0) for side in sides], axis=0)
    measured = []
    for side in sides:
        error = errors[side].mean(axis=0)
        shape, scale = (graph / error) ** 2, error**2 / graph
        noisy = rng.gamma(np.nan_to_num(shape, nan=1), np.nan_to_num(scale), (400, *graph.shape))
        measured.append(np.where(film.feasible, noisy, np.nan))
    changes = reconfigurations(film, np.random.default_rng(2), 400)
    for role in ROLES:
        expected = reversed_share(*(strength(w, film.layer, role) for w in measured))
        assert changes[role].noise[at] == pytest.approx(expected.mean(), rel=0.05)
        assert changes[role].noise_deviation[at] == pytest.approx(expected.std(), rel=0.15)


def test_draws_in_batches_are_the_same_draws(monkeypatch):
    film = planted(np.random.default_rng(0), base=template(checkpoints=4)).film
    whole = reconfigurations(film, np.random.default_rng(1), 10)
    monkeypatch.setattr(_draws, "BATCH", film.weights.nbytes * 3)
    parts = reconfigurations(film, np.random.default_rng(1), 10)
    for role in ROLES:
        np.testing.assert_array_equal(whole[role].p_value, parts[role].p_value)


def test_without_draws_only_the_change_is_defined():
    film = planted(np.random.default_rng(0), base=SHORT).film
    changes = reconfigurations(film, np.random.default_rng(0), 0)["gatherer"]
    assert not np.isnan(changes.change[1:]).any()
    for name in ("noise", "noise_deviation", "p_value", "reconfigures"):
        assert np.isnan(getattr(changes, name)).all()


@pytest.mark.parametrize("case", ["zero", "constant", "no errors", "one checkpoint", "none"])
def test_special_films_without_warnings(case):
    film = template(checkpoints={"one checkpoint": 1, "none": 0}.get(case, 5))
    if case == "constant":
        weights = film.weights + 0.3
        film = dataclasses.replace(film, weights=weights, errors=weights / 10)
    elif case == "no errors":
        film = planted(np.random.default_rng(0), base=film).film
        film = dataclasses.replace(film, errors=film.errors * np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        changes = reconfigurations(film, np.random.default_rng(0), 20)["spreader"]
    if case == "constant":
        np.testing.assert_array_equal(changes.change[1:], 0)
        assert (changes.p_value[1:] == 1).all()
    else:
        assert np.isnan(changes.p_value).all()
    if case == "no errors":
        assert not np.isnan(changes.change[1:]).any()
