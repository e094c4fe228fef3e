"""Verdicts on claims."""

from __future__ import annotations

import xarray as xr

from cntbench.comparison.claims import Judgement, file_judgements
from cntbench.views.missing import Missing, missing


def claims(tree: xr.DataTree) -> tuple[Judgement, ...] | Missing:
    """Return the verdicts that a result holds, by task, ablation and claim."""
    if "claims" not in tree.children:
        return missing("claims")
    return tuple(file_judgements(tree.children["claims"].to_dataset(inherit=True)))
