"""The page of several films, such as the seeds of one model: pooled verdicts on claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from cntbench.comparison.claims import check_independent, common_claims, pooled_judgements
from cntbench.errors import CntbenchError, listed
from cntbench.files.output import check_output
from cntbench.reporting.page.context import minima
from cntbench.reporting.page.sections import Fields, claims_section
from cntbench.reporting.page.write import PAGE, rendered
from cntbench.reporting.sentences.emergence import left_out
from cntbench.reporting.wording import counted
from cntbench.results.storage import write_text
from cntbench.views.readouts import task_of_interest


def write_films_page(trees: Mapping[str, xr.DataTree], path: Path, *, force: bool = False) -> None:
    """Write the page of several films.

    Parameters
    ----------
    trees
        Results by the name of their file.
    path
        The file; an existing page is replaced.
    force
        Whether to replace a file that is not a page.

    Raises
    ------
    CntbenchError
        If a result has no verdicts, no claim was tested on all, two results are of one training
        run, or the page cannot be written.
    """
    check_output(path, PAGE, force=force)
    write_text(path, films_page(trees))


def films_page(trees: Mapping[str, xr.DataTree]) -> str:
    """Return the page of several films as HTML; parameters and errors as in `write_films_page`."""
    hint = f"To test them: cntbench claims {' '.join(trees)}"
    for name, tree in trees.items():
        if "claims" not in tree.children:
            raise CntbenchError("no claims were tested", where=name, hint=hint)
    check_independent(trees)
    groups = [tree.children["claims"].to_dataset(inherit=True) for tree in trees.values()]
    common = common_claims(groups)
    if not common:
        raise CntbenchError("no claim was tested on all of these results", hint=hint)
    others = {str(claim) for group in groups for claim in group["claim"].values} - {*common}
    judgements = pooled_judgements(groups)
    first = next(iter(trees.values()))
    tasks = list(dict.fromkeys(judgement.task for judgement in judgements))
    return rendered(
        "films.html",
        title=f"Claims over {counted(len(trees), 'film')}",
        lede="Each film is one training run; the verdicts are pooled over them."
        + (f" Not tested on all films: {listed(sorted(others))}." if others else ""),
        claims=claims_section(judgements, minima(first)),
        tasks=tasks,
        start=tasks.index(task_of_interest(first.to_dataset(inherit=False))),
        ablations=list(dict.fromkeys(judgement.ablation for judgement in judgements)),
        films=[_film(name, tree) for name, tree in trees.items()],
    )


def _film(name: str, tree: xr.DataTree) -> Fields:
    root = tree.to_dataset(inherit=False)
    return {
        "name": name,
        "source": str(root.attrs.get("source", "")),
        "checkpoints": left_out(root) or counted(root.sizes["checkpoint"], "checkpoint"),
    }
