"""What the templates of the page say: head line, sections, tables, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cntbench.report.page.answers import answers
from cntbench.report.page.sections import agreement_section, claims_section, methods_section
from cntbench.report.page.wording import counted, few
from cntbench.results.film import usable
from cntbench.views.claims import claims
from cntbench.views.comparison import agreement, methods
from cntbench.views.missing import Missing, missing
from cntbench.views.provenance import provenance

SECTIONS = (
    ("answers", "In short"),
    ("film-section", "Film"),
    ("heatmap-section", "Matrix"),
    ("readouts", "Readouts"),
    ("effects", "Effects"),
    ("metrics", "Metrics"),
    ("recurrence-section", "Recurrence"),
    ("roles", "Roles"),
    ("claims", "Claims"),
    ("comparison", "Methods"),
    ("provenance", "Provenance"),
)
#: How many edges a reader may ask for.
_EDGE_CHOICES = (25, 50, 100, 150, 300, 600)

View = TypeVar("View")


def context(
    tree: xr.DataTree, labels: Mapping[str, Any], *, name: str, comparison: xr.Dataset | None
) -> dict[str, Any]:
    """Return what the templates need beside the numbers.

    Parameters
    ----------
    tree, name, comparison
        As of `cntbench.report.page.write.write_page`.
    labels
        Of the numbers, by `cntbench.report.page.payload.payload`.
    """
    made_here = partial(_made_here, tree, name)
    return {
        **_head(tree, name),
        **_figures(labels),
        **_lacking(tree, labels, name),
        **_tables(tree, made_here(claims(tree)), made_here(methods(tree, comparison))),
    }


def _made_here(tree: xr.DataTree, name: str, view: View) -> View | Missing:
    """Return a view; if it is missing, with the command that makes it for this result."""
    if not isinstance(view, Missing):
        return view
    return view.in_file(name, str(tree.attrs.get("history", "")))


def _head(tree: xr.DataTree, name: str) -> dict[str, Any]:
    root = tree.to_dataset(inherit=False)
    source, study = (str(root.attrs.get(key, "")) for key in ("source", "study"))
    sizes = root.sizes
    where = f" of {source}" if source else ""
    gaps = [str(one) for one in root["checkpoint"].values[~usable(root)]]
    said = f"{len(gaps)} of {counted(sizes['checkpoint'], 'checkpoint')} do not count: {few(gaps)}."
    return {
        "file": name,
        "title": study or source or "Result",
        "lede": f"Causal influence between {counted(sizes['source'], 'component')}{where} at "
        f"{counted(sizes['checkpoint'], 'checkpoint')}, on {counted(sizes['task'], 'task')} by "
        f"{counted(sizes['ablation'], 'ablation method')}.",
        "left_out": said if gaps else "",
        "sections": SECTIONS,
    }


def _figures(labels: Mapping[str, Any]) -> dict[str, Any]:
    most = labels["kept"]
    choices = [(count, f"strongest {count}") for count in _EDGE_CHOICES if count < most]
    choices.append((most, f"all {most}" if most == labels["edges"] else f"strongest {most}"))
    over = "over what its layers alone would give it" if labels["roles"] else "per feasible edge"
    return {
        "tasks": labels["task"],
        "ablations": labels["ablation"],
        "checkpoints": len(labels["step"]),
        "start": labels["start"],
        "edges": labels["edges"],
        "kept": most,
        "drawn": min(labels["drawn"], most),
        "edge_choices": choices,
        "metrics": labels["metric"],
        "recurrence_words": labels["recurrence"],
        "role_words": "Discs grow with what a component sends, rings with what it receives, both "
        f"{over}.",
    }


def _lacking(tree: xr.DataTree, labels: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what is missing for each part that is drawn; None where nothing is."""
    groups = {group: group in tree.children for group in ("metrics", "nulls", "roles", "phases")}
    there = {**groups, "recurrence": bool(labels["recurrence"])}
    return {
        f"{part}_missing": None
        if known
        else _made_here(tree, name, missing("metrics" if part == "recurrence" else part))
        for part, known in there.items()
    }


def _tables(tree: xr.DataTree, judged: Any, known: Any) -> dict[str, Any]:
    agreed = agreement(tree)
    return {
        "answers": answers(tree, judged, agreed, known),
        "claims": None if isinstance(judged, Missing) else claims_section(judged, _minima(tree)),
        "claims_missing": judged,
        "agreement": agreement_section(agreed),
        "methods": None if isinstance(known, Missing) else methods_section(known, agreed.ablation),
        "methods_missing": known,
        "provenance": provenance(tree),
    }


def _minima(tree: xr.DataTree) -> dict[str, list[float]]:
    """Return by claim the smallest effects that count, for each of its tests."""
    group = tree.children["claims"].to_dataset(inherit=False)
    values = np.asarray(group["test_minimum"].values, dtype=np.float64)
    return {
        str(claim): list(map(float, row))
        for claim, row in zip(group["claim"].values, values, strict=True)
    }
