"""What ``cntbench compare`` writes, of methods whose scores are given."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cntbench.comparison.table import TITLE
from cntbench.comparison.verdict import verdict

CIRCUITS = [f"dag{i}" for i in range(6)]


def compared(means, passes, **changed):
    """A comparison of methods whose scores are a mean and what the models share."""
    rng = np.random.default_rng(0)
    models = 0.01 * rng.standard_normal((1, 1, 6, 3))
    purposes = ["direct_edges", "total_influence", "readout_edges"]
    labels = {
        "purpose": purposes,
        "ablation": list(means),
        "scored_circuit": changed.get("circuits", CIRCUITS),
        "seed": [0, 1, 2],
    }
    values = np.array(list(means.values()))[None, :, None, None] + models + np.zeros((3, 1, 1, 1))
    scores = xr.DataArray(values, labels, tuple(labels), attrs={"long_name": "score"})
    cost = xr.DataArray(
        [float(n) for n in passes], {"ablation": list(means)}, attrs={"long_name": "cost"}
    )
    hashes = {name: f"{name}@1" for name in labels["scored_circuit"]} | changed.get("hashes", {})
    passed = np.where(np.arange(len(means)) == 0, 1.0, np.nan)[None]
    return xr.Dataset(
        {
            **verdict(scores, cost),
            "score_by_model": scores,
            "forward_passes": cost,
            "circuit_sha256": ("scored_circuit", list(hashes.values())),
            "passed": (("special", "ablation"), passed),
            "value": (("special", "ablation"), passed),
            "what": (("special", "ablation"), np.full(passed.shape, "A → B")),
        },
        coords={"special": ["fork"]},
        attrs={"title": TITLE, "seed": 0},
    )
