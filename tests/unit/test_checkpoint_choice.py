"""A choice of checkpoints: one rule for every command, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.films import random_film

from cntbench.comparison.command import _count
from cntbench.errors import CntbenchError
from cntbench.models.checkpoint_choice import choose, find
from cntbench.results.selection import indices_of
from cntbench.specs import choice_text

STEPS = [0, 8, 1000, 1200, 2000, 5000]
NAMES = ["step0", "step8", "checkpoint-1000", "checkpoint-1200", "checkpoint-2000", "last-step5000"]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", STEPS),
        (":", STEPS),
        ("1200", [1200]),
        ("step1200", [1200]),
        ("checkpoint-1200", [1200]),
        ("last-step5000", [5000]),
        ("5000, step0", [0, 5000]),
        ("8:2000", [8, 1000, 1200, 2000]),
        ("step8:checkpoint-1200", [8, 1000, 1200]),
        ("900:", [1000, 1200, 2000, 5000]),
        (":9", [0, 8]),
        ("0:5000:1000", [0, 1000, 2000, 5000]),
        ("1000::1000", [1000, 2000, 5000]),
        ("8:2000:992", [8, 1000]),
        ("count=2", [0, 5000]),
        ("count=99", STEPS),
        ("8:2000:count=3", [8, 1200, 2000]),
        ("0,count=1,1200:1200", [0, 1200]),
    ],
)
def test_a_choice_means_these_checkpoints(text, steps):
    assert [STEPS[index] for index in choose(text, NAMES, STEPS)] == steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7", "Nearest: 0, 8."),
        ("step1100", "Nearest: 1000, 1200."),
        ("last-step", "there is no checkpoint 'last-step'\nDid you mean 'last-step5000'? Write a"),
        ("final", "Write a checkpoint"),
        ("1:7", "Nearest: 0, 8."),
        ("5:1", "'5:1' begins after its end\nWrite 1:5."),
        ("5:1:2", "'5:1:2' begins after its end\nWrite 1:5:2."),
        ("9000::count=2", "no checkpoint is in '9000::count=2'\nNearest: 2000, 5000."),
        ("9000:", "no checkpoint is in '9000:'"),
        ("1:2:3:4", "is not a choice"),
        ("::count=0", "is not a choice"),
        ("0:9:0", "is not a choice"),
        ("a:b", "is not a choice"),
        ("count=x", "is not a choice"),
        ("0,,8", "there is no checkpoint ''"),
    ],
)
def test_what_is_no_choice_is_refused(text, says):
    with pytest.raises(CntbenchError) as caught:
        choose(text, NAMES, STEPS, where="--checkpoints")
    assert says in str(caught.value)
    assert "--checkpoints" in str(caught.value)
    assert "layer" not in str(caught.value)
    with pytest.raises(CntbenchError) as caught:
        choose(text, NAMES, STEPS)
    assert str(caught.value).startswith(caught.value.what)


def test_a_range_that_ends_before_the_first_checkpoint_has_none():
    with pytest.raises(CntbenchError, match=r"no checkpoint is in ':50'\nNearest: 80, 90\."):
        choose(":50", ["a", "b", "c"], [80, 90, 100])


def test_checkpoints_are_chosen_in_their_order():
    names, steps = [f"c{at}" for at in range(50)], [*range(50)]
    assert choose("40,1,count=2", names, steps) == [0, 1, 40, 49]


def test_the_names_of_checkpoints_may_have_commas_and_colons():
    names = ["lr=0.1,step1", "lr=0.1,step8", "step9", "0:1-step10"]
    assert choose("lr=0.1,step8, step9,0:1-step10", names, [1, 8, 9, 10]) == [1, 2, 3]


def test_layers_are_chosen_by_the_same_rule():
    layers, numbers = [f"L{i}" for i in range(6)], list(range(6))
    assert choose("0:2,L5", layers, numbers, noun="layer") == [0, 1, 2, 5]
    for text, missing in (("9", "'9'"), ("0:9", "9"), ("9:", "9"), ("4:7:2", "7")):
        with pytest.raises(CntbenchError, match=f"there is no layer {missing}") as caught:
            choose(text, layers, numbers, where="layers", noun="layer")
        assert caught.value.where == "layers"
        assert "The model has the layers 0 to 5." in str(caught.value)
    with pytest.raises(CntbenchError, match="there is no layer 'checkpoint-9'"):
        choose("checkpoint-9", layers, numbers, noun="layer")


@given(st.sets(st.integers(0, 10**6), min_size=1), st.integers(1, 30))
def test_so_many_are_chosen_with_both_ends(steps, count):
    steps = sorted(steps)
    choice = choose(f"count={count}", [f"c{step}" for step in steps], steps)
    assert len(choice) == min(count, len(steps))
    assert choice[0] == 0
    assert count == 1 or choice[-1] == len(steps) - 1


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (1200, "1200"),
        (np.int64(8), "8"),
        ([0, "step8"], "0,step8"),
        (np.array([0, 8]), "0,8"),
        (slice(1000, None), "1000:"),
        (slice(0, 5000, 1000), "0:5000:1000"),
        ("count=8", "count=8"),
        (1.5, 1.5),
        (True, True),
    ],
)
def test_python_writes_a_choice_as_it_likes(choice, text):
    assert choice_text(choice) == text


def test_no_checkpoints_are_no_choice():
    with pytest.raises(ValueError, match="must not be empty"):
        choice_text([])


def test_a_checkpoint_is_found_by_name_before_step():
    assert find("step5", ["step5", "other"], [9, 5]) == 0
    assert find("5", ["step5", "other"], [9, 5]) == 1
    assert find("7", NAMES, STEPS) is None


@pytest.mark.parametrize(
    "text", ["stage2-step8", "stage2-b-step8", "stage2-step8:", ":stage2-step8"]
)
def test_a_step_of_a_stage_is_no_step_of_another(text):
    names, steps = ["stage1-step8", "stage1-step40", "stage2-a-step8"], [8, 40, 48]
    with pytest.raises(CntbenchError, match="stage2"):
        choose(text, names, steps)
    assert find("stage2-b-step8", names, steps) is None
    assert choose("stage2-a-step8:, 8", names, steps) == [0, 2]


@pytest.mark.parametrize(("text", "count"), [("8", 8), (3, 3), ("step8", None), ("8:", None)])
def test_a_number_alone_says_how_many_are_compared(text, count):
    assert _count(text, "here") == count


def test_names_with_signs_of_choices_keep_their_order():
    names = [f"epoch={epoch}-step={40 * epoch}" for epoch in range(3)]
    film = random_film(names=["step0", "step40", "step80"]).assign_coords(checkpoint=names)
    assert indices_of(film, "checkpoint", ["epoch=2-step=80", "epoch=0-step=0"]) == [2, 0]
    assert indices_of(film, "checkpoint", ["epoch=2-step=80", "count=2"]) == [0, 2]
    with pytest.raises(CntbenchError, match="epoch=2-step=80"):
        indices_of(film, "checkpoint", ["epoch=2-step=80", "80"])
