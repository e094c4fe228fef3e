"""A leaderboard as a Markdown table and as a page."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from markupsafe import Markup

from cntbench.errors import StorageError
from cntbench.figures import pareto, save
from cntbench.files.output import FileKind, check_output, contains
from cntbench.reporting.page.sections import Fields, verdict_section
from cntbench.reporting.page.write import PAGE, rendered
from cntbench.reporting.wording import counted, interval
from cntbench.results.storage import write_text
from cntbench.views.verdict import Ranked, verdict

#: The first line of the Markdown.
_MARK = "<!-- cntbench leaderboard -->"
#: What is written, by the ending of the file.
KINDS = {".html": PAGE, ".md": FileKind("a leaderboard in Markdown", contains(_MARK.encode()))}


def check_leaderboard(path: Path, *, inputs: list[Path], force: bool = False) -> None:
    """Check that a leaderboard may be written.

    Raises
    ------
    StorageError
        If the file ends with neither .html nor .md, or `cntbench.files.output.check_output` refuses
        it.
    """
    check_output(path, KINDS.get(path.suffix, PAGE), inputs=inputs, force=force)
    if path.suffix not in KINDS:
        raise StorageError(
            f"ends with {path.suffix!r}" if path.suffix else "has no ending",
            where=str(path),
            hint=f"Allowed: {', '.join(KINDS)}.",
        )


def write_leaderboard(dataset: xr.Dataset, path: Path) -> None:
    """Write a leaderboard, by the ending of the file.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    write_text(path, markdown(dataset) if path.suffix == ".md" else page(dataset))


def markdown(dataset: xr.Dataset) -> str:
    """Return the decisions and the table of all methods, best first."""
    view = verdict(dataset)
    assert view is not None
    headings = ["method", *(f"{r.title} ({r.measure})" for r in view.ranking), "cost"]
    rows = [headings, ["---"] * len(headings)]
    for name, places, passes in view.rows:
        cost = "" if np.isnan(passes) else f"{passes:.2g}×"
        rows.append([f"`{_inert(name)}`", *map(_cell, places), cost])
    return "\n".join(
        [
            _MARK,
            "# Which ablation method for which purpose",
            "",
            *(f"- {_inert(ranking.sentence)}" for ranking in view.ranking),
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"Rank (= if shared), score and its 95 % interval over {view.sample}; "
            "cost in forward passes; \\* if no other method is as good and as cheap. "
            "Ranks are by tests of pairs, with a false discovery rate of 5 %.",
            *map(_inert, view.absent),
            "",
        ]
    )


def page(dataset: xr.Dataset) -> str:
    """Return the leaderboard as HTML."""
    view = verdict(dataset)
    assert view is not None
    files = {file for origin in dataset["origin"].values for file in str(origin).split("; ")}
    return rendered(
        "leaderboard.html",
        title="Which ablation method for which purpose",
        lede=f"{counted(dataset.sizes['ablation'], 'method')} of "
        f"{counted(len(files), 'comparison')}, ranked on the same planted circuits.",
        verdict=verdict_section(view, ()),
        picture=_picture(dataset),
        origins=[_origin(dataset.isel(ablation=i)) for i in range(dataset.sizes["ablation"])],
    )


def _origin(method: xr.Dataset) -> Fields:
    passed = ""
    if "tested_count" in method and np.isfinite(method["tested_count"]):
        passed = f"{int(method['passed_count'])} of {int(method['tested_count'])}"
    name, files = (str(method[key].item()) for key in ("ablation", "origin"))
    return {"name": name, "passed": passed, "files": files}


def _picture(dataset: xr.Dataset) -> Markup | None:
    """Return the Pareto fronts as SVG; None without costs."""
    if not np.isfinite(dataset["pareto"]).any():
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pareto.svg"
        save(pareto(dataset), path)
        text = path.read_text(encoding="utf-8")
    return Markup(text[text.index("<svg") :])


def _cell(method: Ranked | None) -> str:
    if method is None:
        return "–"
    rank = f"{method.rank}{'=' if method.shared else ''}"
    mark = "\\*" if method.pareto else ""
    return f"{rank}: {interval(method.score, method.low, method.high)}{mark}"


def _inert(text: str) -> str:
    """Return text that ends no cell and begins no markup."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("`", "'")
