"""How many checkpoints and untrained models could not be measured, in correct English."""

from __future__ import annotations

import pytest

from cntbench.reporting.audit import failures
from cntbench.results.failure import Failure

ONE, TWO = ["step8"], ["step8", "step64"]
MODELS = ["untrained model 1 of 20", "untrained model 2 of 20"]


@pytest.mark.parametrize(
    ("names", "beginning"),
    [
        (ONE, "1 checkpoint could not"),
        (TWO, "2 checkpoints could not"),
        (MODELS[:1], "1 untrained model could not"),
        (ONE + MODELS, "1 checkpoint and 2 untrained models could not"),
    ],
)
def test_what_could_not_be_measured_is_counted_by_its_kind(names, beginning):
    text = failures(dict.fromkeys(names, Failure("failed", "why")), "try again")
    assert text.splitlines()[0] == f"{beginning} be measured; try again:"
