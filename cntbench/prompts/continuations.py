"""What is scored for right and wrong answers of one token or several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

import numpy as np

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompt, Tokens

#: Put before a text to find the tokens that it has after a word, and after another line.
A_WORD, A_BREAK = "a", "\n"
AnswerRule = Literal["first", "sum of log probabilities"]
"""What is scored for answers of several tokens; see `answered`."""


def tokens_after(language: Language, before: str, text: str) -> list[int]:
    """Return the tokens of a text that follows another one.

    If a token spans both, they are those that it has within a text, after a line break or a word.
    Many tokenizers put a space before a text that stands alone: of Llama 2, ``" Mary"`` after a
    word is one token, and ``"s"`` alone is the token of ``" s"``.
    """
    with suppress(CntbenchError):  # the two together are a word that the tokenizer does not know
        for head in (before, A_BREAK, A_WORD):
            head_tokens = language.encode(head) if head else []
            together = language.encode(head + text)
            count = len(head_tokens)
            if len(together) > count and together[:count] == head_tokens:
                return together[count:]
    return language.encode(text)


def are_told_apart(
    right: Sequence[Tokens], wrong: Sequence[Tokens], rule: AnswerRule | None
) -> bool:
    """Return whether `answered` can compare answers."""
    if rule == "sum of log probabilities":
        return not any(np.array_equal(a[: len(b)], b[: len(a)]) for a in right for b in wrong)
    return {int(answer[0]) for answer in right}.isdisjoint(int(answer[0]) for answer in wrong)


def answered(
    tokens: Tokens,
    right: Sequence[Tokens],
    wrong: Sequence[Tokens],
    rule: AnswerRule | None = None,
    *,
    reference: Tokens | None = None,
) -> Prompt:
    """Return a prompt whose next tokens are an answer.

    By ``"first"``, the first token of each answer is scored, at the prompt's last position. By
    ``"sum of log probabilities"``, the right answer follows the prompt and its twin, and all of its
    tokens are scored, each given those before it. It is compared with the wrong answer where the
    two part, given the tokens that they share: at the other positions, the decoy is the target
    itself. Without a rule, every answer is one token. Raises a `CntbenchError` if an answer has
    several tokens and no rule says which of them are scored, if several answers are right and not
    all have one token, or if a right and a wrong answer cannot be told apart.

    Parameters
    ----------
    tokens, reference
        The prompt and its corrupted twin, dims ``position``.
    right, wrong
        The tokens of each right answer, and of each wrong one.
    rule
        What is scored of answers of several tokens.
    """
    longest = max(len(answer) for answer in (*right, *wrong))
    if longest > 1 and rule is None:
        raise CntbenchError(
            f"an answer is {longest} tokens of this model, and one is needed",
            hint='Choose what to score: answer = "first" or "sum of log probabilities".',
        )
    if longest > 1 and rule == "sum of log probabilities":
        return _forced(tokens, right, wrong, reference)
    targets, decoys = ({int(answer[0]): None for answer in answers} for answers in (right, wrong))
    shared = sorted(targets.keys() & decoys.keys())
    if shared:
        raise CntbenchError(
            f"a right and a wrong answer begin with the same token {shared[0]}",
            hint='Choose others, or score all of their tokens: answer = "sum of log '
            'probabilities".',
        )
    scored = np.array([len(tokens) - 1])
    if len(targets) == len(decoys) == 1:
        return Prompt(tokens, scored, np.array([*targets]), np.array([*decoys]), reference)
    right_set, wrong_set = (np.array([[*ids]], dtype=np.int64) for ids in (targets, decoys))
    return Prompt(tokens, scored, right_set, wrong_set, reference)


def _forced(
    tokens: Tokens, right: Sequence[Tokens], wrong: Sequence[Tokens], reference: Tokens | None
) -> Prompt:
    """Return the prompt followed by its one right answer."""
    if len(right) > 1 or len(wrong) > 1:
        raise CntbenchError(
            f"{len(right)} answers are right and {len(wrong)} are wrong, and one of them has "
            "several tokens of this model",
            hint='Sets of answers need one token each, or answer = "first".',
        )
    [answer], [other] = right, wrong
    part = next(
        (i for i, pair in enumerate(zip(answer, other, strict=False)) if len({*pair}) > 1), None
    )
    if part is None:
        raise CntbenchError(
            "the right and the wrong answer do not differ before one of them ends",
            hint="Choose answers of which none is the beginning of the other.",
        )
    decoys = answer.copy()
    decoys[part] = other[part]
    return Prompt(
        tokens=np.concatenate([tokens, answer[:-1]]),
        scored=np.arange(len(tokens) - 1, len(tokens) + len(answer) - 1),
        targets=answer,
        decoys=decoys,
        reference=None if reference is None else np.concatenate([reference, answer[:-1]]),
        summed=True,
    )
