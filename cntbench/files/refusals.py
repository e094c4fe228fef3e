"""Errors of pydantic in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cntbench.errors import nearest

#: What a value must do, by pydantic's type of error; names in braces are from its context.
_MUST = {
    "greater_than_equal": "be {ge} or more",
    "greater_than": "be more than {gt}",
    "less_than_equal": "be {le} or less",
    "less_than": "be less than {lt}",
    "finite_number": "be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "be a whole number"),
    "int_parsing_size": "have fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), "be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "be true or false"),
    "string_type": "be text",
    "string_unicode": "be Unicode text",
    "string_too_short": "have {min_length} or more characters",
    "string_too_long": "have {max_length} or fewer characters",
    **dict.fromkeys(("tuple_type", "list_type"), "be an array"),
    **dict.fromkeys(("dict_type", "dataclass_type"), "be a table"),
    "too_short": "have {min_length} or more elements",
    "too_long": "have {max_length} or fewer elements",
}
#: How Python names the types of TOML.
_PYTHON = {
    "be true or false": "be True or False",
    "be an array": "be a list",
    "be a table": "be a dict",
}


def allowed(problem: Mapping[str, Any], *, python: bool = False) -> str:
    """Return what is allowed in place of a value that pydantic refuses, in a sentence.

    Parameters
    ----------
    problem
        One of the ``errors()`` of a ``pydantic.ValidationError``.
    python
        Whether to name types as Python does, not TOML.

    Examples
    --------
    >>> allowed({"type": "greater_than_equal", "ctx": {"ge": 1}, "input": 0, "msg": "…"})
    'It must be 1 or more.'
    """
    context = {key: _plain(value) for key, value in problem.get("ctx", {}).items()}
    if choices := context.get("expected"):
        names = choices.replace(" or ", ", ").split(",")
        return nearest(str(problem["input"]), [name.strip("' ") for name in names])
    if context.get("min_length") == 1:
        return "It must not be empty."
    if must := _MUST.get(problem["type"]):
        return f"It must {(_PYTHON.get(must, must) if python else must).format(**context)}."
    message = str(problem["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{message[:1].upper()}{message[1:]}."


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound
