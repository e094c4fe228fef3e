"""The Python interface to results: open, join, save, report and show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from cntbench.analysis.sealing import complete, save
from cntbench.comparison.leaderboard import leaderboard as rank
from cntbench.output import check_output, path_tuple
from cntbench.reporting.claims import claims_of
from cntbench.reporting.page.write import PAGE, write_page
from cntbench.reporting.summary import summary
from cntbench.reporting.terminal import Terminal, progress_bar
from cntbench.results import storage
from cntbench.results.checking import as_result
from cntbench.results.joining import join_films

#: A result, a film, or a selection from either.
Results = xr.DataTree | xr.Dataset


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
    return storage.open_results(Path(path))


def film(parts: Iterable[Results]) -> xr.Dataset:
    """Join films of one training run into one film.

    Parameters
    ----------
    parts
        Results of `influence`, films, or selections from results, in ascending order of step.

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
    return join_films(parts, where="cntbench.film")


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
        A result, a film of `film` or `influence`, or a selection from either.
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
    tree = _complete(results, draws, jobs, progress, "cntbench.save_results")
    save(tree, Path(path), force=force)
    return tree


def report(
    results: Results,
    path: str | Path = "report.html",
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
        A result, a film, or a selection from either. Missing groups are computed first.
    path
        The page; an existing page is replaced.
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
    StorageError
        If the film does not satisfy the schema, or the page cannot be written.
    """
    path = Path(path)
    check_output(path, PAGE, force=force)
    tree = _complete(results, draws, 1, progress, "cntbench.report")
    name = str(tree.attrs.get("source", "results")) if title is None else title
    write_page(tree, path, name=name, comparison=comparison, force=force)
    return path


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
        If a file is no comparison on planted circuits, or was measured on other versions of them.
    """
    return rank(path_tuple(files))


def show(results: Results, *, task: str | None = None, step: int | None = None) -> None:
    """Print a summary of a result: readouts, strongest components, attention scores, verdicts.

    Parameters
    ----------
    results
        A result, a film, or a selection from either.
    task
        The task whose components and verdicts are shown; by default induction, or the first one.
    step
        Training step of the components; by default, that of the last checkpoint that counts.

    Raises
    ------
    CntbenchError
        If the film does not satisfy the schema, or has no such task or step.
    """
    tree = as_result(results, where="cntbench.show")
    terminal = Terminal()
    terminal.print(summary(tree, task, step))
    terminal.print(claims_of(tree, task))


def _complete(
    results: Results, draws: int, jobs: int, progress: bool | None, where: str
) -> xr.DataTree:
    with progress_bar(Terminal(stderr=True), shown=progress) as report_progress:
        return complete(results, draws=draws, jobs=jobs, progress=report_progress, where=where)
