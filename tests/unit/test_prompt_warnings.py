"""What a user is told of prompts that repeat others, or lack the token before every text."""

from __future__ import annotations

import warnings

import pytest
from support.models import random_model
from support.text import tokenizer_of
from tokenizers.processors import TemplateProcessing

import cntbench
from cntbench.errors import CntbenchNote

WORDS = ("When", "Mary", "and", "John", "went")
ROWS = [
    {"clean": "When Mary and John", "answer": "Mary", "wrong": "John"},
    {"clean": "When John and Mary", "answer": "John", "wrong": "Mary"},
]
BEGINNING = 6


def notes_of(rows, tokenizer, *, config_begins=None):
    """What is told while a model is measured on rows, whose config may name a beginning."""
    model = random_model("gpt2", layers=1)
    model.config.bos_token_id = config_begins
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CntbenchNote)
        cntbench.influence(model, ablation="zero", prompts=rows, tokenizer=tokenizer)
    return [str(note.message) for note in caught if note.category is CntbenchNote]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ([0, 1], []),
        ([0, 1, 0], ["1 of 3 prompts repeats another, and standard errors count each as a new"]),
        ([0, 1, 0, 1], ["2 of 4 prompts repeat others"]),
    ],
)
def test_repeated_prompts_are_counted(order, says):
    notes = notes_of([ROWS[i] for i in order], tokenizer_of(WORDS, unknown=5))
    assert len(notes) == len(says)
    assert all(text in note for text, note in zip(says, notes, strict=True))


def test_prompts_that_differ_in_their_twins_or_answers_are_no_repetitions():
    others = [ROWS[0] | {"wrong": "and"}, ROWS[0] | {"answer": "went"}]
    assert notes_of([ROWS[0], *others], tokenizer_of(WORDS, unknown=5)) == []
    twins = [ROWS[0] | {"corrupted": f"When {name} and John"} for name in ("went", "John")]
    assert notes_of(twins, tokenizer_of(WORDS, unknown=5)) == []


def test_prompts_without_the_token_before_every_text_are_told():
    tokenizer = tokenizer_of(WORDS, unknown=5)
    tokenizer.post_processor = TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", BEGINNING)]
    )
    for config_begins, remedy in (
        (BEGINNING, "; a task's file with bos = true puts it there"),
        (BEGINNING + 1, ", but the config's bos_token_id is 7: bos = true does not put it there"),
        (None, ", but the config's bos_token_id is None: bos = true does not put it there"),
    ):
        [note] = notes_of(ROWS, tokenizer, config_begins=config_begins)
        told = f"prompts without token {BEGINNING}, which the model's tokenizer puts before"
        assert told in note
        assert note.endswith(remedy)
    ids = [{"clean": [BEGINNING, 0, i, 2], "answer": i, "wrong": 4} for i in (1, 3)]
    assert notes_of(ids, tokenizer) == []
