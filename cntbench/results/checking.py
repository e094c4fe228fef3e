"""Groups of a result: do they satisfy their schemas, and do they fit the film?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import xarray as xr

from cntbench.errors import StorageError, in_file, warn
from cntbench.results.schema import validate
from cntbench.results.selection import whole_tree
from cntbench.results.tree import groups_of, result_tree

#: Groups about all checkpoints together.
_OF_ALL = ("claims", "phases")


def as_result(results: xr.Dataset | xr.DataTree, *, where: str) -> xr.DataTree:
    """Return a result, a film, or a selection from either, as a valid result.

    Groups that do not fit what was selected are left out with a warning, and with them verdicts and
    phases. Raises a `StorageError` if the film does not satisfy the schema.
    """
    with in_file(where):
        groups = groups_of(whole_tree(results))
    validate(groups["/"], where=where)
    tree = _tree(groups)
    fitting = dict(_valid_groups(groups, where, fits=tree is not None))
    if len(fitting) < len(groups):
        return result_tree({n: g for n, g in fitting.items() if n.strip("/") not in _OF_ALL})
    return result_tree(fitting) if tree is None else tree


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
