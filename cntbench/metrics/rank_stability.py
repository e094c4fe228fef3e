"""How stable the ranks of components by what they receive or send are: Kendall's τ over time.

τ_b = (C − D) / √(P P') between the layer-corrected strengths
(`cntbench.metrics._layers.layer_corrected`) at a checkpoint and at the one ``lag`` usable
checkpoints before it. C and D count the pairs of components in the same and in the opposite order
at the two checkpoints; P and P' count the untied pairs at each. 1 for the same order, −1 for the
opposite one. Components without feasible edges are left out; values that agree to nine digits are
tied. Source: Kendall 1945, "The treatment of ties in ranking problems".

>>> from functools import partial
>>> import numpy as np
>>> from cntbench.metrics._layers import ranked_strengths
>>> weights = np.full((3, 4, 4), np.nan)
>>> weights[:, 0, 1:] = [[1, 2, 3], [1, 2, 4], [3, 2, 1]]
>>> ranked = partial(ranked_strengths, weights, np.array([0, 1, 1, 1]))
>>> compute(weights, ranked_strengths=ranked, direction="in")[:, :2]
array([[nan, nan],
       [ 1., nan],
       [-1., -1.]])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import networkx as nx
import numpy as np

from cntbench.metrics._base import LAGS, TIE, Array, Direction, Metric, divide, order
from cntbench.metrics._batches import film_by_film
from cntbench.metrics._layers import ranked_strengths_reference
from cntbench.plugins import Variant

METRIC = Metric(
    per="lag",
    lower=-1,
    upper=1,
    degree=0,
    null="time_order",
    undefined="where all components are tied there is no rank order",
    needs=("ranked_strengths",),
)

VARIANTS = {
    "in_rank_stability": Variant(
        "How stable the ranks of components by what they receive are: Kendall's τ with earlier "
        "checkpoints.",
        {"direction": "in"},
    ),
    "out_rank_stability": Variant(
        "How stable the ranks of components by what they send are: Kendall's τ with earlier "
        "checkpoints.",
        {"direction": "out"},
    ),
}


def compute(
    weights: Array, *, ranked_strengths: Callable[[Direction], Array], direction: Direction
) -> Array:
    """Return τ between each checkpoint and the one ``lag`` before it; NaN where there is none."""

    def film_stability(strengths: Array) -> Array:
        first, second = np.triu_indices(strengths.shape[-1], 1)
        # The counts are small integers: float32 holds them exactly and is fast.
        signs = order(strengths[:, first], strengths[:, second]).astype(np.float32)
        untied = np.square(signs).sum(axis=-1)
        stability = np.full((len(strengths), len(LAGS)), np.nan)
        for column, lag in enumerate(LAGS):
            if lag >= len(strengths):
                break
            agreement = np.einsum("cp,cp->c", signs[lag:], signs[:-lag]).astype(np.float64)
            pairs = np.sqrt(untied[lag:].astype(np.float64) * untied[:-lag])
            stability[lag:, column] = divide(agreement, pairs)
        return stability

    return film_by_film(film_stability, ranked_strengths(direction))


def reference(earlier: nx.DiGraph, later: nx.DiGraph, *, direction: Direction) -> float:
    """Compare all pairs of components."""
    before = ranked_strengths_reference(earlier, direction)
    after = ranked_strengths_reference(later, direction)
    agreement = untied_before = untied_after = 0
    for a, b in combinations(before, 2):
        sign_before, sign_after = _sign(before[a], before[b]), _sign(after[a], after[b])
        agreement += sign_before * sign_after
        untied_before += abs(sign_before)
        untied_after += abs(sign_after)
    pairs = math.sqrt(untied_before * untied_after)
    return agreement / pairs if pairs else float("nan")


def _sign(a: float, b: float) -> int:
    return 0 if math.isclose(a, b, rel_tol=TIE) else (1 if a > b else -1)
