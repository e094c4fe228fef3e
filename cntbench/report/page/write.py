"""Put the page together: templates, style and script, numbers, and Plotly itself, in one file."""

from __future__ import annotations

import json
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cntbench import __version__
from cntbench.dataset import usable
from cntbench.report.page.answers import answers
from cntbench.report.page.packing import ALL_BITS, BITS, pack, pack_text
from cntbench.report.page.payload import Payload, payload
from cntbench.report.page.sections import agreement_section, claims_section, methods_section
from cntbench.report.page.wording import few, listed
from cntbench.storage import write_text
from cntbench.views.claims import claims
from cntbench.views.comparison import agreement, methods
from cntbench.views.missing import Missing, missing
from cntbench.views.provenance import provenance

#: Parts of the script, in the order in which they stand on each other.
SCRIPTS = ("unpack", "wording", "look", "tables", "film", "trajectories", "main")
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


def write_page(
    tree: xr.DataTree, path: Path, *, name: str, comparison: xr.Dataset | None = None
) -> None:
    """Write the report of a result.

    Parameters
    ----------
    tree
        The result.
    path
        Where to; what was there is replaced.
    name
        The result's file, as the page names it.
    comparison
        What ``cntbench compare -o`` writes; by default the result's own group.

    Raises
    ------
    StorageError
        If the page cannot be written.
    """
    write_text(path, page(tree, name=name, comparison=comparison))


def page(tree: xr.DataTree, *, name: str, comparison: xr.Dataset | None = None) -> str:
    """Return the report of a result as HTML; parameters as of `write_page`."""
    numbers = payload(tree)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cntbench.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made_by = partial(_command, tree, name)
    environment.filters |= {
        "spaced": lambda text: str(text).replace("_", " "),
        "listed": listed,
        "command": made_by,
    }
    return environment.get_template("page.html").render(
        **_frame(tree, name),
        **_figures(tree, numbers),
        **_tables(tree, comparison),
        labels=_json(numbers.labels),
        arrays=[(key, _packed(key, values)) for key, values in numbers.arrays.items()],
    )


def _packed(name: str, values: Any) -> str:
    """Return an array as text; codes of edges are whole numbers, which must stay what they are."""
    return pack(values, bits=ALL_BITS if name == "edge" else BITS)


def _json(labels: Any) -> Markup:
    """Return JSON that no text in it can end before its time."""
    text = json.dumps(labels, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _command(tree: xr.DataTree, name: str, missing: Missing) -> str:
    """Return what makes for this result what it lacks."""
    if missing.command == "cntbench run":
        return str(tree.attrs.get("history", missing.command))
    return missing.command.replace("RESULTS", name)


def _frame(tree: xr.DataTree, name: str) -> dict[str, Any]:
    root = tree.to_dataset(inherit=False)
    source, study = (str(root.attrs.get(key, "")) for key in ("source", "study"))
    where = f" of {source}" if source else ""
    sizes = root.sizes
    gaps = [str(one) for one in root["checkpoint"].values[~usable(root)]]
    return {
        "version": __version__,
        "file": name,
        "title": study or source or "Result",
        "lede": f"Causal influence between {sizes['source']} components{where} at "
        f"{sizes['checkpoint']} checkpoints, on {sizes['task']} tasks by {sizes['ablation']} "
        "ablation methods.",
        "left_out": f"{len(gaps)} of {sizes['checkpoint']} checkpoints do not count: {few(gaps)}."
        if gaps
        else "",
        "sections": SECTIONS,
        "style": Markup(_text("templates/style.css")),
        "script": Markup("\n".join(_text(f"script/{part}.js") for part in SCRIPTS)),
        "plotly": _plotly(),
    }


def _text(path: str) -> str:
    return files("cntbench.report.page").joinpath(path).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return pack_text(get_plotlyjs())


def _figures(tree: xr.DataTree, numbers: Payload) -> dict[str, Any]:
    labels = numbers.labels
    lacking = {
        group: None if group in tree.children else missing(group)
        for group in ("metrics", "nulls", "roles", "phases")
    }
    roles = bool(labels["roles"])
    most = labels["kept"]
    choices = [(count, f"strongest {count}") for count in _EDGE_CHOICES if count < most]
    choices.append((most, f"all {most}" if most == labels["edges"] else f"strongest {most}"))
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
        "metrics_missing": lacking["metrics"],
        "nulls_missing": lacking["nulls"],
        "roles_missing": lacking["roles"],
        "phases_missing": lacking["phases"],
        "recurrence_missing": None if labels["recurrence"] else missing("metrics"),
        "recurrence_words": labels["recurrence"],
        "role_words": "Discs grow with what a component sends, rings with what it receives, both "
        + ("over what its layers alone would give it." if roles else "per feasible edge."),
        "key_words": ("sends (spreader)", "receives (gatherer)"),
    }


def _tables(tree: xr.DataTree, comparison: xr.Dataset | None) -> dict[str, Any]:
    judged, agreed, known = claims(tree), agreement(tree), methods(tree, comparison)
    return {
        "answers": answers(tree, agreed, known),
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
