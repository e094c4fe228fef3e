"""Pictures for publications, by matplotlib: one file each, drawn from `cntbench.views`.

Each function takes what `cntbench.open_results` returns, a DataTree, or a Dataset with the root's
variables, whole or selected from; which task, ablation or checkpoint is meant is named where there
are several. It returns a `matplotlib.figure.Figure`, made without pyplot, so nothing is shown or
kept; with ``ax=``, where a function has it, it draws there and returns that axes' figure.

=================  ==================================================================
function           picture
=================  ==================================================================
`film`             the component graph at some checkpoints, or at one
`heatmap`          influence as a matrix of source × target at one checkpoint
`readouts`         the clean model's behaviour over training, with phases
`metrics`          metrics of the graph over training, with bands of their null models
`recurrence`       similarity of the graphs at any two checkpoints
`bump`             ranks of spreaders and gatherers over training
`claims`           effects on which claims are decided, with intervals and verdicts
`agreement`        how far ablation methods agree on the film
`comparison`       recovery, reliability and cost of ablation methods
`pareto`           score against cost of ablation methods, for each purpose
=================  ==================================================================

`save` writes a figure so that the same picture has the same bytes.
A file that is added beside these is found by `cntbench.plugins`, and drawn by
``cntbench figures``.
"""

import importlib
from typing import Any

from cntbench.figures._style import save
from cntbench.figures.agreement import agreement
from cntbench.figures.bump import bump
from cntbench.figures.claims import claims
from cntbench.figures.comparison import comparison
from cntbench.figures.film import film
from cntbench.figures.heatmap import heatmap
from cntbench.figures.metrics import metrics
from cntbench.figures.pareto import pareto
from cntbench.figures.readouts import readouts
from cntbench.figures.recurrence import recurrence
from cntbench.plugins import file_names, room

__all__ = [
    "agreement",
    "bump",
    "claims",
    "comparison",
    "film",
    "heatmap",
    "metrics",
    "pareto",
    "readouts",
    "recurrence",
    "save",
]


def __getattr__(name: str) -> Any:
    """Return the function of a picture that a file of this room, or of a user, has added."""
    if name in file_names("picture"):
        return getattr(importlib.import_module(f"{__name__}.{name}"), name)
    if name.isidentifier() and not name.startswith("_") and name in room("picture"):
        return getattr(room("picture")[name].module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
