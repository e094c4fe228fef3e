"""The variables of the page's templates: title, sections, tables, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cntbench.comparison.claims import Judgement
from cntbench.reporting.page.circuits import circuits_section
from cntbench.reporting.page.picture import picture
from cntbench.reporting.page.sections import (
    MARKS,
    agreement_section,
    claims_section,
    cost_panels,
    methods_section,
)
from cntbench.reporting.sentences.answers import answers
from cntbench.reporting.sentences.emergence import left_out
from cntbench.reporting.sentences.head import all_counted, edges_held, heading, lede, size_words
from cntbench.views.comparison import Methods, agreement, methods
from cntbench.views.missing import Missing, missing
from cntbench.views.provenance import provenance
from cntbench.views.readouts import task_of_interest
from cntbench.views.verdict import claims

SECTIONS = (
    ("answers", "In short"),
    ("film-section", "Film"),
    ("heatmap-section", "Matrix"),
    ("readouts", "Readouts"),
    ("effects", "Effects"),
    ("heads", "Heads"),
    ("metrics", "Metrics"),
    ("recurrence-section", "Recurrence"),
    ("roles", "Roles"),
    ("claims", "Claims"),
    ("circuits", "Circuits"),
    ("comparison", "Methods"),
    ("provenance", "Provenance"),
)
#: Number of components beyond which the film groups them by layer, as ``script/large.js`` has it.
MANY = 60
#: Numbers of edges that a reader may choose from.
_EDGE_CHOICES = (25, 50, 100, 150, 300, 600)

View = TypeVar("View")


def context(
    tree: xr.DataTree, labels: Mapping[str, Any], *, name: str, comparison: xr.Dataset | None
) -> dict[str, Any]:
    """Return the variables of the templates, of what `write_page` takes and `payload` labels."""

    def with_command(view: View | Missing) -> View | Missing:
        """Return a view; where it is missing, with the command that adds it to this result."""
        if isinstance(view, Missing):
            return view.in_file(name, str(tree.attrs.get("history", "")))
        return view

    groups = {group: group in tree.children for group in ("metrics", "nulls", "roles", "phases")}
    present = {**groups, "recurrence": bool(labels["recurrence"])}
    missing_parts = {
        f"{part}_missing": None
        if known
        else with_command(missing("metrics" if part == "recurrence" else part))
        for part, known in present.items()
    }
    return {
        **_head(tree, name),
        **_figures(labels),
        **missing_parts,
        **_tables(tree, with_command(claims(tree)), with_command(methods(tree, comparison))),
    }


def film_context(tree: xr.DataTree, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of the film's template, as `context` does those of the page."""
    return {**_head(tree, ""), **_figures(labels)}


def _head(tree: xr.DataTree, name: str) -> dict[str, Any]:
    root = tree.to_dataset(inherit=False)
    name_of = title(*(str(root.attrs.get(key, "")) for key in ("source", "study")))
    return {
        "file": name,
        "title": heading(name_of, task_of_interest(root)),
        "lede": lede(root),
        "gaps": bool(left_out(root)),
        "sections": [
            (name, words)
            for name, words in SECTIONS
            if name != "circuits" or "faithfulness" in tree.children
        ],
    }


def title(source: str, study: str) -> str:
    """Return the title of a result: that of a folder of checkpoints is the folder's name.

    Examples
    --------
    >>> title("dir:/home/me/runs/my-gpt", "nano"), title("nano:seed=0", "nano")
    ('my-gpt', 'nano')
    """
    scheme, _, where = source.partition(":")
    if scheme == "planted":
        return where.partition(",")[0] or source
    if scheme in ("dir", "hub", "memory"):
        return where.partition("@")[0].rstrip("/").rsplit("/", 1)[-1] or source
    return study or source or "Result"


def _figures(labels: Mapping[str, Any]) -> dict[str, Any]:
    most = labels["kept"]
    choices = [(count, f"strongest {count}") for count in _EDGE_CHOICES if count < most]
    choices.append((most, f"all {most}" if most == labels["edges"] else f"strongest {most}"))
    return {
        "tasks": labels["task"],
        "ablations": labels["ablation"],
        "checkpoints": len(labels["step"]),
        "start": labels["start"],
        "drawn": min(labels["drawn"], most),
        "edge_choices": choices,
        "layers": sorted(set(labels["layer"])) if len(labels["component"]) > MANY else [],
        "experts": "expert" in labels["kind"],
        "kept_words": edges_held(most, labels["edges"]),
        "metrics": labels["metric"],
        "recurrence_words": labels["recurrence"],
        "role_words": size_words(labels["roles"]),
        "moments": labels["moments"],
    }


def _tables(
    tree: xr.DataTree, judgements: Sequence[Judgement] | Missing, tested: Methods | Missing
) -> dict[str, Any]:
    pairs, origin, circuits = agreement(tree), provenance(tree), circuits_section(tree)
    return {
        "marks": MARKS,
        "answers": answers(tree, judgements, pairs, tested),
        "picture": picture(tree),
        "claims": None
        if isinstance(judgements, Missing)
        else claims_section(judgements, minima(tree)),
        "claims_missing": judgements,
        "agreement": agreement_section(pairs),
        "methods": None if isinstance(tested, Missing) else methods_section(tested, pairs.ablation),
        "methods_missing": tested,
        "provenance": origin,
        "counted": all_counted(len(origin.left_out), len(origin.checkpoint)),
        "circuits": circuits,
        "pictures": {
            "circuits": circuits["curves"] if circuits else [],
            "costs": [] if isinstance(tested, Missing) else cost_panels(tested.verdict),
        },
    }


def minima(tree: xr.DataTree) -> dict[str, list[float]]:
    """Return, by claim, the smallest effect that counts for each of its tests."""
    group = tree.children["claims"].to_dataset(inherit=False)
    values = np.asarray(group["test_minimum"].values, dtype=np.float64)
    return {
        str(claim): list(map(float, row))
        for claim, row in zip(group["claim"].values, values, strict=True)
    }
