"""From the cell of an answer to its token."""

from __future__ import annotations

from typing import Any

import numpy as np

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Tokens


def tokens_of(cell: Any, language: Language, where: str) -> Tokens:
    """Return the tokens of a cell, text or a list of token ids, dims ``position``.

    Raises
    ------
    CntbenchError
        If it is something else, empty, text that the model has no tokenizer for, or has a token
        outside the vocabulary; ``where`` is file, line and key.
    """
    if isinstance(cell, str):
        try:
            tokens = language.encode(cell)
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


def several_tokens(cell: Any, language: Language, where: str) -> Tokens:
    """Return the tokens of an answer, text or one token id or a list of them, dims ``position``.

    Raises
    ------
    CntbenchError
        As `tokens_of`.
    """
    return tokens_of([cell] if type(cell) is int else cell, language, where)


def answer_tokens(cell: Any, language: Language, where: str) -> Tokens:
    """Return the tokens of an answer, text or token ids, dims ``scored``: exactly one.

    Raises
    ------
    CntbenchError
        As `tokens_of`, or if the answer is not a single token.
    """
    tokens = several_tokens(cell, language, where)
    if len(tokens) == 1:
        return tokens
    hint = (
        "Choose an answer that is one token of this model, or say what is scored of several: "
        'answer = "first" or "sum of log probabilities" (a parameter of the task).'
    )
    if isinstance(cell, str) and not cell.startswith(" ") and len(language.encode(f" {cell}")) == 1:
        hint = f"With a space before it, {' ' + cell!r}, it is one."
    raise CntbenchError(
        f"{cell!r} is {len(tokens)} tokens of this model, and one is needed", where=where, hint=hint
    )
