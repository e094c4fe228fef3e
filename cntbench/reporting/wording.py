"""Numbers and lists as a reader expects them."""

from __future__ import annotations

import numpy as np

#: Of units, by powers of a thousand.
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
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
    """Format a value with its standard error, which says nothing where no prompt differs.

    Examples
    --------
    >>> with_error(-5.293, 0.2), with_error(1, 0)
    ('−5.29 ± 0.20', '1.00 on every prompt')
    """
    if error == 0:
        return f"{number(value)} on every prompt"
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


def quantity(value: float, unit: str) -> str:
    """Format an amount with three digits and the prefix of its unit.

    Examples
    --------
    >>> quantity(4.93e14, "FLOP"), quantity(6.45e9, "FLOP"), quantity(12, "FLOP")
    ('493 TFLOP', '6.45 GFLOP', '12 FLOP')
    """
    power = 0 if value < 1 else min(int(np.log10(float(f"{value:.3g}")) // 3), len(_PREFIXES) - 1)
    scaled = value / 1000**power
    text = f"{scaled:.3g}" if scaled < 1e3 else f"{scaled:,.0f}"
    return f"{text} {_PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """Format a time as people say it.

    Examples
    --------
    >>> duration(0.31), duration(84.04), duration(1380), duration(9000), duration(400_000)
    ('0.31 s', '84 s', '23 min', '2.5 h', '5 days')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86400:,.0f} days"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, in the singular or plural.

    Examples
    --------
    >>> counted(1, "task"), counted(3, "task")
    ('1 task', '3 tasks')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
