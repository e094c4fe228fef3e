"""Answers to a reader's first questions, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from cntbench.comparison.claims import Judgement
from cntbench.reporting.sentences.answer import Answer
from cntbench.reporting.sentences.claims import which_claims
from cntbench.reporting.sentences.components import who
from cntbench.reporting.sentences.emergence import when
from cntbench.reporting.sentences.methods import which_method
from cntbench.views.comparison import Agreement, Methods
from cntbench.views.missing import Missing
from cntbench.views.readouts import task_of_interest


def answers(
    tree: xr.DataTree,
    judgements: Sequence[Judgement] | Missing,
    agreement: Agreement,
    methods: Methods | Missing,
) -> tuple[Answer, ...]:
    """Return the answers to a reader's four questions: when, who, which claims, which method.

    Parameters
    ----------
    tree
        The result.
    judgements
        Its verdicts, from `cntbench.views.claims`.
    agreement, methods
        Its ablations, from `cntbench.views.comparison`.
    """
    root = tree.to_dataset(inherit=False)
    task = task_of_interest(root)
    return (
        when(root, task),
        who(tree, task),
        which_claims(tree, judgements, task),
        which_method(task, agreement, methods),
    )
