"""Pictures for publications, by matplotlib: one file each, drawn from `cntbench.views`.

Each function takes what `cntbench.open_results` returns, a DataTree, or a Dataset with the root's
variables, or a selection from either; task, ablation and checkpoint have to be named if there are
several. It returns a `matplotlib.figure.Figure`, made without pyplot, so that nothing is shown or
kept; with ``ax=``, if a function has it, it draws there and returns the figure of these axes.

=================  ==================================================================
function           picture
=================  ==================================================================
`film`             the component graph at some checkpoints, or at one
`heatmap`          influence as a matrix of source × target at one checkpoint
`circuit`          the components that a task depends on, what they do, and what joins them
`effects`          what ablating each component does to a readout at one checkpoint
`scores`           what heads do over training, with the onset of each, beside a readout
`readouts`         readouts of the clean model over training, with phases
`metrics`          metrics of the graph over training, with bands of their null models
`recurrence`       similarity of the graphs at any two checkpoints
`bump`             ranks of spreaders and gatherers over training
`claims`           effects that decide claims, with intervals and verdicts
`agreement`        agreement of ablation methods on the film
`comparison`       recovery, reliability and cost of ablation methods
`faithfulness`     what circuits and their complements recover, over budgets of edges
`pareto`           score against cost of ablation methods, for each purpose
=================  ==================================================================

`save` writes a figure; the same picture has the same bytes.
`cntbench.plugins` finds a file that is added here, and ``cntbench figures`` draws it.
"""

import importlib
from typing import Any

from cntbench.figures._style import save
from cntbench.figures.agreement import agreement
from cntbench.figures.bump import bump
from cntbench.figures.circuit import circuit
from cntbench.figures.claims import claims
from cntbench.figures.comparison import comparison
from cntbench.figures.effects import effects
from cntbench.figures.faithfulness import faithfulness
from cntbench.figures.film import film
from cntbench.figures.heatmap import heatmap
from cntbench.figures.metrics import metrics
from cntbench.figures.pareto import pareto
from cntbench.figures.readouts import readouts
from cntbench.figures.recurrence import recurrence
from cntbench.figures.scores import scores
from cntbench.plugins import file_names, room

__all__ = [
    "agreement",
    "bump",
    "circuit",
    "claims",
    "comparison",
    "effects",
    "faithfulness",
    "film",
    "heatmap",
    "metrics",
    "pareto",
    "readouts",
    "recurrence",
    "save",
    "scores",
]


def __getattr__(name: str) -> Any:
    """Return the function of a picture that was added to this room or to a user's folder."""
    if name in file_names("picture"):
        return getattr(importlib.import_module(f"{__name__}.{name}"), name)
    if name.isidentifier() and not name.startswith("_") and name in room("picture"):
        return getattr(room("picture")[name].module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
