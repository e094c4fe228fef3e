"""Keys of specs and their allowed values, from the dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from numpydoc.docscrape import NumpyDocString
from pydantic import TypeAdapter

from cntbench import specs
from cntbench.dynamics.claim import ClaimSpec, ClaimTestSpec
from cntbench.models.planted import spec as planted
from generate.markdown import code, table, toml

SPECS = {
    "task": specs.TaskSpec,
    "ablation": specs.AblationSpec,
    "study": specs.StudySpec,
    "backbone": specs.BackboneSpec,
    "claim": ClaimSpec,
    "claim test": ClaimTestSpec,
    "planted circuit": planted.CircuitSpec,
    "planted random": planted.RandomEdges,
    "planted realistic": planted.Realistic,
    "planted trained": planted.Trained,
    "planted diagnostic": planted.DiagnosticSpec,
}


#: Keys that every spec has, for specs whose docstrings do not explain them.
SHARED = {
    "version": "Rises whenever the spec computes something else.",
    "summary": "One line for listings and tables.",
}


def keys(spec: Any) -> str:
    """Return a table of a spec's keys; empty if it has none."""
    schema = TypeAdapter(spec).json_schema()
    meanings = documented(spec)
    rows = [
        [
            code(field.name),
            allowed(schema, schema["properties"][field.name]),
            default(field),
            meaning,
        ]
        for field in dataclasses.fields(spec)
        for meaning in [meanings.get(field.name) or SHARED.get(field.name, "")]
    ]
    return table(["key", "allowed", "default", "meaning"], rows) if rows else ""


def documented(spec: Any) -> dict[str, str]:
    """Return the meaning of each key, from the docstring."""
    return {
        name.strip(): " ".join(parameter.desc)
        for parameter in NumpyDocString(spec.__doc__ or "")["Parameters"]
        for name in (parameter.name or parameter.type).split(",")
    }


def default(field: dataclasses.Field[Any]) -> str:
    """Return the default of a key."""
    if field.default is not dataclasses.MISSING:
        return "" if field.default is None else code(toml(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return code(toml(field.default_factory()))
    return "required"


_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "`true`, `false`",
    "array": "array",
    "object": "table",
}


def allowed(schema: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema allows."""
    if "$ref" in about:
        return allowed(schema, schema["$defs"][about["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in about:
        return " or ".join(
            allowed(schema, option) for option in about["anyOf"] if option != {"type": "null"}
        )
    if "enum" in about or "const" in about:
        return code(*(toml(option) for option in about.get("enum", [about.get("const")])))
    text = _TYPES.get(about.get("type", ""), "any")
    if about.get("type") == "array" and "items" in about:
        text += f" of {allowed(schema, about['items'])}"
    elif about.get("type") == "array" and "prefixItems" in about:
        text = f"[{', '.join(allowed(schema, option) for option in about['prefixItems'])}]"
    ends = [
        f"{word} {_number(about[key])}"
        for key, word in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in about
    ]
    return " ".join([text, ", ".join(ends)]).strip()


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def dynamics() -> str:
    """Return the tables of all kinds of a planted circuit's dynamics."""
    return "\n".join(
        f"`kind = {toml(name)}`: {(kind.__doc__ or '').splitlines()[0]}\n\n{keys(kind)}"
        for name, kind in planted.KINDS.items()
    )


def _of(spec: Any) -> Callable[[], str]:
    return lambda: keys(spec)


GENERATED: dict[str, Callable[[], str]] = {
    **{f"keys of {name}": _of(spec) for name, spec in SPECS.items()},
    "keys of planted dynamics": dynamics,
}
