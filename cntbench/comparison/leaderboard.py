"""A leaderboard: the methods of several comparisons, ranked together.

Methods can be ranked together if they were scored on the same models. Every comparison records the
versions of its circuits; comparisons on other versions are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.comparison.files import open_comparison
from cntbench.comparison.verdict import verdict
from cntbench.errors import CntbenchError, listed
from cntbench.files.attributes import described
from cntbench.results.storage import distinct_files

#: Title of a leaderboard.
TITLE = "Leaderboard of ablation methods"
#: Scores of the same method differ by no more than this between files.
SAME = 1e-6
_AGAIN = "Measure it again, on all circuits: cntbench compare -o FILE."


def leaderboard(paths: Sequence[Path]) -> xr.Dataset:
    """Rank the methods of several comparisons.

    Returns
    -------
    xarray.Dataset
        The variables of `cntbench.comparison.verdict.verdict`, ``score_by_model``,
        ``forward_passes``, and ``origin``, the files of each method. A method that has the same
        scores in several files is listed once. Different methods of the same name are
        distinguished by their file: ``method (file)``.

    Raises
    ------
    CntbenchError
        If a file is not a comparison on planted circuits, or was measured on other versions of
        them.
    """
    if not paths:
        hint = "Name what cntbench compare -o has written."
        raise CntbenchError("no comparison is given", hint=hint)
    files = {str(path): _scored(path) for path in distinct_files(paths)}
    first, reference = next(iter(files.items()))
    for path, dataset in files.items():
        _check_same_models(reference, dataset, first, path)
        files[path] = dataset.sel(scored_circuit=reference["scored_circuit"].values)
    methods: dict[str, tuple[str, xr.Dataset]] = {}
    origins: dict[str, list[str]] = {}
    for path, dataset in files.items():
        for name in map(str, dataset["ablation"].values):
            method = dataset.sel(ablation=name)
            known = (
                label
                for label, (namesake, other) in methods.items()
                if namesake == name and _same(other, method)
            )
            labels = (name, f"{name} ({Path(path).stem})", f"{name} ({path})")
            label = next(known, None) or next(label for label in labels if label not in methods)
            method = method.assign_coords(ablation=label)
            if label in methods:  # its file may lack the diagnostics
                method = methods[label][1].combine_first(method)
            methods[label] = name, method
            origins.setdefault(label, []).append(path)
    columns = [method for _, method in methods.values()]
    joined = xr.concat(columns, dim="ablation", combine_attrs="drop_conflicts")
    seed = int(reference.attrs.get("seed", 0))
    verdicts = verdict(joined["score_by_model"], joined["forward_passes"], seed=seed)
    names = ["; ".join(paths) for paths in origins.values()]
    return (
        joined.assign(verdicts)
        .assign(origin=("ablation", names, described("origin", "files of the method")))
        .assign_attrs(title=TITLE)
    )


def _scored(path: Path) -> xr.Dataset:
    """Read the scores by which the methods of a comparison are ranked."""
    dataset = open_comparison(path)
    if "score_by_model" not in dataset or "circuit_sha256" not in dataset:
        what = "has no scores on planted circuits"
        raise CntbenchError(what, where=str(path), hint=_AGAIN)
    variables = ["score_by_model", "forward_passes", "circuit_sha256"]
    if "passed" in dataset:
        special = dataset["passed"]
        tested = special.notnull().sum("special")
        counts = {"passed_count": special.sum("special"), "tested_count": tested}
        dataset = dataset.assign({name: n.where(tested > 0) for name, n in counts.items()})
        variables += counts
    return dataset[variables].drop_vars("special", errors="ignore")


def _check_same_models(first: xr.Dataset, other: xr.Dataset, where: str, path: str) -> None:
    """Raise an error that names the circuits that differ between two files."""
    versions = [
        dict(zip(d["scored_circuit"].values, d["circuit_sha256"].values, strict=True))
        for d in (first, other)
    ]
    expected, actual = (set(version) for version in versions)
    changed = sorted(n for n in expected & actual if versions[0][n] != versions[1][n])
    problems = [
        f"{verb} {listed(sorted(map(str, names)), 4)}"
        for verb, names in (
            ("lacks", expected - actual),
            ("also has", actual - expected),
            ("has another version of", changed),
        )
        if names
    ]
    for dim, noun in (("purpose", "purposes"), ("seed", "models of each circuit")):
        if list(first[dim].values) != list(other[dim].values):
            problems.append(f"has other {noun}")
    if problems:
        raise CntbenchError(
            f"was measured on other circuits than {where}: it {'; it '.join(problems)}",
            where=path,
            hint=f"Only scores on the same models can be ranked. {_AGAIN}",
        )


def _same(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Return whether a method has the same scores and cost in two files."""
    return all(
        np.allclose(first[name], second[name], rtol=SAME, atol=SAME, equal_nan=True)
        for name in ("score_by_model", "forward_passes")
    )
