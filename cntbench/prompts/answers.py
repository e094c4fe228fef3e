"""The tokens of answers in a table's cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Tokens
from cntbench.prompts.continuations import tokens_after
from cntbench.prompts.tables import ID_COLUMNS


def tokens_of(cell: Any, language: Language, where: str, before: str = "") -> Tokens:
    """Return the tokens of a cell, text or a list of token ids, dims ``position``.

    A text has the tokens that it has after the text ``before``. Raises a `CntbenchError` if it is
    something else, empty, text that the model has no tokenizer for, or has a token outside the
    vocabulary; ``where`` is file, line and key.
    """
    if isinstance(cell, str):
        _refuse_halves(cell, where)
        try:
            tokens = tokens_after(language, before, cell) if cell else []
        except CntbenchError as error:
            raise CntbenchError(error.what, where=where, hint=error.hint) from None
    elif isinstance(cell, list) and all(type(token) is int for token in cell):
        tokens = cell
    else:
        raise CntbenchError(
            f"is neither text nor token ids: {cell!r}",
            where=where,
            hint="Write text, or a list of token ids such as [464, 3290].",
        )
    if not tokens:
        raise CntbenchError("has no tokens", where=where)
    size = language.size
    outside = [token for token in tokens if token < 0 or (size is not None and token >= size)]
    if outside:
        raise CntbenchError(
            f"token {outside[0]} is outside the vocabulary"
            + ("" if size is None else f" of {size} tokens"),
            where=where,
            hint="Use the tokens, or the tokenizer, of the model that is measured.",
        )
    return np.array(tokens, dtype=np.int64)


def several_tokens(cell: Any, language: Language, where: str, before: str = "") -> Tokens:
    """Return the tokens of an answer, text or one token id or a list of them, dims ``position``."""
    return tokens_of([int(cell)] if _is_whole(cell) else cell, language, where, before)


def answer_tokens(cell: Any, language: Language, where: str, before: str = "") -> Tokens:
    """Return the only token of an answer, dims ``scored``, or raise a `CntbenchError`."""
    tokens = several_tokens(cell, language, where, before)
    if len(tokens) == 1:
        return tokens
    hint = (
        "Choose an answer that is one token of this model, or say what is scored of several: "
        'answer = "first" or "sum of log probabilities" (a parameter of the task).'
    )
    if isinstance(cell, str):
        spaced = cell[1:] if cell.startswith(" ") else f" {cell}"
        if spaced and len(tokens_after(language, before, spaced)) == 1:
            how = "Without the" if cell.startswith(" ") else "With a"
            hint = f"{how} space before it, {spaced!r}, it is one."
    raise CntbenchError(
        f"{cell!r} is {len(tokens)} tokens of this model, and one is needed", where=where, hint=hint
    )


def refuse_unclear(cell: Any, clean: Any, column: str, where: str) -> None:
    """Raise a `CntbenchError` for a number as an answer if it may be a text or a token id.

    It is a token id in a column of ids, whose name ends with ``_idx`` or ``_ids``, and beside a
    prompt of token ids; as text, it stands beside text.
    """
    if isinstance(clean, str):
        unclear = _is_whole(cell) and not column.endswith(ID_COLUMNS)
    else:
        unclear = isinstance(cell, str) and cell.strip().isdecimal()
    if unclear:
        number = int(cell)
        raise CntbenchError(
            f"{cell!r} beside a prompt of {'text' if isinstance(clean, str) else 'token ids'} may "
            "be text or a token id",
            where=where,
            hint=f'Write "{number}" beside a prompt of text for the text, [{number}] for the token '
            "id.",
        )


def _is_whole(cell: Any) -> bool:
    # An empty cell makes pandas write the token ids of the whole column as 464.0.
    return type(cell) is int or (type(cell) is float and cell.is_integer())


def _refuse_halves(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CntbenchError(
            f"has half of a character, {text[error.start]!r}",
            where=where,
            hint="Write the character itself, or both of its halves (surrogates).",
        ) from None
