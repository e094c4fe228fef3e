"""Scores of heads over training, and the onset of what they do."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from cntbench.results.schema import HEAD_SCORES
from cntbench.views.heads import head_scores

NAMES = tuple(f"step{step}" for step in (0, 1, 2, 4, 8))


def film(courses: dict[str, list[float]], score: str = "previous_token") -> xr.DataTree:
    dataset = random_film(names=NAMES)
    for name in HEAD_SCORES:
        dataset[name][...] = dataset[name] * 0
    for head, course in courses.items():
        dataset[score].loc[{"source": head}] = course
    return xr.DataTree(dataset)


@pytest.mark.parametrize(
    ("course", "onset"),
    [
        ([0.1, 0.2, 0.5, 0.7, 0.9], 2),
        ([0.6, 0.2, 0.7, 0.4, 0.9], 8),
        ([0.6, 0.6, 0.6, 0.6, 0.6], 0),
        ([0.1, 0.9, 0.9, 0.9, 0.4], np.nan),
        ([0.1, 0.9, np.nan, 0.9, 0.9], 1),
        ([np.nan] * 5, np.nan),
    ],
)
def test_the_onset_is_the_first_step_from_which_the_score_stays(course, onset):
    view = head_scores(film({"L0.H1": course}), "induction")
    assert view.head == ("L0.H0", "L0.H1", "L1.H0", "L1.H1")
    result = view.onset[view.score.index("previous_token"), 1]
    np.testing.assert_equal(result, onset)
    np.testing.assert_array_equal(view.value[1, :, 1], np.float32(course))
    assert np.isnan(np.delete(view.onset[1], 1)).all()


def test_failed_checkpoints_are_gaps_and_change_no_onset():
    tree = film({"L0.H0": [0.1, 0.9, 0.1, 0.9, 0.9]})
    dataset = tree.to_dataset()
    dataset["status"].loc[{"checkpoint": "step2"}] = "failed"
    view = head_scores(xr.DataTree(dataset), "induction")
    assert np.isnan(view.value[:, 2]).all()
    assert view.onset[1, 0] == 1


def test_the_foremost_do_something_clearest_first():
    tree = film({"L0.H1": [0.6] * 5, "L1.H0": [0.9] * 5, "L1.H1": [0.4] * 5})
    view = head_scores(tree, "induction")
    assert [view.head[i] for i in view.foremost(7)] == ["L1.H0", "L0.H1"]
    assert [view.head[i] for i in view.foremost(1)] == ["L1.H0"]


def test_copying_is_the_same_on_every_task():
    dataset = random_film(names=NAMES, tasks=("induction", "bigram"))
    values = [
        head_scores(xr.DataTree(dataset), task).value[HEAD_SCORES.index("copying")]
        for task in ("induction", "bigram")
    ]
    np.testing.assert_array_equal(*values)
