"""Metadata in files: the version that wrote them, and the meaning of their variables.

xarray labels plots with ``long_name`` and ``units``.
"""

from __future__ import annotations

__version__ = "0.1.0"


def described(name: str, meaning: str, units: str | None = None) -> dict[str, str]:
    """Return ``long_name``, the name in words; ``comment``, its meaning; and ``units``, if any.

    Examples
    --------
    >>> described("p_value", "chance of such a value", "1")
    {'long_name': 'p value', 'comment': 'chance of such a value', 'units': '1'}
    """
    attributes = {"long_name": name.replace("_", " "), "comment": meaning}
    return attributes if units is None else {**attributes, "units": units}
