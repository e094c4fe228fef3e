"""A user's own prompts: the rows of a JSONL, CSV or Parquet file.

A row has `clean` and `answer`, and optionally `corrupted` and `wrong`: text, or token ids. The
answer is predicted at the last position. Without a wrong answer, that of the next row with another
answer is the decoy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompt, Tokens
from cntbench.prompts.answers import answer_tokens, tokens_of
from cntbench.prompts.columns import Key, cell, choose_columns
from cntbench.prompts.tables import Row, fingerprint, read_bytes, rows_of
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
        Names of the columns for ``clean``, ``corrupted``, ``answer`` and ``wrong``, if they have
        others. Also the path of a nested column, ``metadata.subject``; one element of a list,
        ``choices.label[answerKey]``; or text filled from columns, ``" {metadata.subject}"``.
    unusable
        Whether a row that cannot be used, or whose twin has another length, is an error or skipped.
    """

    path: Annotated[str, Field(min_length=1)]
    columns: dict[Key, str] = field(default_factory=dict)
    unusable: Literal["refuse", "skip"] = "refuse"

    def at(self, folder: Path) -> PromptTable:
        """Return the file, its path relative to a folder; it is read when it is needed."""
        return PromptFile(str(folder / self.path), self.columns, self.unusable)


@dataclass(frozen=True)
class PromptTable:
    """Prompts in the rows of a table.

    Parameters
    ----------
    where
        Where they come from, for messages.
    columns, unusable
        See `Parameters`.
    given
        The rows, if they are in memory.
    """

    where: str
    columns: Mapping[Key, str] = field(default_factory=dict)
    unusable: Literal["refuse", "skip"] = "refuse"
    given: Sequence[Row] = ()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows."""
        return self.given

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(fingerprint(self.rows)).hexdigest()

    def prompts(self, language: Language, count: int) -> list[Prompt]:
        """Return the prompts of the first rows, ``count`` at most.

        Raises
        ------
        CntbenchError
            If a column is not there, or a row cannot be used; it names file, line and key.
        """
        columns = choose_columns(self.rows, self.columns, self.where)
        found: list[Prompt] = []
        problem: CntbenchError | None = None
        for number in range(len(self.rows)):
            if len(found) == count:
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
                found.append(prompt)
        if not found:
            raise problem or CntbenchError(
                "has no row whose clean and corrupted text are equally long", where=self.where
            )
        return found

    def _prompt(self, number: int, language: Language, columns: Mapping[Key, str]) -> Prompt:
        row = self.rows[number]
        clean = _text(row, "clean", columns, language)
        answer = _answer(row, "answer", columns, language)
        return Prompt(
            tokens=clean,
            scored=np.array([len(clean) - 1]),
            targets=answer,
            decoys=_answer(row, "wrong", columns, language)
            if "wrong" in columns
            else self._other_answer(number, answer, language, columns),
            reference=_text(row, "corrupted", columns, language)
            if "corrupted" in columns
            else None,
            origin=row.where,
        )

    def _other_answer(
        self, number: int, answer: Tokens, language: Language, columns: Mapping[Key, str]
    ) -> Tokens:
        """Return the answer of the next row that has another one, the first after the last."""
        for row in [*self.rows[number + 1 :], *self.rows[:number]]:
            other = _answer(row, "answer", columns, language)
            if not np.array_equal(other, answer):
                return other
        raise CntbenchError(
            "is missing, and no other row has another answer that could stand for it",
            where=f"{self.rows[number].where}: wrong",
            hint="Add a wrong answer, for the logit difference.",
        )


@dataclass(frozen=True)
class PromptFile(PromptTable):
    """Prompts in a file, which is read once."""

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file."""
        return read_bytes(Path(self.where))

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows of the file."""
        return rows_of(self.content, Path(self.where))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()


def _text(row: Row, key: Key, columns: Mapping[Key, str], language: Language) -> Tokens:
    where = f"{row.where}: {key}"
    tokens = tokens_of(cell(row, key, columns[key]), language, where)
    if language.context is not None and len(tokens) > language.context:
        raise CntbenchError(
            f"is {len(tokens)} tokens long, and the model's context has room for "
            f"{language.context}",
            where=where,
            hint="Shorten the prompt, or use a model with a longer context.",
        )
    return tokens


def _answer(row: Row, key: Key, columns: Mapping[Key, str], language: Language) -> Tokens:
    return answer_tokens(cell(row, key, columns[key]), language, f"{row.where}: {key}")
