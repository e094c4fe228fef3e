"""When a task was learnt: the onset by its rule, and intervals that cover what they should."""

from __future__ import annotations

import os

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from scipy.stats import norm
from support.films import random_film

from cntbench.views.emergence import emergence, smoothed

STEPS = np.arange(0, 300, 10)


@pytest.fixture(scope="module")
def film():
    return random_film(names=[f"step{step}" for step in STEPS])


def with_accuracy(film, values, errors=0.01):
    changed = film.copy(deep=False)
    at = {"task": changed["task"].values[0], "readout": "accuracy"}
    for name, numbers in (("readout_value", values), ("readout_se", errors)):
        changed[name] = changed[name].copy()
        changed[name].loc[at] = numbers
    return changed


def emergence_of(film, values, errors=0.01):
    return emergence(with_accuracy(film, values, errors), str(film["task"].values[0]))


def truth(middle=150.0, width=14.0):
    return 0.03 + 0.93 / (1 + np.exp(-(STEPS - middle) / width))


def test_onset_is_the_first_checkpoint_from_which_all_are_above(film):
    values = np.where(STEPS < 100, 0.03, 0.9)
    values[STEPS == 50] = 0.5  # it falls back: not yet
    onset = emergence_of(film, values)
    assert (onset.start, onset.level) == (0, pytest.approx(0.03))
    assert onset.onset.step == 100
    assert (onset.steepest.step, onset.until) == (90, 100)
    assert 90 <= onset.halfway.step <= 100


@pytest.mark.parametrize(
    "values",
    [
        np.full(len(STEPS), 0.03),
        np.linspace(0.9, 0.1, len(STEPS)),
        np.where(STEPS == 290, 0.05, 0.03),  # 1.4 standard errors of the difference
    ],
)
def test_no_rise_is_no_emergence(film, values):
    assert emergence_of(film, values) is None


@pytest.mark.parametrize("dip", [4, 25])
def test_a_rise_that_smoothing_removes_is_in_its_interval(film, dip):
    values = truth()
    values[dip] -= 0.5
    onset = emergence_of(film, values, 0.001)
    assert (onset.steepest.step, onset.until) == (10 * dip, 10 * dip + 10)
    for moment in (onset.onset, onset.halfway, onset.steepest):
        assert moment.low <= moment.step <= moment.high


@pytest.mark.parametrize("unmeasured", [STEPS >= 0, STEPS == 70])
def test_errors_that_were_not_measured_leave_no_interval(film, unmeasured):
    onset = emergence_of(film, truth(), np.where(unmeasured, np.nan, 0.01))
    assert np.isnan([onset.onset.low, onset.halfway.high, onset.steepest.low]).all()
    assert onset.onset.step > 0


def test_one_checkpoint_is_too_few(film):
    values = np.full(len(STEPS), np.nan)
    values[-1] = 0.9
    assert emergence_of(film, values) is None


def test_a_course_that_rises_and_falls_is_smoothed_as_such():
    course = [0.0, 0.1, 0.0, 0.9, 0.7, 0.8, 0.5]
    np.testing.assert_allclose(smoothed(np.array(course)), [0.0, 0.05, 0.05, 0.9, 0.75, 0.75, 0.5])
    np.testing.assert_allclose(smoothed(np.array([0.2, 0.4, 0.9])), [0.2, 0.4, 0.9])


@given(hnp.arrays(np.float64, (4, 7), elements=st.floats(0, 1, width=16)))
def test_curves_are_smoothed_together_as_each_by_itself(curves):
    for together, curve in zip(smoothed(curves), curves, strict=True):
        rising = isotonic_regression(curve).x
        peak = int(rising.argmax())
        falling = isotonic_regression(curve[peak:], increasing=False).x
        np.testing.assert_allclose(together, [*rising[:peak], *falling], atol=1e-12)
        np.testing.assert_array_equal(smoothed(curve), [*rising[:peak], *falling])


def like_nano(steps):
    """A slow rise, half of the course within a few checkpoints, and a slow rise again."""
    parts = ((0.14, 200, 40), (0.5, 318, 5), (0.3, 420, 60))
    return 0.03 + sum(rise / (1 + np.exp(-(steps - at) / width)) for rise, at, width in parts)


NANO = np.arange(0, 1144, 8)
#: Checkpoints, their true accuracy, and the middle of its rise.
COURSES = {
    "30 checkpoints": (STEPS, truth(), 150.0),
    "like nano": (NANO, like_nano(NANO), 319.59),
}


@pytest.fixture(scope="module")
def films(film):
    return {
        "30 checkpoints": film,
        "like nano": random_film(names=[f"step{step}" for step in NANO], layers=1, heads=1),
    }


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("prompts", [4, 8, 32])
@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_intervals_cover_what_they_are_about(films, course, prompts, kept):
    """The half-way and steepest steps of the true course, and the onset that other prompts give.

    Prompts of 15 positions each have a share ``kept`` of their noise at every checkpoint.
    ``docs/calibration.md`` gives the rates over 200 films (``CNTBENCH_FILMS=200``).
    """
    rng = np.random.default_rng(0)
    steps, true, half = COURSES[course]
    rises = np.diff(true)
    steepest = steps[np.flatnonzero(rises > rises.max() * (1 - 1e-9))[[0, -1]] + [0, 1]]
    film = films[course].copy(deep=False)
    film.attrs = {**film.attrs, "prompts": prompts}

    def measured():
        own = rng.standard_normal((prompts, 15)) * np.sqrt(kept)
        fresh = rng.standard_normal((len(steps), prompts, 15)) * np.sqrt(1 - kept)
        right = (norm.cdf(own + fresh) < true[:, None, None]).mean(axis=-1)
        return emergence_of(film, right.mean(axis=1), right.std(axis=1, ddof=1) / np.sqrt(prompts))

    runs = [measured() for _ in range(int(os.environ.get("CNTBENCH_FILMS", "40")))]
    typical = np.median([trial.onset.step for trial in runs])
    of_half = np.mean([trial.halfway.low <= half <= trial.halfway.high for trial in runs])
    of_onset = np.mean([trial.onset.low <= typical <= trial.onset.high for trial in runs])
    low, high = (
        np.array([getattr(trial.steepest, end) for trial in runs]) for end in ("low", "high")
    )
    of_steepest = np.mean((low <= steepest[0]) & (steepest[1] <= high))
    wide = np.median([trial.halfway.high - trial.halfway.low for trial in runs])
    rates = [of_half, of_onset, of_steepest]
    print(f"| {course} | {prompts} | {kept} |", *rates, wide, np.median(high - low), sep=" | ")
    assert min(rates) >= 0.875
    assert wide < (25 if prompts == 4 else 20)


def test_few_prompts_make_intervals_wider(film):
    changed = film.copy(deep=False)
    lengths = []
    for changed.attrs["prompts"] in (4, 8, 1000):
        half = emergence_of(changed, truth()).halfway
        lengths.append(half.high - half.low)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == pytest.approx(3.18 / 1.96 * lengths[2], rel=0.2)


def test_checkpoints_that_failed_have_no_prompts(film):
    changed = with_accuracy(film, truth()).assign_attrs(prompts=8)
    changed["status"] = changed["status"].astype(object).copy()
    changed["status"][:, :, 5] = "failed"
    counts = np.full((film.sizes["task"], len(STEPS)), 8.0)
    counts[:, 5] = np.nan
    counted = changed.assign(prompts_measured=(("task", "checkpoint"), counts))
    counted.attrs["prompts"] = 1000  # at most
    task = str(film["task"].values[0])
    assert emergence(counted, task) == emergence(changed, task)


def test_duplicates_and_gaps_do_not_count(film):
    values = np.where(STEPS < 100, 0.03, 0.9)
    changed = with_accuracy(film, values)
    changed["status"] = changed["status"].astype(object).copy()
    changed["status"][:, :, int(np.flatnonzero(STEPS == 100)[0])] = "duplicate"
    result = emergence(changed, str(film["task"].values[0]))
    assert result.onset.step == 110


def test_intervals_are_those_of_the_fewest_prompts(film):
    width = {}
    for counts in ((4, 4), (100, 4), (100, 100)):
        measured = np.where(STEPS < 150, *counts)[None].astype(float)
        onset = emergence_of(
            film.assign(prompts_measured=(("task", "checkpoint"), measured)), truth(), 0.05
        ).onset
        width[counts] = onset.high - onset.low
    assert width[100, 4] == width[4, 4] > width[100, 100]


def test_half_of_the_rise_is_that_to_the_last_value(film):
    values = np.interp(STEPS, [0, 100, 200, 290], [0.0, 1.0, 0.4, 0.4])
    assert emergence_of(film, values, 1e-6).halfway.step == pytest.approx(20, abs=1)
