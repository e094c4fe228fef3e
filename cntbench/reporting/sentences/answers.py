"""Answers to a reader's first questions, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from cntbench.comparison.claims import Judgement
from cntbench.reporting.sentences import Answer
from cntbench.reporting.sentences.claims import hold, verdicts, which_claims
from cntbench.reporting.sentences.components import carriers, who
from cntbench.reporting.sentences.emergence import learnt, when
from cntbench.reporting.sentences.methods import decided, which_method
from cntbench.views.circuit import circuit
from cntbench.views.comparison import Agreement, Methods, methods
from cntbench.views.missing import Missing
from cntbench.views.readouts import task_of_interest
from cntbench.views.verdict import claims


def answers(
    tree: xr.DataTree,
    judgements: Sequence[Judgement] | Missing,
    agreement: Agreement,
    tested: Methods | Missing,
) -> tuple[Answer, ...]:
    """Return the answers to a reader's four questions: when, who, which claims, which method."""
    root = tree.to_dataset(inherit=False)
    task = task_of_interest(root)
    return (
        when(root, task),
        who(tree, task),
        which_claims(tree, judgements, task),
        which_method(task, agreement, tested),
    )


def in_short(
    tree: xr.DataTree, task: str | None = None, checkpoint: int | None = None
) -> list[str]:
    """Return the page's answers, sentence by sentence, for which a result has data.

    By default they are about the task of the page and the last checkpoint that counts.
    """
    root = tree.to_dataset(inherit=False)
    task = task_of_interest(root) if task is None else task
    sentences = [learnt(root, task)] if root["readout_value"].notnull().any() else []
    view = circuit(tree, task, checkpoint)
    if view is not None and view.measured:
        sentences.append(carriers(view, task))
    judgements = claims(tree)
    if not isinstance(judgements, Missing):
        sentences.append(hold(verdicts(judgements, task), task))
    tested = methods(tree)
    if not isinstance(tested, Missing):
        ablations = tuple(map(str, root["ablation"].values))
        sentences.append(decided(tested, ablations))
    return sentences
