"""The size of a result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cntbench import plugins
from cntbench.dynamics.null_summary import STATISTICS
from cntbench.dynamics.role_summary import OF_CHECKPOINTS, OF_COMPONENTS, OF_GATEKEEPERS
from cntbench.dynamics.roles import ROLES
from cntbench.dynamics.verdicts import OF_CLAIMS, OF_PHASES, OF_TESTS, SIZES
from cntbench.metrics._base import DIMS, LAGS, Metric
from cntbench.results.film import Axes
from cntbench.results.schema import VARIABLES


def result_bytes(
    axes: Axes, checkpoints: int, *, untrained: int, null_draws: int, tests: Sequence[int]
) -> int:
    """Return the size of all numbers of a result, before compression [bytes].

    ``tests`` has the number of tests of each claim. The recovery of known edges, some kilobytes in
    every study, is not included.
    """
    nodes, tasks, ablations = axes.nodes, len(axes.tasks), len(axes.ablations)
    sizes = {
        "task": tasks,
        "ablation": ablations,
        "readout": len(axes.readouts),
        "checkpoint": checkpoints,
        "other_checkpoint": checkpoints,
        "source": len(nodes),
        "target": len(nodes),
        "component": len(nodes),
        "layer": len({node.layer for node in nodes}),
        "lag": len(LAGS),
        "prompt": axes.prompts,
        "position": axes.positions,
        **SIZES,
    }
    numbers = sum(
        math.prod(sizes[dim] for dim in variable.dims)
        for variable in {**VARIABLES, **axes.kept}.values()
        if variable.type == "float"
    )
    cells = tasks * ablations
    numbers += cells * untrained * 2 * len(nodes) ** 2
    of_roles = len(OF_COMPONENTS) * len(nodes) + len(OF_CHECKPOINTS)
    numbers += cells * checkpoints * len(ROLES) * of_roles
    if null_draws:
        numbers += cells * checkpoints * ((len(OF_GATEKEEPERS) - 1) * len(nodes) + 1)
    for plugin in plugins.room("metric").values():
        metric: Metric = plugin.module.METRIC
        size = cells * math.prod(sizes[dim] for dim in DIMS[metric.per])
        numbers += 2 * size  # in double precision
        if null_draws and metric.null is not None:
            numbers += len(STATISTICS) * size
    if null_draws and tests:
        of_phases = sum(math.prod(sizes[dim] for dim in dims) for dims, _ in OF_PHASES.values())
        of_claims = len(tests) * (len(OF_CLAIMS) + len(OF_TESTS) * max(tests))
        numbers += 2 * cells * (of_phases + of_claims)  # in double precision
    return numbers * 4
