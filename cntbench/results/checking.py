"""Groups of a result: do they satisfy their schemas, and do they fit the film?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import xarray as xr

from cntbench.errors import StorageError, warn
from cntbench.results.schema import validate
from cntbench.results.selection import whole_tree
from cntbench.results.tree import groups_of, result_tree

#: Groups about all checkpoints together.
_OF_ALL = ("claims", "phases")


def as_result(results: xr.Dataset | xr.DataTree, *, where: str) -> xr.DataTree:
    """Return a result, a film, or a selection from either, as a valid result.

    Groups that do not fit what was selected are left out with a warning, and with them verdicts and
    phases.

    Raises
    ------
    StorageError
        If the film does not satisfy the schema.
    """
    if not isinstance(results, xr.Dataset | xr.DataTree):
        raise StorageError(
            f"is not a result but a {type(results).__name__}",
            where=where,
            hint="Pass what cntbench.run, film or open_results returns, or a selection from it.",
        )
    groups = groups_of(whole_tree(results))
    root = groups.pop("/")
    validate(root, where=where)
    fitting = dict(valid_groups(groups, root, where))
    if len(fitting) < len(groups):
        fitting = {name: g for name, g in fitting.items() if name.strip("/") not in _OF_ALL}
    return result_tree({"/": root, **fitting})


def validate_groups(groups: Mapping[str, xr.Dataset], where: str) -> None:
    """Check the film, named ``/``, and every group against their schemas.

    Raises
    ------
    StorageError
        For the first that does not satisfy its schema or does not fit the film.
    """
    root = groups["/"]
    validate(root, where=where)
    below = {name: group for name, group in groups.items() if name != "/"}
    together = _fit(root, below)
    for name, group in below.items():
        group_where = f"{where}: group {name[1:]!r}"
        _validate_group(name, group, root, group_where, fits=together)


def valid_groups(
    groups: Mapping[str, xr.Dataset], root: xr.Dataset, where: str
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the groups that satisfy their schema, and warn of the others."""
    left_out: list[str] = []
    together = _fit(root, groups)
    for name, group in groups.items():
        if any(name.startswith(f"{parent}/") for parent in left_out):
            continue
        try:
            _validate_group(name, group, root, where, fits=together)
        except StorageError as error:
            left_out.append(name)
            warn(f"{where}: group {name[1:]!r} is left out: {error.what}.")
        else:
            yield name, group


def _fit(root: xr.Dataset, groups: Mapping[str, xr.Dataset]) -> bool:
    """Return whether all groups fit the film; if not, each is tried by itself."""
    try:
        xr.DataTree.from_dict({"/": root, **groups})
    except (ValueError, KeyError):
        return False
    return True


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
