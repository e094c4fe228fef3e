"""A user's own prompts: the rows of a JSONL, CSV or Parquet file.

A row has `clean` and `answer`, and optionally `corrupted` and `wrong`: text, or token ids. The
answer is predicted at the last position. Without a wrong answer, that of the next row with another
answer is the decoy. Answers may be sets: lists of texts, or of lists of token ids. With `scored`, a
list of positions, negative ones from the end, `answer` and `wrong` are lists of one token for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cntbench.errors import CntbenchError, in_file
from cntbench.prompts import Language, Prompt, Tokens
from cntbench.prompts.answers import answer_tokens, refuse_unclear, several_tokens, tokens_of
from cntbench.prompts.columns import Key, cell, choose_columns
from cntbench.prompts.continuations import (
    A_BREAK,
    A_WORD,
    AnswerRule,
    answered,
    are_told_apart,
)
from cntbench.prompts.frames import fingerprint
from cntbench.prompts.tables import Row, read_bytes, rows_of
from cntbench.specs import spec

#: Text of a file needs a model with a tokenizer.
NEEDS_TEXT = True


@spec
class Parameters:
    """Parameters of the generator.

    Parameters
    ----------
    path
        The file, relative to the task's; its suffix gives the format: ``.jsonl``, ``.csv``,
        ``.parquet``.
    columns
        Names of the columns for ``clean``, ``corrupted``, ``answer``, ``wrong`` and ``scored``, if
        they have others. Also the path of a nested column, ``metadata.subject``; one element of a
        list, ``choices.label[answerKey]``; or text filled from columns, ``" {metadata.subject}"``.
    unusable
        Whether a row that cannot be used, or whose twin has another length, is an error or skipped.
    answer
        What is scored for answers of several tokens: ``"first"``, their first token, or ``"sum of
        log probabilities"``, all of them. Without it, every answer is one token.
    """

    path: Annotated[str, Field(min_length=1)]
    columns: dict[Key, str] = field(default_factory=dict)
    unusable: Literal["refuse", "skip"] = "refuse"
    answer: AnswerRule | None = None

    def at(self, folder: Path) -> PromptTable:
        """Return the file, its path relative to a folder; it is read when it is needed."""
        return PromptTable(str(folder / self.path), self.columns, self.unusable, self.answer)


@dataclass(frozen=True)
class PromptTable:
    """Prompts in the rows of a table: of a file, which is read once, or ``given`` in memory.

    ``where`` is the file, or their origin for messages; `Parameters` explains the others.
    """

    where: str
    columns: Mapping[Key, str] = field(default_factory=dict)
    unusable: Literal["refuse", "skip"] = "refuse"
    answer: AnswerRule | None = None
    given: Sequence[Row] = ()

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file, or of the rows in memory."""
        return fingerprint(self.given) if self.given else read_bytes(Path(self.where))

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows."""
        return self.given or rows_of(self.content, Path(self.where))

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def prompts(self, language: Language, count: int) -> list[Prompt]:
        """Return the prompts of the first rows, ``count`` at most.

        Raises a `CntbenchError` if a column is not there, or a row cannot be used; it names file,
        line and key.
        """
        columns = choose_columns(self.rows, self.columns, self.where)
        prompts: list[Prompt] = []
        problem: CntbenchError | None = None
        for number in range(len(self.rows)):
            if len(prompts) == count:
                break
            try:
                prompt = self._prompt(number, language, columns)
            except CntbenchError as error:
                if self.unusable == "refuse":
                    raise
                problem = problem or error
                continue
            twin = prompt.reference
            if self.unusable == "refuse" or twin is None or len(twin) == len(prompt.tokens):
                prompts.append(prompt)
        if not prompts:
            raise problem or CntbenchError(
                "has no row whose clean and corrupted text are equally long", where=self.where
            )
        return prompts

    def _prompt(self, number: int, language: Language, columns: Mapping[Key, str]) -> Prompt:
        row = self.rows[number]
        clean = _text(row, "clean", columns, language)
        if "scored" in columns:
            twin = _text(row, "corrupted", columns, language) if "corrupted" in columns else None
            return self._at_positions(row, language, columns, clean, twin)
        text = cell(row, "clean", columns["clean"])
        right = self._answers(row, "answer", columns, language, text)
        if "wrong" in columns:
            wrong = self._answers(row, "wrong", columns, language, text)
        else:
            wrong = self._other_answers(number, right, language, columns)
        twin = _text(row, "corrupted", columns, language) if "corrupted" in columns else None
        with in_file(f"{row.where}: answer"):
            prompt = answered(clean, right, wrong, self.answer, reference=twin)
        _check_room(len(prompt.tokens), language, f"{row.where}: clean")
        return replace(prompt, origin=row.where)

    def _at_positions(
        self,
        row: Row,
        language: Language,
        columns: Mapping[Key, str],
        clean: Tokens,
        twin: Tokens | None,
    ) -> Prompt:
        """Return a prompt of which several positions are scored."""
        if self.answer is not None:
            raise CntbenchError(
                f"answer = {self.answer!r} is for one answer, and positions are given",
                where=f"{row.where}: scored",
                hint="Leave out one of the two.",
            )
        scored = _positions(row, columns["scored"], len(clean))
        text = cell(row, "clean", columns["clean"])
        right, wrong = (
            _one_for_each(scored, row, key, columns, language, text) for key in ("answer", "wrong")
        )
        if np.array_equal(right, wrong):
            raise CntbenchError(
                "has the right token at every scored position",
                where=f"{row.where}: wrong",
                hint="Choose another one at one position or more.",
            )
        return Prompt(clean, scored, right, wrong, twin, row.where)

    def _answers(
        self, row: Row, key: Key, columns: Mapping[Key, str], language: Language, clean: Any
    ) -> list[Tokens]:
        """Return the tokens of a row's answer, or set of answers, as they follow a prompt."""
        where = f"{row.where}: {key}"
        answers = cell(row, key, columns[key])
        is_set = isinstance(answers, list) and any(type(answer) is not int for answer in answers)
        read = answer_tokens if self.answer is None else several_tokens
        before = clean if isinstance(clean, str) else A_BREAK
        tokens = []
        for answer in answers if is_set else [answers]:
            refuse_unclear(answer, clean, columns[key], where)
            tokens.append(read(answer, language, where, before))
        return tokens

    def _other_answers(
        self, number: int, right: list[Tokens], language: Language, columns: Mapping[Key, str]
    ) -> list[Tokens]:
        """Return the answers of the next row with other ones; the first row follows the last."""
        clean = cell(self.rows[number], "clean", columns["clean"])
        for row in [*self.rows[number + 1 :], *self.rows[:number]]:
            try:
                others = self._answers(row, "answer", columns, language, clean)
            except CntbenchError:
                if self.unusable == "refuse":
                    raise
                continue
            if are_told_apart(right, others, self.answer):
                return others
        raise CntbenchError(
            "is missing, and no other row has an answer to use instead",
            where=f"{self.rows[number].where}: wrong",
            hint="Add a wrong answer, for the logit difference.",
        )


def _text(row: Row, key: Key, columns: Mapping[Key, str], language: Language) -> Tokens:
    where = f"{row.where}: {key}"
    tokens = tokens_of(cell(row, key, columns[key]), language, where)
    _check_room(len(tokens), language, where)
    return tokens


def _positions(row: Row, column: str, length: int) -> Tokens:
    """Return the scored positions of a prompt, counted from its start."""
    where = f"{row.where}: scored"
    places = cell(row, "scored", column)
    if not (isinstance(places, list) and places and all(type(at) is int for at in places)):
        raise CntbenchError(
            f"is not a list of positions: {places!r}",
            where=where,
            hint="Write a list such as [3, -1]; the last position is -1.",
        )
    from_start = [at + length if at < 0 else at for at in places]
    outside = from_start[0] < 0 or from_start[-1] >= length
    if outside or any(a >= b for a, b in pairwise(from_start)):
        raise CntbenchError(
            f"{places!r} are not ascending positions of a prompt of {length} tokens",
            where=where,
            hint="The first position is 0, the last -1; the next token is predicted at each.",
        )
    return np.array(from_start)


def _one_for_each(
    scored: Tokens, row: Row, key: Key, columns: Mapping[Key, str], language: Language, text: Any
) -> Tokens:
    """Return the one token of an answer at each of the scored positions."""
    where = f"{row.where}: {key}"
    if key not in columns:
        raise CntbenchError("is missing", where=where, hint="Add a wrong token for each.")
    answers = cell(row, key, columns[key])
    if not isinstance(answers, list) or len(answers) != len(scored):
        raise CntbenchError(
            f"is not one token for each of {len(scored)} scored positions: {answers!r}", where=where
        )
    for answer in answers:
        refuse_unclear(answer, text, columns[key], where)
    return np.concatenate([answer_tokens(answer, language, where, A_WORD) for answer in answers])


def _check_room(length: int, language: Language, where: str) -> None:
    if language.context is not None and length > language.context:
        raise CntbenchError(
            f"is {length} tokens long, and the model's context has room for {language.context}",
            where=where,
            hint="Shorten the prompt, or use a model with a longer context.",
        )
