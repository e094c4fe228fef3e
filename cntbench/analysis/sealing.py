"""Results that are completed and written: films from memory, selections, files of xarray."""

from __future__ import annotations

from pathlib import Path
from warnings import catch_warnings, simplefilter

import xarray as xr

from cntbench.analysis.derived import NullDraws, derived
from cntbench.errors import CntbenchWarning, StorageError, warn
from cntbench.files.output import check_writable
from cntbench.parallel import Progress
from cntbench.results.checking import as_result
from cntbench.results.storage import UNSEALED, open_results, write_results
from cntbench.results.tree import result_tree

#: Groups that follow from every film, and from a choice of claims.
_DERIVED, _VERDICTS = ("metrics", "roles"), ("claims", "phases")


def complete(
    results: xr.Dataset | xr.DataTree, *, draws: int, jobs: int, progress: Progress, where: str
) -> xr.DataTree:
    """Return a valid result in which every group stands that follows from the film.

    Groups that are there and fit the film are kept, if the result has come from a sealed file or
    from memory. Verdicts are made by `cntbench.claims`; without draws there are no null models.
    Raises a `StorageError` if the film does not satisfy the schema.
    """
    with catch_warnings():
        simplefilter("ignore", CntbenchWarning)  # groups that are left out are recomputed
        tree = as_result(results, where=where).map_over_datasets(lambda group: group.compute())
    unsealed = UNSEALED in tree.attrs
    if not unsealed and all(name in tree.children for name in _DERIVED):
        return tree
    root = tree.to_dataset(inherit=False)
    root.attrs.pop(UNSEALED, None)
    replaced = {*_DERIVED, "nulls", *(_VERDICTS if unsealed else ())}
    groups = {
        node.path[1:]: node.to_dataset(inherit=False)
        for node in tree.descendants
        if node.path.split("/")[1] not in replaced
    }
    if isinstance(results, xr.DataTree) and {*_VERDICTS} & {*results.children} - {*groups}:
        warn(f"{where}: verdicts are left out. Test claims again, by cntbench.claims.")
    if not (root["status"] == "ok").any():
        return result_tree({"/": root, **groups})
    derived_groups = derived(
        root,
        groups.get("untrained"),
        NullDraws(int(root.attrs.get("seed", 0)), draws, jobs, progress),
    )
    return result_tree({"/": root, **groups, **derived_groups})


def seal(path: Path, *, draws: int, jobs: int, progress: Progress) -> xr.DataTree:
    """Give a file that xarray has written its derived groups and its checksum.

    The file is rewritten, completely or not at all. Raises a `StorageError` if the file cannot be
    read or written, or has a checksum that is right already.
    """
    tree = open_results(path)
    if UNSEALED not in tree.attrs:
        raise StorageError("is sealed already: its checksum is right", where=str(path))
    check_writable(path)
    tree = complete(tree, draws=draws, jobs=jobs, progress=progress, where=str(path))
    write_results(tree, path)
    return tree
