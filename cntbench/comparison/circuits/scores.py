"""Edge scores from a result, including the edges into the unembedding.

A method that observes the readout scores an edge by the change of the readout when the edge is
patched: ``edge_effect``, and ``readout_effect`` for edges into the unembedding. A method that
observes targets scores an edge by ``influence``, and edges into the unembedding by the change of
the readout relative to its clean value, unless that is 0; these scores have no sign. No method
scores edges from the embedding.
"""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from cntbench.comparison.circuits.faithfulness import EdgeScores
from cntbench.errors import CntbenchError
from cntbench.metrics._base import divide
from cntbench.plugins import find


def observed_readout(root: xr.Dataset, task: str) -> str:
    """Return the readout that the edges of a film were measured on: the first of the effects."""
    recorded = json.loads(root.attrs.get("spec", "{}")).get("tasks", {}).get(task, {})
    imported = json.loads(root.attrs.get("import_spec", "{}")).get("readout")
    effects = recorded.get("effects") or [imported or root["readout"].values[-1]]
    return str(effects[0])


def scores_of(cell: xr.Dataset, readout: str) -> EdgeScores:
    """Return the scores of one method of a result.

    Parameters
    ----------
    cell
        ``influence``, ``edge_effect``, ``readout_effect`` and ``readout_value`` of one task,
        ablation and checkpoint.
    readout
        The readout that edges were measured on: the first of the task's effects.

    Raises
    ------
    CntbenchError
        If nothing was measured in the cell.
    """
    influence, effect, on_readout, value = (
        np.asarray(cell[name].values, dtype=np.float64)
        for name in ("influence", "edge_effect", "readout_effect", "readout_value")
    )
    if not np.isfinite(influence).any():
        reason = str(cell["status_reason"].item()) if "status_reason" in cell else ""
        raise CntbenchError(f"has no influence to rank edges by{reason and f': {reason}'}")
    row = list(map(str, cell["readout"].values)).index(readout)
    signed = bool(np.isfinite(effect).any())
    values = np.full((len(influence) + 1, len(influence) + 1), np.nan)
    if signed:
        better = find("readout", readout).BETTER
        values[1:, :-1], values[1:, -1] = -better * effect, -better * on_readout[row]
    else:
        values[1:, :-1], values[1:, -1] = influence, divide(abs(on_readout[row]), abs(value[row]))
    return EdgeScores(values, signed)
