"""Compare result files, the ablations of one or the same ablations in several; read comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.comparison.agreement import film_agreement
from cntbench.comparison.table import TITLE
from cntbench.errors import CntbenchError, StorageError, listed, unmeasured, warn
from cntbench.files.output import FileKind, file_status, has_attribute
from cntbench.results.difference import label_differences
from cntbench.results.film import usable
from cntbench.results.group_schema import GROUPS, validate_contents
from cntbench.results.storage import distinct_files, open_results, read_netcdf

#: Title of a comparison of files.
FILES_TITLE = "Result files compared"
#: The file that ``cntbench compare -o`` writes.
COMPARISON = FileKind(
    "a comparison of ablation methods", has_attribute("title", TITLE, FILES_TITLE)
)
_MAKE = "Make one: cntbench compare -o FILE."


def compare_files(paths: Sequence[Path]) -> xr.Dataset:
    """Compare the ablations of one result file, or several files ablation by ablation.

    Every other file is compared with the first, at their common checkpoints and for their common
    ablations. Files with one ablation each are compared even if its name differs. Duplicates, and
    checkpoints that were not measured, are left out. A warning names tasks and ablations that have
    other specs in another file.

    Returns
    -------
    xarray.Dataset
        As `cntbench.comparison.agreement.film_agreement`, with dim ``other_ablation`` for one file
        and ``file`` for several.

    Raises
    ------
    CntbenchError
        If a file cannot be read, its components or tasks differ from those of the first, or there
        is nothing to compare.
    """
    films = [_usable_film(path) for path in distinct_files(paths)]
    first, others = films[0], films[1:]
    layers = np.asarray(first["source_layer"].values)
    if not others:
        if first.sizes["ablation"] < 2:
            raise CntbenchError(
                "there is nothing to compare: the file has only one ablation",
                where=str(paths[0]),
                hint="Name another file as well, or a file with more ablations.",
            )
        film = _influence(first)
        pairs = film_agreement(film, film.rename(ablation="other_ablation"), layers)
        return pairs.assign_attrs(title=FILES_TITLE)
    for path, other in zip(paths[1:], others, strict=True):
        _check_labels(first, other, str(paths[0]), str(path))
    films = [first, *_named_like(first, others)]
    common = {
        dim: _common([film[dim].values for film in films], dim, paths)
        for dim in ("task", "ablation", "checkpoint")
    }
    for path, other in zip(paths[1:], others, strict=True):
        _note_other_specs(first, other, common, f"{path}", f"{paths[0]}")
    first_film, *rest = (_influence(film.sel(common)) for film in films)
    together = xr.concat(rest, dim=xr.Variable("file", [str(path) for path in paths[1:]]))
    return film_agreement(first_film, together, layers).assign_attrs(title=FILES_TITLE)


def _named_like(first: xr.Dataset, others: Sequence[xr.Dataset]) -> Sequence[xr.Dataset]:
    """Rename the ablation of films that have one each, such as imported graphs, as in the first.

    Films with more ablations stay as they are.
    """
    if any(film.sizes["ablation"] > 1 for film in (first, *others)):
        return others
    return [film.assign_coords(ablation=first["ablation"]) for film in others]


def refuse_beside_results(options: Sequence[str]) -> None:
    """Raise an error if options of a measurement are given together with result files."""
    if options:
        named = ", ".join(f"--{name}" for name in options)
        raise CntbenchError(
            f"--results compares files that are already measured: {named} would have no effect",
            hint="Name either result files or what to measure.",
        )


def _usable_film(path: Path) -> xr.Dataset:
    dataset = open_results(path).to_dataset(inherit=False)
    film = dataset.isel(checkpoint=usable(dataset))
    if not film.sizes["checkpoint"]:
        raise unmeasured(str(path))
    return film


def _influence(film: xr.Dataset) -> xr.DataArray:
    """Return the influence in double precision, with the labels that all files share."""
    shared = ("task", "ablation", "checkpoint", "source", "target", "step")
    influence = film["influence"].astype(np.float64)
    return influence.drop_vars([name for name in influence.coords if name not in shared])


def _check_labels(first: xr.Dataset, other: xr.Dataset, first_path: str, other_path: str) -> None:
    """Raise an error that says how the labels of two files differ."""
    for dim, kind in (("source", "components"), ("task", "tasks")):
        before, after = ([str(name) for name in film[dim].values] for film in (first, other))
        differences = label_differences(before, after)
        if differences:
            raise CntbenchError(
                f"its {kind} differ from those of {first_path}: it {differences}",
                where=other_path,
                hint=f"Only results with the same {kind} can be compared.",
            )
        if kind == "components" and before != after:
            raise CntbenchError(
                f"its {kind} are in another order than those of {first_path}", where=other_path
            )


def _note_other_specs(
    first: xr.Dataset, other: xr.Dataset, common: Mapping[str, Sequence[str]], path: str, than: str
) -> None:
    """Warn of tasks and ablations that have a name in common, and not what it stands for."""
    specs = [json.loads(film.attrs.get("spec", "{}")) for film in (first, other)]
    differing = [
        f"{kind} {name}"
        for kind in ("task", "ablation")
        for one, two in [[spec.get(f"{kind}s", {}) for spec in specs]]
        for name in common[kind]
        if name in one and name in two and one[name] != two[name]
    ]
    if differing:
        are = "are" if len(differing) > 1 else "is"
        warn(f"{path}: {listed(differing, 5)} {are} defined otherwise than in {than}")


def _common(labels: Sequence[np.ndarray], dim: str, paths: Sequence[Path]) -> list[str]:
    shared = [name for name in labels[0] if all(name in others for others in labels[1:])]
    if not shared:
        labels_by_file = "; ".join(
            f"{path}: {', '.join(map(str, names))}"
            for path, names in zip(paths, labels, strict=True)
        )
        raise CntbenchError(f"the files have no {dim} in common", hint=labels_by_file)
    return shared


def open_comparison(path: Path) -> xr.Dataset:
    """Read a comparison into memory.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or not a comparison.
    """
    where = str(path)
    if file_status(path) is None:
        raise StorageError("no such file", where=where, hint=_MAKE)
    dataset = read_netcdf(path, hint=_MAKE)[0]["/"]
    if dataset.attrs.get("title") != TITLE or "ablation" not in dataset.coords:
        raise StorageError("is not a comparison of ablation methods", where=where, hint=_MAKE)
    validate_contents(GROUPS["comparison"], dataset, where=where)
    return dataset
