"""Phases of a film and verdicts on claims, computed cell by cell on several processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.analysis.derived import FILM_VARIABLES, NullDraws
from cntbench.analysis.reuse import MADE_OF, made_of, reusable
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import examine, judge
from cntbench.dynamics.film import film_of
from cntbench.dynamics.junctures import align
from cntbench.dynamics.phases import find_phases
from cntbench.dynamics.statistics.stability_gap import over_lags
from cntbench.dynamics.verdicts import CellVerdicts, claim_group, merge_verdicts, phase_group
from cntbench.errors import unmeasured
from cntbench.files.output import check_writable
from cntbench.parallel import Progress
from cntbench.plugins import own_sources, room, sources_attribute
from cntbench.prompts import seed_sequence
from cntbench.results.film import usable
from cntbench.results.storage import UNSEALED, open_results, write_results
from cntbench.results.tree import content_checksum, result_tree
from cntbench.specs import as_dict


@dataclass(frozen=True)
class VerdictPart:
    """One task by one ablation, and the claims to test on it.

    Parameters
    ----------
    film
        Identity of the film: other films have other draws, so that they can be pooled.
    """

    place: tuple[int, int]
    cell: xr.Dataset
    untrained: xr.Dataset | None
    claims: tuple[Claim, ...]
    film: str
    seed: int
    draws: int

    def work(self) -> CellVerdicts:
        """Return the cell's phases and verdicts."""
        film = film_of(self.cell, self.untrained)
        labels = [str(self.cell[dim].item()) for dim in ("task", "ablation")]
        rng = np.random.default_rng(seed_sequence(self.seed, *labels, "phases"))
        phases = find_phases(film, rng, self.draws)
        tests = examine(
            film, self.claims, seed=self.seed, labels=[*labels, self.film], draws=self.draws
        )
        return CellVerdicts(
            cell=self.place,
            step=film.step,
            usable=np.flatnonzero(self.cell["status"].values == "ok"),
            phases=phases,
            alignment=align(film, phases),
            gaps=over_lags(film),
            results=tests,
            verdicts=judge([claim.rule for claim in self.claims], tests),
        )


def verdicts(
    root: xr.Dataset,
    untrained: xr.Dataset | None,
    claims: Sequence[Claim],
    draws: NullDraws,
    *,
    earlier: xr.DataTree | None = None,
) -> dict[str, xr.Dataset]:
    """Return the groups ``phases`` and ``claims``.

    Parameters
    ----------
    untrained
        Influence in untrained models, dims ``task, ablation, seed, source, target``.
    earlier
        A result whose groups are reused if they were computed from the same. Its verdicts on other
        claims are kept if they are about the same film.
    """
    film = _film_checksum(root, untrained)
    specs = [[claim.name, as_dict(claim.spec)] for claim in claims]
    made_of_sha256 = made_of([film, specs, draws.seed, draws.count], ["dynamics", "metrics"])
    reused = reusable(earlier, ["phases", "claims"], made_of_sha256)
    if reused is not None:
        return reused
    parts = [
        VerdictPart(
            place=(i, j),
            cell=root[FILM_VARIABLES].isel(task=i, ablation=j),
            untrained=None if untrained is None else untrained.isel(task=i, ablation=j),
            claims=tuple(claims),
            film=" ".join(map(str, root["revision"].values[usable(root)])),
            seed=draws.seed,
            draws=draws.count,
        )
        for i, j in np.ndindex(root.sizes["task"], root.sizes["ablation"])
    ]
    cells = list(draws.each(VerdictPart.work, parts, "phases and claims"))
    group = claim_group(root, claims, cells).assign_coords(
        claim_draws=(
            "claim",
            np.full(len(claims), draws.count),
            {"long_name": "draws of its tests"},
        )
    )
    tests = [test.spec for claim in claims for test in claim.tests]
    nulls = {test.null for test in tests} & room("null model").keys()
    sources = own_sources({"statistic": [test.statistic for test in tests], "null model": nulls})
    if kept := earlier_verdicts(root, untrained, earlier):
        sources = json.loads(kept["claims"].attrs.get("plugins", "{}")) | sources
        group = merge_verdicts(kept["claims"], group)
    group.attrs |= sources_attribute(sources)
    groups = {"phases": phase_group(root, cells), "claims": group}
    for group in groups.values():
        group.attrs |= {"draws": draws.count, "seed": draws.seed, MADE_OF: made_of_sha256}
    return groups


def earlier_verdicts(
    root: xr.Dataset, untrained: xr.Dataset | None, earlier: xr.DataTree | None
) -> dict[str, xr.Dataset]:
    """Return the groups ``phases`` and ``claims`` of an earlier result of the same film, if any."""
    if earlier is None or "claims" not in earlier.children:
        return {}
    other = earlier.children.get("untrained")
    models = None if other is None else other.to_dataset(inherit=True)
    film = earlier.to_dataset(inherit=False)
    if _film_checksum(root, untrained) != _film_checksum(film, models):
        return {}
    return {
        name: group.to_dataset(inherit=False)
        for name, group in earlier.children.items()
        if name in ("phases", "claims")
    }


def add_verdicts(
    path: Path,
    claims: Sequence[Claim],
    *,
    draws: int,
    jobs: int,
    progress: Progress,
    to: Path | None = None,
) -> xr.DataTree:
    """Test claims on a result file, and write the phases and verdicts into it, or into another.

    The file is written completely or not at all. Verdicts on other claims are kept, and all
    p-values are corrected for the number of claims that the file then holds.

    Raises
    ------
    StorageError
        If the file cannot be read or written.
    CntbenchError
        If no checkpoint of it was measured.
    """
    tree = open_results(path)
    check_writable(to or path)
    tree = with_verdicts(tree, claims, draws=draws, jobs=jobs, progress=progress, where=str(path))
    write_results(tree, to or path)
    return tree


def with_verdicts(
    tree: xr.DataTree,
    claims: Sequence[Claim],
    *,
    draws: int,
    jobs: int,
    progress: Progress,
    where: str,
) -> xr.DataTree:
    """Return a result with phases and verdicts, beside those on other claims.

    Raises a `CntbenchError` if no checkpoint of it was measured.
    """
    tree = tree.map_over_datasets(lambda group: group.compute())
    root = tree.to_dataset(inherit=False)
    if not (root["status"] == "ok").any():
        raise unmeasured(where)
    untrained = tree.children.get("untrained")
    groups = verdicts(
        root,
        None if untrained is None else untrained.to_dataset(inherit=True),
        claims,
        NullDraws(int(root.attrs.get("seed", 0)), draws, jobs, progress),
        earlier=None if UNSEALED in tree.attrs else tree,
    )
    return result_tree(
        {"/": root, **{n: c.to_dataset(inherit=False) for n, c in tree.children.items()}, **groups}
    )


def _film_checksum(root: xr.Dataset, untrained: xr.Dataset | None) -> str:
    """Return the SHA-256 of all data that claims are tested on."""
    models = {} if untrained is None else {"untrained": untrained.reset_coords(drop=True)}
    film = root[FILM_VARIABLES].drop_attrs(deep=False)
    return content_checksum(xr.DataTree.from_dict({"/": film, **models}))
