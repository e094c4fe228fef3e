"""How well a power law or a log-normal fits the tail of the weights, against an exponential.

Mean log-likelihood ratio per edge of the tail, or Vuong's statistic: this mean divided by its
standard error, which is standard normal if both fit equally well and edges are independent. If a
power law fits better, the tail is heavier than exponential. A better log-normal does not show this:
it also fits lighter tails. If both fit better, the one with the larger mean fits best.

The tail is the larger half of the nonzero weights, x ≥ x_min, including ties with its smallest
weight. All three densities are defined on x ≥ x_min and maximise the likelihood there. With
y = ln(x / x_min):

- exponential, λ e^(−λ(x − x_min)): λ = 1 / mean(x − x_min);
- power law, (α − 1) / x_min (x / x_min)^−α: α = 1 + 1 / mean(y);
- log-normal: y is normal, truncated at 0. Let h be the truncation point in standard deviations
  above the mean and r(h) = φ(h) / (1 − Φ(h)) − h; h solves mean(y²) / mean(y)² = (1 − h r) / r².
  The right-hand side increases with h towards 2, where the log-normal becomes the power law; for
  larger moments, the power law is the best-fitting log-normal.

The size of the tail is fixed rather than fitted, so that graphs are compared on the same number of
edges and no distribution chooses a tail that suits it. The library ``powerlaw`` gives the same
numbers for the same x_min if its ``parameter_ranges`` include the parameters of the truncated
normal.

Source: Clauset, Shalizi and Newman 2009, "Power-law distributions in empirical data"; Vuong 1989,
"Likelihood ratio tests for model selection and non-nested hypotheses"; Castillo 1994, "The singly
truncated normal distribution" (when its likelihood has a maximum).

>>> import numpy as np
>>> weights = np.full((41, 41), np.nan)
>>> weights[0, 1:] = 1 / np.arange(1, 41)
>>> float(compute(weights, distribution="log-normal", statistic="mean").round(3))
0.211
>>> float(compute(weights, distribution="power law", statistic="mean").round(3))
0.205
>>> float(compute(weights, distribution="log-normal", statistic="z").round(3))
1.434
>>> float(compute(weights, distribution="power law", statistic="z").round(3))
1.253
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from cntbench.metrics._base import Array, Metric, divide
from cntbench.plugins import Variant

Distribution = Literal["power law", "log-normal"]
Statistic = Literal["mean", "z"]

METRIC = Metric(
    per="graph",
    lower=-np.inf,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined="a tail of fewer than 10 edges or of equal weights has no shape",
)

VARIANTS = {
    "tail_lognormal": Variant(
        "How much better a log-normal fits the tail of the weights than an exponential, per edge.",
        {"distribution": "log-normal", "statistic": "mean"},
        {"METRIC": replace(METRIC, units="nat")},
    ),
    "tail_lognormal_z": Variant(
        "How significantly a log-normal fits the tail of the weights better than an exponential.",
        {"distribution": "log-normal", "statistic": "z"},
    ),
    "tail_power_law": Variant(
        "How much better a power law fits the tail of the weights than an exponential, per edge.",
        {"distribution": "power law", "statistic": "mean"},
        {"METRIC": replace(METRIC, units="nat")},
    ),
    "tail_power_law_z": Variant(
        "How significantly a power law fits the tail of the weights better than an exponential.",
        {"distribution": "power law", "statistic": "z"},
    ),
}

#: Smallest number of edges in a tail.
FEWEST = 10
#: Relative difference between the largest and smallest weight below which a tail is flat.
EQUAL = 1e-2

#: Above this truncation point, log-normal and power law differ by less than 1e-6 nat per edge.
_LARGEST_CUT = 30.0
_SMALLEST_CUT = -1e5


def compute(weights: Array, *, distribution: Distribution, statistic: Statistic) -> Array:
    """Return the comparison for every graph."""
    return getattr(ratios(weights, distribution), statistic)


def reference(graph: nx.DiGraph, *, distribution: Distribution, statistic: Statistic) -> float:
    """Fit one graph, edge by edge."""
    weights = sorted((w for _, _, w in graph.edges(data="weight") if w > 0), reverse=True)
    smallest = weights[math.ceil(len(weights) / 2) - 1] if weights else 0.0
    tail = [weight / smallest for weight in weights if weight >= smallest]
    if len(tail) < FEWEST or tail[0] <= 1 + EQUAL:
        return math.nan
    logs = [math.log(x) for x in tail]
    m1, m2 = math.fsum(logs) / len(tail), math.fsum(y * y for y in logs) / len(tail)
    above = math.fsum(x - 1 for x in tail) / len(tail)

    def excess(h: float) -> float:
        density = math.exp(-h * h / 2) / math.sqrt(2 * math.pi)
        return density / (math.erfc(h / math.sqrt(2)) / 2) - h

    def moment(h: float) -> float:
        return (1 - h * excess(h)) / excess(h) ** 2

    def density(x: float) -> float:
        if distribution == "power law" or moment(_LARGEST_CUT) <= m2 / m1**2:
            return -math.log(m1) - (1 / m1 + 1) * math.log(x)
        normal = ((math.log(x) / deviation + h) ** 2 + math.log(2 * math.pi)) / 2
        return -normal - math.log(deviation * math.erfc(h / math.sqrt(2)) / 2 * x)

    low, h = _SMALLEST_CUT, _LARGEST_CUT
    while h - low > 1e-15 * max(1, abs(h)):
        middle = (low + h) / 2
        if middle in (low, h):
            break
        low, h = (middle, h) if moment(middle) < m2 / m1**2 else (low, middle)
    deviation = m1 / excess(h)
    ratio = [density(x) + math.log(above) + (x - 1) / above for x in tail]
    mean = math.fsum(ratio) / len(tail)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in ratio)) / len(tail)
    return mean if statistic == "mean" else mean / error


@dataclass(frozen=True)
class Ratios:
    """Log-likelihood ratios of a distribution to the exponential, in the tail.

    Parameters
    ----------
    mean
        Mean over the edges of the tail [nat], dims ``…``.
    z
        Mean divided by its standard error, Vuong's statistic.
    """

    mean: Array
    z: Array


def ratios(weights: Array, distribution: Distribution) -> Ratios:
    """Compare a distribution with the exponential in the tail of every graph's weights.

    Takes weights, dims ``…, source, target``.
    """
    flat = weights.reshape(*weights.shape[:-2], -1)
    x, tail = larger_half(flat)
    count = tail.sum(axis=-1)
    smallest = np.where(tail, x, np.inf).min(axis=-1, initial=np.inf)
    largest = np.where(tail, x, 0).max(axis=-1, initial=0)
    defined = (count >= FEWEST) & (largest > smallest * (1 + EQUAL))
    scale = np.where(defined, smallest, 1)[..., None]
    z = np.where(tail & defined[..., None], x / scale - 1, 0)
    y = np.log1p(z)
    edges = np.where(defined, count, 1)

    def mean(values: Array) -> Array:
        return np.where(tail, values, 0).sum(axis=-1, keepdims=True) / edges[..., None]

    # Graphs without a defined tail take any finite number; they become NaN below.
    valid = defined[..., None]
    exponential = _exponential(z, np.where(valid, mean(z), 1))
    m1, m2 = np.where(valid, mean(y), 1), np.where(valid, mean(y**2), 2)
    fitted = _power_law(y, m1) if distribution == "power law" else _log_normal(y, m1, m2)
    ratio = fitted - exponential
    average = np.where(valid, mean(ratio), np.nan)
    error = np.sqrt(mean((ratio - average) ** 2) / edges[..., None])
    return Ratios(average[..., 0], divide(average, error)[..., 0])


def truncation(moment: NDArray[np.floating]) -> Array:
    """Solve (1 − h r) / r² = moment for h by bisection; moments from 1 to 2."""
    low = np.full(moment.shape, np.arcsinh(_SMALLEST_CUT))
    high = np.full(moment.shape, np.arcsinh(_LARGEST_CUT))
    for _ in range(60):
        middle = (low + high) / 2
        below = _moment(np.sinh(middle)) < moment
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.sinh((low + high) / 2)


def larger_half(flat: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return sorted weights, dims ``…, edge``, and which of them are in the tail."""
    x = np.where(np.isnan(flat), 0, flat)
    x = np.sort(x, axis=-1)
    present = (x > 0).sum(axis=-1, keepdims=True)
    half = -(-present // 2)
    first = np.minimum(x.shape[-1] - half, max(x.shape[-1] - 1, 0))
    smallest = np.take_along_axis(x, first, axis=-1) if x.shape[-1] else np.zeros(present.shape)
    return x, (x >= smallest) & (x > 0)


def _excess(h: Array) -> Array:
    """Return r(h) = φ(h) / (1 − Φ(h)) − h, the mean excess of a standard normal truncated at h."""
    return np.sqrt(2 / np.pi) / erfcx(h / np.sqrt(2)) - h


def _moment(h: Array) -> Array:
    """Return mean(y²) / mean(y)² of a normal truncated at h."""
    return (1 - h * _excess(h)) / _excess(h) ** 2


# Log-densities of x / x_min; the scale adds the same to each.


def _exponential(z: Array, mean: Array) -> Array:
    return -np.log(mean) - z / mean


def _power_law(y: Array, mean: Array) -> Array:
    return -np.log(mean) - y / mean - y


def _log_normal(y: Array, m1: Array, m2: Array) -> Array:
    moment = m2 / m1**2
    h = truncation(moment)
    deviation = m1 / _excess(h)
    normal = -((y / deviation + h) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))
    truncated = normal - log_ndtr(-h) - y
    return np.where(moment < _moment(np.array(_LARGEST_CUT)), truncated, _power_law(y, m1))
