"""Groups of a result: do they satisfy their schemas, and do they fit the film?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from cntbench.errors import StorageError, in_file, warn
from cntbench.results.schema import validate
from cntbench.results.selection import DERIVED, whole_tree
from cntbench.results.tree import groups_of, result_tree

#: Groups about all checkpoints together.
_OF_ALL = ("claims", "phases")


def as_result(results: xr.Dataset | xr.DataTree, *, where: str) -> xr.DataTree:
    """Return a result, a film, or a selection from either, as a valid result.

    Groups that do not fit what was selected are left out with a warning, and with them verdicts and
    phases; with metrics, all that was derived. Raises a `StorageError` if the film does not satisfy
    the schema.
    """
    with in_file(where):
        groups = groups_of(without_outdated(whole_tree(results), where=where))
    validate(groups["/"], where=where)
    tree = _tree(groups)
    fitting = dict(_valid_groups(groups, where, fits=tree is not None))
    if len(fitting) < len(groups):
        outdated = DERIVED if "/metrics" in {*groups} - {*fitting} else _OF_ALL
        return result_tree({n: g for n, g in fitting.items() if n.strip("/") not in outdated})
    return result_tree(fitting) if tree is None else tree


def without_outdated(tree: xr.DataTree, *, where: str) -> xr.DataTree:
    """Return a result without what was derived from other influence, of which it warns."""
    if not is_outdated(tree):
        return tree
    groups = {group.path: group.to_dataset(inherit=False) for group in tree.subtree}
    kept = {name: g for name, g in groups.items() if name.split("/")[1] not in DERIVED}
    warn(
        f"{where}: what was derived from other influence is left out: "
        f"{', '.join(name[1:] for name in groups if name not in kept)}. "
        "cntbench.save_results derives it again."
    )
    return result_tree(kept)


def is_outdated(tree: xr.DataTree) -> bool:
    """Return whether the metrics of a result, if it has any, are of other influence.

    Strengths of components are sums of influence, so that they tell whether it has changed.
    """
    root, metrics = tree.to_dataset(inherit=False), tree.children.get("metrics")
    if metrics is None or not {"influence", "status"} <= {*root.variables}:
        return False
    weights = root["influence"].astype(np.float64).variable
    ok = root["status"].variable == "ok"
    counts = ok.all([dim for dim in ("task", "ablation") if dim in ok.dims])
    gaps = xr.Variable(counts.dims, np.where(counts.values, 0.0, np.nan))
    for name, other in (("out_strength", "target"), ("in_strength", "source")):
        strengths = metrics.variables.get(name)
        sums = weights.sum(other) + gaps if other in weights.dims else None
        if strengths is None or sums is None or {**strengths.sizes} != {**sums.sizes}:
            continue  # what has other dims is told elsewhere
        recorded = strengths.transpose(*sums.dims).values
        if not (np.isclose(recorded, sums.values, rtol=1e-6, atol=0) | np.isnan(recorded)).all():
            return True
    return False


def valid_tree(groups: Mapping[str, xr.Dataset], where: str) -> xr.DataTree:
    """Return a result of the film, which is valid, and the groups that satisfy their schemas.

    A warning names each of the others.
    """
    tree = _tree(groups)
    valid = dict(_valid_groups(groups, where, fits=tree is not None))
    return result_tree(valid) if tree is None or len(valid) < len(groups) else tree


def validated_tree(groups: Mapping[str, xr.Dataset], where: str) -> xr.DataTree:
    """Return a result, or raise a `StorageError` as `validate_groups` does."""
    tree = _tree(groups)
    validate_groups(groups, where, fits=tree is not None)
    return result_tree(groups) if tree is None else tree


def validate_groups(groups: Mapping[str, xr.Dataset], where: str, *, fits: bool) -> None:
    """Check the film, named ``/``, and every group against their schemas.

    Groups that are not known to fit the film, as those of a tree do, are tried. Raises a
    `StorageError` for the first that does not satisfy its schema or does not fit the film.
    """
    root = groups["/"]
    validate(root, where=where)
    for name, group in groups.items():
        if name != "/":
            _validate_group(name, group, root, f"{where}: group {name[1:]!r}", fits=fits)


def _valid_groups(
    groups: Mapping[str, xr.Dataset], where: str, *, fits: bool
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the film and the groups that satisfy their schema, and warn of the others."""
    left_out: list[str] = []
    for name, group in groups.items():
        if any(name.startswith(f"{parent}/") for parent in left_out):
            continue
        try:
            if name != "/":
                _validate_group(name, group, groups["/"], where, fits=fits)
        except StorageError as error:
            left_out.append(name)
            warn(f"{where}: group {name[1:]!r} is left out: {error.what}.")
        else:
            yield name, group


def _tree(groups: Mapping[str, xr.Dataset]) -> xr.DataTree | None:
    """Return the result of groups if all of them fit the film; if not, each is tried by itself."""
    try:
        return result_tree(groups)
    except (ValueError, KeyError):
        return None


def _validate_group(
    name: str, group: xr.Dataset, root: xr.Dataset, where: str, *, fits: bool
) -> None:
    """Raise a `StorageError` unless a group satisfies its schema, and fits or is known to fit."""
    from cntbench.results.group_schema import validate_group  # imports more than films need

    validate_group(name[1:], group, root, where=where)
    if fits:
        return
    try:
        xr.DataTree.from_dict({"/": root, name: group})
    except (ValueError, KeyError) as error:
        raise StorageError(f"does not fit the film: {error}", where=where) from None
