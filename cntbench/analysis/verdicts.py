"""Phases and claims of a result: worked out cell by cell on several processes, kept in its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

import cntbench
from cntbench.dynamics.alignment import align
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import examine, judge
from cntbench.dynamics.film import film_of
from cntbench.dynamics.phases import find_phases
from cntbench.dynamics.verdict_groups import Judged, claim_group, phase_group
from cntbench.dynamics.verdict_merge import merged
from cntbench.errors import CntbenchError
from cntbench.models.trajectory import Progress
from cntbench.parallel import parallel_map
from cntbench.prompts import seed_sequence
from cntbench.results.storage import UNSEALED, content_checksum, open_results, write_results
from cntbench.specs import as_dict

#: Attribute that says what phases and claims were made of.
MADE_OF = "made_of_sha256"
#: Variables of the root that films are made of.
_OF_FILMS = ["influence", "influence_se", "readout_value", "readout_se", "status"]


@dataclass(frozen=True)
class VerdictPart:
    """One task by one ablation, and the claims that are tested on it."""

    place: tuple[int, int]
    cell: xr.Dataset
    untrained: xr.Dataset | None
    claims: tuple[Claim, ...]
    seed: int
    draws: int

    def work(self) -> Judged:
        """Return the cell's phases and verdicts."""
        film = film_of(self.cell, self.untrained)
        labels = [str(self.cell[dim].item()) for dim in ("task", "ablation")]
        rng = np.random.default_rng(seed_sequence(self.seed, *labels, "phases"))
        phases = find_phases(film, rng, self.draws)
        found = examine(film, self.claims, seed=self.seed, labels=labels, draws=self.draws)
        return Judged(
            place=self.place,
            step=film.step,
            usable=np.flatnonzero(self.cell["status"].values == "ok"),
            phases=phases,
            alignment=align(film, phases),
            found=found,
            verdicts=judge(self.claims, found),
        )


def verdicts(
    root: xr.Dataset,
    untrained: xr.Dataset | None,
    claims: Sequence[Claim],
    *,
    seed: int,
    draws: int,
    jobs: int,
    progress: Progress,
    earlier: xr.DataTree | None = None,
) -> dict[str, xr.Dataset]:
    """Return the groups ``phases`` and ``claims``.

    Parameters
    ----------
    root
        The film.
    untrained
        Influence in untrained models, dims ``task, ablation, seed, source, target``.
    claims
        What is tested.
    seed, draws
        Of the null models.
    jobs
        Processes.
    progress
        Told about every cell.
    earlier
        A result whose groups are taken over if they were made of the same. Its verdicts on other
        claims are kept if they are on the same film.
    """
    made_of = _checksum(root, untrained, claims, seed, draws)
    kept = {} if earlier is None else {n: earlier.children.get(n) for n in ("phases", "claims")}
    if kept and all(group and group.attrs.get(MADE_OF) == made_of for group in kept.values()):
        return {name: group.to_dataset(inherit=False) for name, group in kept.items() if group}
    parts = [
        VerdictPart(
            place=(i, j),
            cell=root[_OF_FILMS].isel(task=i, ablation=j),
            untrained=None if untrained is None else untrained.isel(task=i, ablation=j),
            claims=tuple(claims),
            seed=seed,
            draws=draws,
        )
        for i, j in np.ndindex(root.sizes["task"], root.sizes["ablation"])
    ]
    judged: list[Judged] = []
    progress("phases and claims", 0, len(parts))
    for one in parallel_map(VerdictPart.work, parts, jobs=jobs):
        judged.append(one)
        progress("phases and claims", len(judged), len(parts))
    found = claim_group(root, claims, judged).assign_coords(
        claim_draws=("claim", np.full(len(claims), draws), {"long_name": "draws of its tests"})
    )
    if (
        earlier is not None
        and "claims" in earlier.children
        and _same_film(earlier, root, untrained)
    ):
        found = merged(earlier.children["claims"].to_dataset(inherit=False), found)
    groups = {"phases": phase_group(root, judged), "claims": found}
    for group in groups.values():
        group.attrs |= {"draws": draws, "seed": seed, MADE_OF: made_of}
    return groups


def add_verdicts(
    path: Path, claims: Sequence[Claim], *, draws: int, jobs: int, progress: Progress
) -> xr.DataTree:
    """Test claims on a result file and keep phases and verdicts in it.

    The file is written anew, whole or not at all. Verdicts on other claims stay; all p-values are
    corrected for the number of claims that the file then holds.

    Raises
    ------
    StorageError
        If the file cannot be read or written.
    CntbenchError
        If no checkpoint of it was measured.
    """
    found = with_verdicts(
        open_results(path), claims, draws=draws, jobs=jobs, progress=progress, where=str(path)
    )
    write_results(found, path)
    return found


def with_verdicts(
    tree: xr.DataTree,
    claims: Sequence[Claim],
    *,
    draws: int,
    jobs: int,
    progress: Progress,
    where: str,
) -> xr.DataTree:
    """Return a result with phases, and with verdicts beside those on other claims.

    Parameters
    ----------
    tree
        The result.
    claims
        What is tested.
    draws
        From each null model.
    jobs
        Processes.
    progress
        Told about every cell.
    where
        What the result is, for messages.

    Raises
    ------
    CntbenchError
        If no checkpoint of it was measured.
    """
    tree = tree.map_over_datasets(lambda group: group.compute())
    root = tree.to_dataset(inherit=False)
    if not (root["status"] == "ok").any():
        raise CntbenchError("has no checkpoint that was measured", where=where)
    untrained = tree.children.get("untrained")
    groups = verdicts(
        root,
        None if untrained is None else untrained.to_dataset(inherit=True),
        claims,
        seed=int(root.attrs.get("seed", 0)),
        draws=draws,
        jobs=jobs,
        progress=progress,
        earlier=None if UNSEALED in tree.attrs else tree,
    )
    others = {
        name: group.to_dataset(inherit=False)
        for name, group in tree.children.items()
        if name not in groups
    }
    return xr.DataTree.from_dict({"/": root, **others, **groups})


def _checksum(
    root: xr.Dataset,
    untrained: xr.Dataset | None,
    claims: Sequence[Claim],
    seed: int,
    draws: int,
) -> str:
    """Return the SHA-256 of all that phases and verdicts depend on: numbers, specs and code."""
    digest = hashlib.sha256()
    film = _film_checksum(root, untrained)
    specs = [[claim.name, as_dict(claim.spec)] for claim in claims]
    digest.update(f"{film} {seed} {draws} {np.__version__}".encode())
    digest.update(json.dumps(specs, sort_keys=True).encode())
    package = Path(cntbench.__path__[0])
    for room in ("dynamics", "metrics"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _film_checksum(root: xr.Dataset, untrained: xr.Dataset | None) -> str:
    """Return the SHA-256 of what films are made of."""
    known = {} if untrained is None else {"untrained": untrained}
    film = root[_OF_FILMS].drop_attrs(deep=False)
    return content_checksum(xr.DataTree.from_dict({"/": film, **known}))


def _same_film(earlier: xr.DataTree, root: xr.Dataset, untrained: xr.Dataset | None) -> bool:
    """Return whether the verdicts of an earlier result are on this film."""
    group = earlier.children.get("untrained")
    others = None if group is None else group.to_dataset(inherit=True)
    before = _film_checksum(earlier.to_dataset(inherit=False), others)
    return before == _film_checksum(root, untrained)
