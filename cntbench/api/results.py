"""The Python interface to results: open, join, test, save, report and show them.

Nothing here needs a model, so that torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from cntbench.analysis.sealing import complete
from cntbench.analysis.verdicts import add_verdicts, with_verdicts
from cntbench.comparison.leaderboard import leaderboard as rank
from cntbench.errors import CntbenchError, distinct
from cntbench.files.output import Folders, check_output, path_tuple
from cntbench.plugins.folders import with_specs
from cntbench.reporting.claims import claims_of
from cntbench.reporting.page.write import PAGE, write_films_page, write_page
from cntbench.reporting.progress import progress_bar
from cntbench.reporting.summary import summary
from cntbench.reporting.terminal import Terminal
from cntbench.results import storage
from cntbench.results.checking import as_result
from cntbench.results.joining import join_films
from cntbench.runs.arguments import checked_arguments
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.options import Names, check_script, name_tuple

#: A result, a film, a selection from either, or the path of a file.
Results = xr.DataTree | xr.Dataset | str | Path

#: Smallest number of draws for which a p-value can be 0.05.
_FEWEST_DRAWS = 19


@checked_arguments
def open_results(path: str | Path) -> xr.DataTree:
    """Read a result into memory and check that it is complete and satisfies the schema.

    Files that xarray has written, such as a selection, are read with a warning. Groups that do not
    satisfy their tables are left out, with a warning.

    Parameters
    ----------
    path
        A ``results.nc``.

    Raises
    ------
    StorageError
        If the file is missing, truncated or damaged, was not written by cntbench, or does not
        satisfy the schema.
    """
    return storage.open_results(*path_tuple(path))


@checked_arguments
def film(parts: Results | Iterable[Results]) -> xr.Dataset:
    """Join films of one training run into one film.

    Parameters
    ----------
    parts
        Results of `influence`, films, selections from results, or paths of files, in ascending
        order of step.

    Returns
    -------
    xarray.Dataset
        The film. A checkpoint with the weights of an earlier one is marked as its duplicate.

    Raises
    ------
    CntbenchError
        If the steps do not ascend, or the parts were not measured in the same way on the same
        components.
    """
    return join_films(map(_opened, _listed(parts)), where="cntbench.film")


@checked_arguments
@with_specs
def claims(
    results: Results,
    claims: Names | None = None,
    *,
    draws: int = 200,
    jobs: int = 1,
    specs: Folders = (),
    progress: bool | None = None,
) -> xr.DataTree:
    """Test claims on a result.

    Parameters
    ----------
    results
        A result, a film, a selection from either, or the path of a file. The verdicts are written
        to the file, which keeps verdicts on other claims. A result in memory is not changed.
    claims
        Names of claims, by default all.
    draws
        Number of draws from each null model, at least 19.
    jobs, specs, progress
        As in `run`.

    Returns
    -------
    xarray.DataTree
        The result with the groups ``claims`` and ``phases``.

    Raises
    ------
    CntbenchError
        If a claim does not exist, the file cannot be read or written, the result does not satisfy
        the schema, or no checkpoint was measured.
    """
    if draws < _FEWEST_DRAWS:
        raise CntbenchError(
            f"draws = {draws} is not allowed",
            where="cntbench.claims",
            hint=f"A p-value of 0.05 needs at least {_FEWEST_DRAWS} draws.",
        )
    check_script(jobs, "cntbench.claims")
    chosen = load_catalogue(path_tuple(specs)).some_claims(
        None if claims is None else name_tuple(claims, "cntbench.claims: claims")
    )
    with progress_bar(Terminal(stderr=True), shown=progress) as report:
        if isinstance(results, str | Path):
            (path,) = path_tuple(results)
            return add_verdicts(path, chosen, draws=draws, jobs=jobs, progress=report)
        tree = as_result(results, where="the result")
        return with_verdicts(
            tree, chosen, draws=draws, jobs=jobs, progress=report, where="the result"
        )


@checked_arguments
def save_results(
    results: Results,
    path: str | Path,
    *,
    draws: int = 200,
    jobs: int = 1,
    force: bool = False,
    progress: bool | None = None,
) -> xr.DataTree:
    """Write a result with its checksum and all groups that are derived from its film.

    Parameters
    ----------
    results
        A result, a film of `film` or `influence`, a selection from either, or the path of a file.
    path
        The file, usually ``results.nc``. An existing result is replaced.
    draws
        Number of draws from each null model, if metrics are computed; 0 omits null models.
    jobs, progress
        As in `run`.
    force
        Whether a file that is not a result may be replaced.

    Returns
    -------
    xarray.DataTree
        The result as in the file. Groups that are missing, or do not match the selection, have been
        computed.

    Raises
    ------
    StorageError
        If the film does not satisfy the schema, or the file cannot be written.
    """
    (file,) = path_tuple(path)
    check_output(file, storage.RESULT, force=force)
    tree = _complete(results, draws, jobs, progress, "cntbench.save_results")
    storage.write_results(tree, file)
    return tree


@checked_arguments
def report(
    results: Results | Iterable[Results],
    path: str | Path | None = None,
    *,
    title: str | None = None,
    comparison: xr.Dataset | None = None,
    draws: int = 200,
    force: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a result as one HTML page that works offline: the film, figures, verdicts.

    Parameters
    ----------
    results
        A result, a film, a selection from either, or the path of a file. Missing groups are
        computed first. Or several results with verdicts, to pool these: a list, or the tree that
        `run` returns of several seeds.
    path
        The page, by default ``report.html``, of several results ``claims.html``; an existing page
        is replaced.
    title
        Title of the result; by default, its source.
    comparison
        A result of `compare`, to show which method to trust.
    draws
        Number of draws from each null model, if metrics are computed.
    force
        Whether a file that is not a report may be replaced.
    progress
        As in `run`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    CntbenchError
        If a film does not satisfy the schema, the page cannot be written, or several results are of
        one training run or have no verdicts on a common claim.
    """
    where = "cntbench.report"
    parts = _named(results)
    if not parts:
        raise CntbenchError("no result is given", where=where, hint="Give one, or a list of them.")
    default = "report.html" if len(parts) == 1 else "claims.html"
    (page,) = path_tuple(default if path is None else path)
    check_output(page, PAGE, force=force)
    if len(parts) == 1:
        (part,) = parts.values()
        tree = _complete(part, draws, 1, progress, where)
        name = str(tree.attrs.get("source", "results")) if title is None else title
        write_page(tree, page, name=name, comparison=comparison, force=force)
        return page
    for key, value in (("title", title), ("comparison", comparison)):
        if value is not None:
            what, hint = "is of one result, not several", f"Leave {key} out, or pass one result."
            raise CntbenchError(what, where=f"{where}: {key}", hint=hint)
    trees = {name: as_result(_opened(part), where=name) for name, part in parts.items()}
    write_films_page(trees, page, force=force)
    return page


@checked_arguments
def leaderboard(files: str | Path | Sequence[str | Path]) -> xr.Dataset:
    """Rank the methods of several comparisons, of one author or of many, for each purpose.

    Parameters
    ----------
    files
        What ``cntbench compare -o`` has written.

    Returns
    -------
    xarray.Dataset
        Score with its 95 % interval, rank, and whether no other method is as good and as cheap,
        dims ``purpose, ablation``; ``verdict``, a sentence for each purpose; ``origin``, the files
        of each method.

    Raises
    ------
    CntbenchError
        If a file is not a comparison on planted circuits, or was measured on other versions of
        them.
    """
    return rank(path_tuple(files))


@checked_arguments
def show(
    results: Results,
    *,
    task: str | None = None,
    checkpoint: str | int | None = None,
    step: int | None = None,
) -> None:
    """Print a summary of a result: readouts, strongest components, attention scores, verdicts.

    Parameters
    ----------
    results
        A result, a film, a selection from either, or the path of a file.
    task
        The task whose components and verdicts are shown; by default induction, or the first one.
    checkpoint
        Name or step of the checkpoint whose components are shown; by default, the last one that
        counts.
    step
        Training step, instead of the checkpoint's name.

    Raises
    ------
    CntbenchError
        If the film does not satisfy the schema, or has no such task or checkpoint.
    """
    tree = as_result(_opened(results), where="cntbench.show")
    terminal = Terminal()
    terminal.print(summary(tree, task, None if checkpoint is None else str(checkpoint), step=step))
    terminal.print(claims_of(tree, task))


def _complete(
    results: Results, draws: int, jobs: int, progress: bool | None, where: str
) -> xr.DataTree:
    with progress_bar(Terminal(stderr=True), shown=progress) as report_progress:
        return complete(
            _opened(results), draws=draws, jobs=jobs, progress=report_progress, where=where
        )


def _listed(results: Results | Iterable[Results]) -> list[Results]:
    """Return one result or several as a list."""
    if isinstance(results, str | xr.Dataset | xr.DataTree) or not isinstance(results, Iterable):
        return [results]
    return list(results)


def _named(results: Results | Iterable[Results]) -> dict[str, Results]:
    """Return one result or several by name: by their files, or as in a tree of several seeds."""
    if isinstance(results, xr.DataTree) and "status" not in results.variables:
        seeds = {n: tree for n, tree in results.children.items() if "status" in tree.variables}
        if seeds:
            return {**seeds}
    parts = _listed(results)
    names = [str(p) if isinstance(p, str | Path) else f"results[{i}]" for i, p in enumerate(parts)]
    distinct("result", names, where="cntbench.report")
    return dict(zip(names, parts, strict=True))


def _opened(results: Results) -> xr.DataTree | xr.Dataset:
    """Return a result; a path is that of its file."""
    return open_results(results) if isinstance(results, str | Path) else results
