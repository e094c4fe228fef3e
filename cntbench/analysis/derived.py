"""Derived groups of a film: metrics, null models and roles.

Null models and roles take most of the time. They are computed in parts on several processes, each
part with a random stream of its own, and reused from a result that was computed from the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.analysis.reuse import MADE_OF, made_of, reusable
from cntbench.dynamics.film import Cell, film_of
from cntbench.dynamics.null_summary import null_group, null_summary
from cntbench.dynamics.role_summary import role_group, role_summary, with_gatekeepers
from cntbench.metrics._base import Metric
from cntbench.metrics._film import film_metrics
from cntbench.parallel import Progress
from cntbench.parallel.processes import parallel_map
from cntbench.plugins import own_sources, sources_attribute
from cntbench.prompts import seed_sequence
from cntbench.results.film import usable
from cntbench.results.tree import content_checksum

#: Variables of the root that `film_of` uses.
FILM_VARIABLES = ["influence", "influence_se", "readout_value", "readout_se", "status"]
Part = TypeVar("Part")
Result = TypeVar("Result")

#: Name of the part of a cell that holds its roles.
_ROLES = "roles"


@dataclass(frozen=True)
class NullDraws:
    """How null models are drawn."""

    seed: int
    count: int
    jobs: int
    progress: Progress

    def each(
        self, work: Callable[[Part], Result], parts: Sequence[Part], name: str
    ) -> Iterator[Result]:
        """Yield the result of each part of some work, in order, and report progress."""
        self.progress(name, 0, len(parts))
        for number, result in enumerate(parallel_map(work, parts, jobs=self.jobs), start=1):
            yield result
            self.progress(name, number, len(parts))


@dataclass(frozen=True)
class DerivedPart:
    """One task by one ablation compared with one null model, or its roles.

    Parameters
    ----------
    name
        Of the null model, or ``roles``.
    metrics, over_time
        The metrics to compare, and whether these are the ones over time.
    """

    cell: xr.Dataset
    untrained: xr.Dataset | None
    name: str
    metrics: tuple[str, ...]
    over_time: bool
    seed: int
    draws: int

    @property
    def drawn(self) -> int:
        """Number of draws: fewer than asked for if the null model has a limited number of them."""
        module = plugins.find("null model", self.name)
        if not hasattr(module, "everything"):
            return self.draws
        return min(self.draws, len(module.everything(film_of(self.cell, self.untrained))))

    def work(self) -> dict[str, NDArray[np.float32]]:
        """Return the part's arrays by name, at the usable checkpoints of the cell."""
        film = film_of(self.cell, self.untrained)
        labels = [str(self.cell[dim].item()) for dim in ("task", "ablation")]
        # Films share these draws, which are never pooled; those of verdicts are each film's own.
        rng = np.random.default_rng(
            seed_sequence(self.seed, *labels, self.name, int(self.over_time))
        )
        if self.name == _ROLES:
            return role_summary(film, rng, self.draws)
        return null_summary(film, self.name, self.metrics, rng, self.draws)


def derived(
    root: xr.Dataset,
    untrained: xr.Dataset | None,
    draws: NullDraws,
    *,
    earlier: xr.DataTree | None = None,
) -> dict[str, xr.Dataset]:
    """Return all groups that follow from a film.

    Parameters
    ----------
    untrained
        Influence in untrained models, dims ``task, ablation, seed, source, target``.
    earlier
        A result whose null models and roles are reused if they were computed from the same.
    """
    groups = {"metrics": film_metrics(root["influence"], usable(root))}
    if untrained is not None:
        groups["untrained"] = untrained
    content = content_checksum(xr.DataTree.from_dict({"/": root, **groups}))
    made_of_sha256 = made_of([content, draws.seed, draws.count], ["dynamics", "metrics"])
    groups["metrics"].attrs |= sources_attribute(
        own_sources({"metric": map(str, groups["metrics"])})
    )
    names = ["roles", *(["nulls"] if draws.count else [])]
    reused = reusable(earlier, names, made_of_sha256)
    if reused is not None:
        return groups | reused
    parts = list(_parts(root, untrained, draws))
    roles: list[Cell] = []
    nulls: list[Cell] = []
    results = draws.each(DerivedPart.work, parts, "null models and roles")
    for part, arrays in zip(parts, results, strict=True):
        (roles if part.name == _ROLES else nulls).append((part.cell, arrays))
    groups["roles"] = role_group(root, roles)
    if draws.count:
        counts = {part.name: part.drawn for part in parts if part.name != _ROLES}
        groups["nulls"] = null_group(root, groups["metrics"], nulls, counts)
        groups["roles"] = with_gatekeepers(
            groups["roles"], root, groups["metrics"], groups["nulls"]
        )
        used = {part.name for part in parts} & plugins.room("null model").keys()
        groups["nulls"].attrs |= sources_attribute(own_sources({"null model": used}))
    for name in names:
        groups[name].attrs |= {"draws": draws.count, "seed": draws.seed, MADE_OF: made_of_sha256}
    return groups


def _parts(
    root: xr.Dataset, untrained: xr.Dataset | None, draws: NullDraws
) -> Iterator[DerivedPart]:
    """Yield the roles and null models of every cell that has measured checkpoints."""
    kinds: dict[tuple[str, bool], list[str]] = {(_ROLES, False): []}
    for name, plugin in plugins.room("metric").items():
        metric: Metric = plugin.module.METRIC
        if draws.count and metric.null is not None:
            kinds.setdefault((metric.null, metric.over_time), []).append(name)
    for i, j in np.ndindex(root.sizes["task"], root.sizes["ablation"]):
        at = {"task": i, "ablation": j}
        cell = root[[*FILM_VARIABLES, *({"prompts_measured"} & root.keys())]].isel(at)
        models = None if untrained is None else untrained.isel(at)
        if (cell["status"] == "ok").any():
            for (name, over_time), metrics in kinds.items():
                yield DerivedPart(
                    cell, models, name, tuple(metrics), over_time, draws.seed, draws.count
                )
