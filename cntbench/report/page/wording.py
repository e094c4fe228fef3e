"""Numbers and lists as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many decimals, and a dash for NaN.

    Examples
    --------
    >>> number(-0.001), number(-1.5), number(float("nan"))
    ('0.00', '−1.50', '–')
    """
    return "–" if np.isnan(value) else f"{value:z.{digits}f}".replace("-", MINUS)


def with_error(value: float, error: float) -> str:
    """Return a value with its standard error.

    Examples
    --------
    >>> with_error(-5.293, 0.2)
    '−5.29 ± 0.20'
    """
    return number(value) if np.isnan(error) else f"{number(value)} ± {number(error)}"


def interval(value: float, low: float, high: float) -> str:
    """Return a value with its interval.

    Examples
    --------
    >>> interval(0.96, 0.94, 0.98)
    '0.96 [0.94, 0.98]'
    """
    return number(value) if np.isnan(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def p_value(value: float) -> str:
    """Return a p-value with three decimals.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.0248)
    ('< 0.001', '0.025')
    """
    return "< 0.001" if value < 0.001 else number(value, 3)


def listed(words: Iterable[str]) -> str:
    """Return words as a list in a sentence.

    Examples
    --------
    >>> listed(["zero", "mean", "resample"])
    'zero, mean and resample'
    """
    found = list(words)
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def few(words: Sequence[str], most: int = 4) -> str:
    """Return the first words of a list, and how many more there are.

    Examples
    --------
    >>> few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    if len(words) <= most:
        return listed(words)
    return f"{', '.join(words[:most])} and {len(words) - most} more"


def counted(count: int, thing: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> counted(1, "task"), counted(3, "task")
    ('1 task', '3 tasks')
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"
