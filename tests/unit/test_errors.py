"""Errors say what, where and what to do, and survive the way between processes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from cntbench.errors import (
    CheckpointError,
    CntbenchError,
    CntbenchNote,
    SpecError,
    StorageError,
    nearest,
    shown,
    unknown,
)
from cntbench.models.hub.revisions import in_order, named_steps


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        (None, None, "broken"),
        ("a.toml", None, "a.toml: broken"),
        (None, "mend it", "broken\nmend it"),
        ("a.toml", "mend it", "a.toml: broken\nmend it"),
    ],
)
def test_text(where, hint, text):
    error = CntbenchError("broken", where=where, hint=hint)
    assert str(error) == text
    assert error.args == (text,)


@pytest.mark.parametrize("kind", [CntbenchError, SpecError, CheckpointError, StorageError])
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_comes_back_whole_from_another_process(kind, again):
    error = again(kind("broken", where="a.toml", hint="mend it"))
    assert type(error) is kind
    assert (error.what, error.where, error.hint) == ("broken", "a.toml", "mend it")
    assert str(error) == "a.toml: broken\nmend it"


@pytest.mark.parametrize("kind", [SpecError, CheckpointError, StorageError])
def test_one_except_clause_catches_all(kind):
    assert issubclass(kind, CntbenchError)


@pytest.mark.parametrize(
    ("name", "allowed", "text"),
    [
        (
            "inducton",
            ["induction", "bigram"],
            "Did you mean 'induction'? Allowed: bigram, induction.",
        ),
        ("xyz", ["induction", "bigram"], "Allowed: bigram, induction."),
        ("x", [], "Nothing is available."),
        # The nearest of several close ones.
        ("mean_refrence", ["mean", "mean_reference"], "Did you mean 'mean_reference'?"),
    ],
)
def test_nearest(name, allowed, text):
    assert nearest(name, iter(allowed)).startswith(text)


def test_unknown_names_kind_name_match_and_place():
    error = unknown("task", "bigran", ["bigram", "induction"], where="study.toml")
    assert isinstance(error, SpecError)
    assert str(error) == (
        "study.toml: unknown task 'bigran'\nDid you mean 'bigram'? Allowed: bigram, induction."
    )


def test_what_json_cannot_say_is_shown_by_its_type():
    circular: list[object] = []
    circular.append(circular)
    assert shown({(1, 2): 3}) == "<dict>"
    assert shown(circular) == "<list>"


def test_a_warning_stands_at_the_users_line_however_deep_it_is_found():
    names = "stage1-step1000-tokens1B,stage2-step10-tokens2B"
    steps = named_steps(names, where="hub:a/b")
    with pytest.warns(CntbenchNote, match="steps of stage 2 count on") as told:
        in_order(steps, where="hub:a/b")
    [warning] = told
    assert (warning.filename, warning.category) == (__file__, CntbenchNote)
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[warning.lineno - 1]
    assert line.strip() == 'in_order(steps, where="hub:a/b")'
