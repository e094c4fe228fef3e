"""A backbone: its spec, and the rule with the parameters of the spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.errors import unknown
from cntbench.files.output import visible
from cntbench.plugins import spec_folders
from cntbench.plugins.folders import folders_in_use
from cntbench.specs import BackboneSpec, build, read_toml


class Rule(Protocol):
    """A rule with its parameters."""

    def keep(self, weights: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each edge is kept.

        Parameters
        ----------
        weights
            Dims ``…, source, target``; NaN where an edge is not feasible.
        """
        ...


@dataclass(frozen=True)
class Backbone:
    """A backbone spec with its rule."""

    name: str
    path: Path
    spec: BackboneSpec
    rule: Rule

    @classmethod
    def read(cls, path: Path) -> Backbone:
        """Read a backbone's file, or raise a `SpecError`."""
        where = str(path)
        spec = build(BackboneSpec, read_toml(path), where=where)
        module = plugins.find("backbone rule", spec.rule, where=where)
        rule = build(module.Parameters, spec.parameters, where=where, prefix="parameters.")
        return cls(path.stem, path, spec, rule)


def backbone(name: str, *, where: str | None = None) -> Backbone:
    """Return a backbone, shipped or from a user's folder, by its name.

    Raises a `SpecError` if there is no such backbone; it names the nearest match. ``where`` is the
    file with the name.
    """
    files = {
        path.stem: path
        for folder in (*spec_folders(), *(plugin_folder.path for plugin_folder in folders_in_use()))
        for path in visible(folder, "backbones/*.toml")
    }
    if name not in files:
        raise unknown("backbone", name, files, where=where)
    return Backbone.read(files[name])
