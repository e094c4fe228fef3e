"""What is derived from a film: metrics, null models and roles, further groups of its file.

Null models and roles take most of the time. They are worked out part by part on several processes,
each part with a random stream of its own, and taken over from a result that was made of the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import cntbench.dynamics
from cntbench import plugins
from cntbench.dynamics.film import film_of
from cntbench.dynamics.groups import Cell, null_group, role_group
from cntbench.dynamics.null_summary import null_summary
from cntbench.dynamics.role_summary import role_summary
from cntbench.metrics._base import Metric
from cntbench.metrics._film import film_metrics
from cntbench.models.trajectory import Progress
from cntbench.parallel import parallel_map
from cntbench.prompts import seed_sequence
from cntbench.results.film import usable
from cntbench.results.storage import content_checksum

#: Variables of the root that films are made of.
_OF_FILMS = ["influence", "influence_se", "readout_value", "readout_se", "status"]
#: Attribute that says what null models and roles were made of.
MADE_OF = "made_of_sha256"
#: The part of a cell that is no null model's.
_ROLES = "roles"


@dataclass(frozen=True)
class DerivedPart:
    """One task by one ablation, held against one null model; or its roles.

    Parameters
    ----------
    cell, untrained
        What the film is made of.
    name
        The null model's, or ``roles``.
    metrics
        What the null model is held against: either those over time, or the others.
    over_time
        Which.
    seed, draws
        Of the study, and the number of draws.
    """

    cell: xr.Dataset
    untrained: xr.Dataset | None
    name: str
    metrics: tuple[str, ...]
    over_time: bool
    seed: int
    draws: int

    def work(self) -> dict[str, NDArray[np.float32]]:
        """Return the part's arrays by name, at the checkpoints that are usable in the cell."""
        film = film_of(self.cell, self.untrained)
        labels = [str(self.cell[dim].item()) for dim in ("task", "ablation")]
        rng = np.random.default_rng(
            seed_sequence(self.seed, *labels, self.name, int(self.over_time))
        )
        if self.name == _ROLES:
            return role_summary(film, rng, self.draws)
        return null_summary(film, self.name, self.metrics, rng, self.draws)


def derived(
    root: xr.Dataset,
    untrained: xr.Dataset | None,
    *,
    seed: int,
    draws: int,
    jobs: int,
    progress: Progress,
    earlier: xr.DataTree | None = None,
) -> dict[str, xr.Dataset]:
    """Return all groups that follow from a film.

    Parameters
    ----------
    root
        The film.
    untrained
        Influence in untrained models, dims ``task, ablation, seed, source, target``.
    seed
        Of the null models' draws.
    draws
        Number of draws from each null model; 0 leaves the group ``nulls`` out.
    jobs
        Processes.
    progress
        Told about every part.
    earlier
        A result whose null models and roles are taken over if they were made of the same.
    """
    groups = {"metrics": film_metrics(root["influence"], usable(root))}
    if untrained is not None:
        groups["untrained"] = untrained
    made_of = _checksum(root, groups, seed, draws)
    names = ["roles", *(["nulls"] if draws else [])]
    kept = {} if earlier is None else {name: earlier.children.get(name) for name in names}
    if kept and all(group and group.attrs.get(MADE_OF) == made_of for group in kept.values()):
        return groups | {n: group.to_dataset(inherit=False) for n, group in kept.items() if group}
    parts = list(_parts(root, untrained, seed, draws))
    cells: dict[str, list[Cell]] = {"roles": [], "nulls": []}
    progress("null models and roles", 0, len(parts))
    for done, arrays in enumerate(parallel_map(DerivedPart.work, parts, jobs=jobs)):
        part = parts[done]
        cells["roles" if part.name == _ROLES else "nulls"].append((part.cell, arrays))
        progress("null models and roles", done + 1, len(parts))
    groups["roles"] = role_group(root, cells["roles"])
    if draws:
        models = 0 if untrained is None else untrained.sizes["seed"]
        groups["nulls"] = null_group(root, groups["metrics"], cells["nulls"], models, draws)
    for name in names:
        groups[name].attrs |= {"draws": draws, "seed": seed, MADE_OF: made_of}
    return groups


def _parts(
    root: xr.Dataset, untrained: xr.Dataset | None, seed: int, draws: int
) -> Iterator[DerivedPart]:
    """Yield all there is to work out: of every cell with checkpoints, roles and null models."""
    kinds: dict[tuple[str, bool], list[str]] = {(_ROLES, False): []}
    for name, plugin in plugins.room("metric").items():
        metric: Metric = plugin.module.METRIC
        if draws and metric.null is not None:
            kinds.setdefault((metric.null, metric.over_time), []).append(name)
    for i, j in np.ndindex(root.sizes["task"], root.sizes["ablation"]):
        at = {"task": i, "ablation": j}
        cell = root[_OF_FILMS].isel(at)
        others = None if untrained is None else untrained.isel(at)
        if (cell["status"] == "ok").any():
            for (name, over_time), metrics in kinds.items():
                yield DerivedPart(cell, others, name, tuple(metrics), over_time, seed, draws)


def _checksum(root: xr.Dataset, groups: Mapping[str, xr.Dataset], seed: int, draws: int) -> str:
    """Return the SHA-256 of all that null models and roles depend on: numbers and code."""
    digest = hashlib.sha256()
    tree = xr.DataTree.from_dict({"/": root, **groups})
    digest.update(f"{content_checksum(tree)} {seed} {draws} {np.__version__}".encode())
    for path in sorted(Path(cntbench.dynamics.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
