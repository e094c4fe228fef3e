"""The origin of a result: spec, hashes, versions, and the checkpoints that are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from cntbench.files.parsing import parse_json
from cntbench.results.integrity import Audited, audit_results

#: Attributes that have their own fields in `Provenance`.
_APART = ("spec", "study_spec", "library_versions", "history")


@dataclass(frozen=True)
class Provenance:
    """The origin of a result.

    Parameters
    ----------
    command
        The command that reproduces it; empty if unknown.
    attributes
        Further attributes of the file, by name, in its order.
    versions
        Of the libraries that made it, by name.
    spec, study_spec
        What was measured, as indented JSON; empty if unknown.
    checkpoint
        All checkpoints, with their hashes and status.
    """

    command: str
    attributes: Mapping[str, str]
    versions: Mapping[str, str]
    spec: str
    study_spec: str
    checkpoint: tuple[Audited, ...]

    @property
    def left_out(self) -> tuple[Audited, ...]:
        """Checkpoints that are missing, failed, or have the weights of another."""
        return tuple(row for row in self.checkpoint if row.status != "ok")


def provenance(tree: xr.DataTree) -> Provenance:
    """Return the origin of a result."""
    root = tree.to_dataset(inherit=False)
    attributes = {str(name): str(value) for name, value in root.attrs.items()}
    try:
        versions = parse_json(attributes.get("library_versions", "{}"))
    except ValueError:
        versions = {}
    return Provenance(
        command=attributes.get("history", ""),
        attributes={name: text for name, text in attributes.items() if name not in _APART},
        versions={str(name): str(version) for name, version in versions.items()},
        spec=_indented(attributes.get("spec", "")),
        study_spec=_indented(attributes.get("study_spec", "")),
        checkpoint=tuple(audit_results(root)),
    )


def _indented(text: str) -> str:
    """Return JSON with a line for each key; other text is returned as it is."""
    try:
        return json.dumps(parse_json(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
