"""Numbers and lists as a reader expects them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cntbench.errors import listed as truncated

MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 2) -> str:
    """Format a number with a fixed count of decimals; NaN becomes a dash.

    Examples
    --------
    >>> number(-0.001), number(-1.5), number(float("nan"))
    ('0.00', '−1.50', '–')
    """
    return "–" if np.isnan(value) else f"{value:z.{digits}f}".replace("-", MINUS)


def with_error(value: float, error: float) -> str:
    """Format a value with its standard error.

    Examples
    --------
    >>> with_error(-5.293, 0.2)
    '−5.29 ± 0.20'
    """
    return number(value) if np.isnan(error) else f"{number(value)} ± {number(error)}"


def interval(value: float, low: float, high: float) -> str:
    """Format a value with its interval.

    Examples
    --------
    >>> interval(0.96, 0.94, 0.98)
    '0.96 [0.94, 0.98]'
    """
    return number(value) if np.isnan(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def p_value(value: float) -> str:
    """Format a p-value with three decimals.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.0248)
    ('< 0.001', '0.025')
    """
    return "< 0.001" if value < 0.001 else number(value, 3)


def listed(words: Iterable[str], most: int | None = None) -> str:
    """Join words as a sentence does; after the first ``most``, say how many more there are.

    Examples
    --------
    >>> listed(["zero", "mean", "resample"]), listed(["zero", "mean", "resample"], 2)
    ('zero, mean and resample', 'zero, mean and 1 more')
    """
    words = list(words)
    if most is not None and len(words) > most:
        return truncated(words, most)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, in the singular or plural.

    Examples
    --------
    >>> counted(1, "task"), counted(3, "task")
    ('1 task', '3 tasks')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
