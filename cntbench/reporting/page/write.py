"""Pages in one file each, of a result and of several: templates, style, script, numbers, Plotly."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup
from numpy.typing import ArrayLike
from plotly.offline import get_plotlyjs

from cntbench.comparison.claims import check_independent, common_claims, pooled_judgements
from cntbench.errors import CntbenchError, listed
from cntbench.files.attributes import __version__
from cntbench.files.output import FileKind, check_output, contains
from cntbench.reporting.page.context import MANY, context, film_context, minima
from cntbench.reporting.page.payload import Payload, payload
from cntbench.reporting.page.sections import Fields, above_chance, claims_section, times
from cntbench.reporting.sentences.claims import PAPER
from cntbench.reporting.sentences.emergence import left_out
from cntbench.reporting.wording import counted, interval, number
from cntbench.results.storage import write_text
from cntbench.views.film import layout
from cntbench.views.readouts import task_of_interest

#: Parts of the script; each uses only those before it.
SCRIPTS = (
    "unpack",
    "wording",
    "theme",
    "look",
    "tables",
    "film",
    "large",
    "matrix",
    "effects",
    "trajectories",
    "panels",
    "readouts",
    "heads",
    "metrics",
    "ranks",
    "circuits",
    "costs",
    "first",
    "main",
)

#: Bits of the mantissa that are kept: a relative error of at most 2^-13, three digits.
BITS = 12
#: Bits of standard errors of a large model: two digits.
ERROR_BITS = 6
#: Bits of a float32 mantissa.
ALL_BITS = 23

#: Height of what stands around the graph, of a row of components, and of the tallest frame of a
#: notebook's film [pixel]. A taller film scrolls.
_AROUND, _ROW, _TALLEST = 480, 104, 900

#: What `write_page` writes.
PAGE = FileKind("a page of cntbench", contains(b'<meta name="generator" content="cntbench '))


def write_page(
    tree: xr.DataTree,
    path: Path,
    *,
    name: str,
    comparison: xr.Dataset | None = None,
    force: bool = False,
) -> None:
    """Write the report of a result.

    Parameters
    ----------
    path
        The file; an existing page is replaced.
    name
        The result's file name, as shown on the page.
    comparison
        The output of ``cntbench compare -o``; by default, the result's own group.
    force
        Whether to replace a file that is not a page.

    Raises
    ------
    StorageError
        If the page cannot be written.
    """
    check_output(path, PAGE, force=force)
    write_text(path, page(tree, name=name, comparison=comparison))


def page(tree: xr.DataTree, *, name: str, comparison: xr.Dataset | None = None) -> str:
    """Return the report of a result as HTML; parameters as in `write_page`."""
    numbers = payload(tree)
    variables = context(tree, numbers.labels, name=name, comparison=comparison)
    return _with_figures("page.html", numbers, variables)


class InteractiveFilm:
    """The film that a notebook shows as the last line of a cell.

    It holds all numbers and the script that draws them, some two megabytes, and needs no network.

    Parameters
    ----------
    height
        Of its frame [pixel]; by default, as the graph needs, up to 900.
    """

    def __init__(self, tree: xr.DataTree, height: int | None = None) -> None:
        rows = 2 * layout(tree.to_dataset(inherit=False)).height.max()
        numbers = payload(tree)
        self._page = _with_figures("film.html", numbers, film_context(tree, numbers.labels))
        self._height = height or min(_TALLEST, _AROUND + round(_ROW * rows))

    def __repr__(self) -> str:
        return "The interactive film, which a notebook shows."

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self._page)}" width="100%" height="{self._height}" '
            'style="border:0" sandbox="allow-scripts" title="The film"></iframe>'
        )


def _with_figures(template: str, numbers: Payload, variables: dict[str, Any]) -> str:
    return rendered(
        template,
        SCRIPTS,
        **variables,
        plotly=_plotly(),
        labels=_json({**numbers.labels, "pictures": variables.get("pictures", {})}),
        arrays=[(key, _packed(numbers, key)) for key in numbers.arrays],
    )


def rendered(template: str, scripts: Sequence[str] = ("theme",), **variables: Any) -> str:
    """Return a page of a template with some scripts, the style sheet and the version."""
    return (
        _environment()
        .get_template(template)
        .render(
            **variables,
            version=__version__,
            style=Markup(_text("templates/style.css")),
            script=Markup("\n".join(_text(f"script/{name}.js") for name in scripts)),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """Return the templates, which escape what they print."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cntbench.reporting.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "spaced": lambda text: str(text).replace("_", " "),
        "listed": listed,
        "number": number,
        "interval": lambda ends: interval(*ends),
        "above_chance": above_chance,
        "times": times,
        "paper": lambda source: PAPER.sub(r"https://arxiv.org/abs/\1", source),
    }
    return environment


def _packed(numbers: Payload, name: str) -> str:
    """Return an array as text; codes of edges are whole numbers and are not rounded."""
    if name == "edge":
        bits = ALL_BITS
    elif name.endswith("error") and len(numbers.labels["component"]) > MANY:
        bits = ERROR_BITS
    else:
        bits = BITS
    return pack(numbers.arrays[name], bits=bits)


def pack(values: ArrayLike, *, bits: int = BITS) -> str:
    """Return an array as text that a browser can unpack: rounded, shuffled, deflated, in base64.

    The bytes of float32 numbers are ordered by significance (all first bytes, all second bytes, …),
    as by netCDF's shuffle filter, because neighbours share their higher bytes. ``unpack.js``
    reverses this with `DecompressionStream`, which needs neither network nor server.

    Parameters
    ----------
    values
        Any shape, neighbours in the last dim alike. Finite numbers or NaN; integers up to 2^24 if
        ``bits`` is 23.
    bits
        Bits of the mantissa to keep, 1 to 23.
    """
    words = np.ascontiguousarray(values, dtype="<f4").view("<u4").ravel()
    dropped = ALL_BITS - bits
    if dropped:
        half, mask = np.uint32(1 << (dropped - 1)), np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
        words = (words + half) & mask
    planes = words.astype("<u4").view(np.uint8).reshape(-1, 4).T
    return deflated(planes.tobytes())


def deflated(content: bytes) -> str:
    """Return bytes, deflated, in base64."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def _json(labels: Any) -> Markup:
    """Return JSON in which no text can end the script element that holds it."""
    text = json.dumps(labels, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _text(path: str) -> str:
    return files("cntbench.reporting.page").joinpath(path).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return deflated(get_plotlyjs().encode())


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
