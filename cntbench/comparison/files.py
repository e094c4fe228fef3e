"""Result files side by side: the ablations of one file, or the same ablations in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.comparison.agreement import film_agreement
from cntbench.errors import CntbenchError
from cntbench.results.film import usable
from cntbench.results.storage import distinct_files, open_results

#: Title of a comparison of files.
FILES_TITLE = "Result files compared"


def compare_files(paths: Sequence[Path], *, seed: int = 0) -> xr.Dataset:
    """Compare the ablations within one result file, or two or more files ablation by ablation.

    Of several files each is held against the first, at the checkpoints and for the ablations that
    all of them have; checkpoints that were not measured, or repeat others, are left out.

    Parameters
    ----------
    paths
        The files.
    seed
        Of the bootstrap over checkpoints.

    Returns
    -------
    xarray.Dataset
        As `cntbench.comparison.agreement.film_agreement` has it: with ``other_ablation`` for one
        file, with ``file`` for several.

    Raises
    ------
    CntbenchError
        If a file cannot be read, has other components or tasks than the first, or there is nothing
        to compare.
    """
    films = [_usable_film(path) for path in distinct_files(paths)]
    first, others = films[0], films[1:]
    layers = np.asarray(first["source_layer"].values)
    if not others:
        if first.sizes["ablation"] < 2:
            raise CntbenchError(
                "there is nothing to compare: the file has one ablation only",
                where=str(paths[0]),
                hint="Name another file beside it, or one with more ablations.",
            )
        one = _bare(first)
        found = film_agreement(one, one.rename(ablation="other_ablation"), layers, seed=seed)
        return found.assign_attrs(title=FILES_TITLE)
    for path, other in zip(paths[1:], others, strict=True):
        _check(first, other, str(paths[0]), str(path))
    common = {
        dim: _common([film[dim].values for film in films], dim, paths)
        for dim in ("ablation", "checkpoint")
    }
    first_film, *rest = (_bare(film.sel(common)) for film in films)
    together = xr.concat(rest, dim=xr.Variable("file", [str(path) for path in paths[1:]]))
    found = film_agreement(first_film, together, layers, seed=seed)
    return found.assign_attrs(title=FILES_TITLE)


def refuse_beside_results(options: Mapping[str, object]) -> None:
    """Raise an error if options are given that say how to measure what files hold already."""
    if options:
        named = ", ".join(f"--{name}" for name in options)
        raise CntbenchError(
            f"--results compares what was measured before, and {named} would change nothing",
            hint="Give either result files or what to measure.",
        )


def _usable_film(path: Path) -> xr.Dataset:
    dataset = open_results(path).to_dataset(inherit=False)
    film = dataset.isel(checkpoint=usable(dataset))
    if not film.sizes["checkpoint"]:
        raise CntbenchError("has no checkpoint that was measured", where=str(path))
    return film


def _bare(film: xr.Dataset) -> xr.DataArray:
    """Return the influence with the labels that all files share, in double precision."""
    kept = ("task", "ablation", "checkpoint", "source", "target")
    found = film["influence"].astype(np.float64)
    return found.drop_vars([name for name in found.coords if name not in (*kept, "step")])


def _check(first: xr.Dataset, other: xr.Dataset, one: str, two: str) -> None:
    """Raise an error that says in what two files differ."""
    for dim, what in (("source", "components"), ("task", "tasks")):
        mine, theirs = map(str, first[dim].values), map(str, other[dim].values)
        missing, added = _differences(list(mine), list(theirs))
        if missing or added:
            parts = [
                f"{verb} {', '.join(names)}"
                for verb, names in (("lacks", missing), ("adds", added))
                if names
            ]
            raise CntbenchError(
                f"has other {what} than {one}: it {' and '.join(parts)}",
                where=two,
                hint=f"Only results with the same {what} can be compared.",
            )
        if what == "tasks":
            continue
        if list(first[dim].values) != list(other[dim].values):
            raise CntbenchError(f"has its {what} in another order than {one}", where=two)


def _differences(mine: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    missing = [name for name in mine if name not in theirs]
    return missing, [name for name in theirs if name not in mine]


def _common(labels: Sequence[np.ndarray], dim: str, paths: Sequence[Path]) -> list[str]:
    shared = [name for name in labels[0] if all(name in others for others in labels[1:])]
    if not shared:
        listed = "; ".join(
            f"{path}: {', '.join(map(str, names))}"
            for path, names in zip(paths, labels, strict=True)
        )
        raise CntbenchError(f"the files have no {dim} in common", hint=listed)
    return shared
