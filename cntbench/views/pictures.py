"""Every picture twice: as a figure for publications, and on the page of the report."""

from __future__ import annotations

from collections.abc import Mapping

#: By the name of a figure in `cntbench.figures`, the element of the page that shows the same: an
#: interactive picture, or a section whose tables have the same numbers.
ON_PAGE: Mapping[str, str] = {
    "film": "film",
    "heatmap": "heatmap",
    "circuit": "answers",
    "readouts": "readout-figure",
    "effects": "effect-figure",
    "scores": "head-figure",
    "metrics": "metric-figure",
    "recurrence": "recurrence",
    "bump": "bump",
    "claims": "claims",
    "agreement": "comparison",
    "comparison": "comparison",
    "pareto": "comparison",
    "faithfulness": "circuits",
}
#: Parts of the first screen, and the figures that show the same at full size.
FIRST_SCREEN: Mapping[str, str] = {"curve": "readouts", "moments": "film", "circuit": "circuit"}
