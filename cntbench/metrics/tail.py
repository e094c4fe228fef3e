"""How well a power law or a log-normal fits the tail of the weights, against an exponential.

Mean logarithmic likelihood ratio per edge of the tail, or Vuong's statistic: this mean over its
standard error, standard normal where both fit equally well, if the edges are independent. A power
law that fits better says that the tail is heavier than an exponential one. A log-normal does not:
it also fits tails that are lighter. Where both fit better, the larger mean is the better fit.

The tail is the larger half of the weights that are not 0, x ≥ x_min; ties with its smallest weight
are in it. All three densities live on x ≥ x_min, and maximise the likelihood there. With
y = ln(x / x_min):

- exponential, λ e^(−λ(x − x_min)): λ = 1 / mean(x − x_min);
- power law, (α − 1) / x_min (x / x_min)^−α: α = 1 + 1 / mean(y);
- log-normal: y is normal, cut off below 0. With h the cut in standard deviations above the mean and
  r(h) = φ(h) / (1 − Φ(h)) − h, mean(y²) / mean(y)² = (1 − h r) / r² is solved for h. It rises in h
  towards 2, where the log-normal becomes the power law; for larger moments the power law is the
  log-normal that fits best.

The share that is fitted is stated rather than chosen by the fit, so that graphs are compared on
equally many edges, and no distribution chooses the tail that suits it. The library ``powerlaw``
gives the same numbers for the same x_min, if ``parameter_ranges`` lets its general search reach the
cut-off normal's parameters.

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

from cntbench.metrics._base import Array, Metric
from cntbench.plugins import Variant

Distribution = Literal["power law", "log-normal"]
Statistic = Literal["mean", "z"]

METRIC = Metric(
    per="graph",
    lower=-np.inf,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined="a tail of fewer than 10 edges, or of equal weights, has no shape",
)

VARIANTS = {
    "tail_lognormal": Variant(
        "How much better a log-normal fits the tail of the weights than an exponential, per edge.",
        {"distribution": "log-normal", "statistic": "mean"},
        {"METRIC": replace(METRIC, units="nat")},
    ),
    "tail_lognormal_z": Variant(
        "How surely a log-normal fits the tail of the weights better than an exponential.",
        {"distribution": "log-normal", "statistic": "z"},
    ),
    "tail_power_law": Variant(
        "How much better a power law fits the tail of the weights than an exponential, per edge.",
        {"distribution": "power law", "statistic": "mean"},
        {"METRIC": replace(METRIC, units="nat")},
    ),
    "tail_power_law_z": Variant(
        "How surely a power law fits the tail of the weights better than an exponential.",
        {"distribution": "power law", "statistic": "z"},
    ),
}

#: Fewer edges than these have no tail to speak of.
FEWEST = 10
#: A tail whose largest weight exceeds its smallest by less than this part is one of equal weights.
EQUAL = 1e-2

#: From this cut-off on, log-normal and power law differ by less than 1e-6 nat per edge.
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
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in ratio)) / len(tail)
    return mean if statistic == "mean" else mean / error


@dataclass(frozen=True)
class Ratios:
    """Logarithmic likelihood ratios of a distribution to the exponential, in the tail.

    Parameters
    ----------
    mean
        Mean over the edges of the tail [nat], dims ``…``.
    z
        Mean over its standard error, Vuong's statistic: standard normal where both fit alike.
    """

    mean: Array
    z: Array


def ratios(weights: Array, distribution: Distribution) -> Ratios:
    """Compare a distribution with the exponential in the tail of the weights of every graph.

    Parameters
    ----------
    weights
        Dims ``…, source, target``.
    distribution
        What is compared with the exponential.
    """
    flat = weights.reshape(*weights.shape[:-2], -1)
    x, tail = _tail(flat)
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

    # Where a tail is not defined, any finite number serves: it is left out in the end.
    off = ~defined[..., None]
    exponential = _exponential(z, np.where(off, 1, mean(z)))
    m1, m2 = np.where(off, 1, mean(y)), np.where(off, 2, mean(y**2))
    fitted = _power_law(y, m1) if distribution == "power law" else _log_normal(y, m1, m2)
    difference = fitted - exponential
    average = mean(difference)
    error = np.sqrt(mean((difference - average) ** 2) / edges[..., None])
    found = np.where(off, np.nan, average)[..., 0]
    statistic = np.divide(
        average, error, out=np.full(average.shape, np.nan), where=(error > 0) & ~off
    )
    return Ratios(found, statistic[..., 0])


def cut_off(moment: NDArray[np.floating]) -> Array:
    """Solve (1 − h r) / r² = moment for h by bisection; moments from 1 to 2."""
    low = np.full(moment.shape, np.arcsinh(_SMALLEST_CUT))
    high = np.full(moment.shape, np.arcsinh(_LARGEST_CUT))
    for _ in range(60):
        middle = (low + high) / 2
        below = _moment(np.sinh(middle)) < moment
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.sinh((low + high) / 2)


def _tail(flat: Array) -> tuple[Array, NDArray[np.bool_]]:
    x = np.where(np.isnan(flat), 0, flat)
    x = np.sort(x, axis=-1)
    present = (x > 0).sum(axis=-1, keepdims=True)
    half = -(-present // 2)
    first = np.minimum(x.shape[-1] - half, max(x.shape[-1] - 1, 0))
    smallest = np.take_along_axis(x, first, axis=-1) if x.shape[-1] else np.zeros(present.shape)
    return x, (x >= smallest) & (x > 0)


def _excess(h: Array) -> Array:
    """Return r(h) = φ(h) / (1 − Φ(h)) − h, the mean of a cut-off standard normal above its cut."""
    return np.sqrt(2 / np.pi) / erfcx(h / np.sqrt(2)) - h


def _moment(h: Array) -> Array:
    """Return mean(y²) / mean(y)² of a normal that is cut off at h."""
    return (1 - h * _excess(h)) / _excess(h) ** 2


# Logarithms of densities of x / x_min, which shift all of them alike.


def _exponential(z: Array, mean: Array) -> Array:
    return -np.log(mean) - z / mean


def _power_law(y: Array, mean: Array) -> Array:
    return -np.log(mean) - y / mean - y


def _log_normal(y: Array, m1: Array, m2: Array) -> Array:
    moment = m2 / m1**2
    h = cut_off(moment)
    deviation = m1 / _excess(h)
    normal = -((y / deviation + h) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))
    cut = normal - log_ndtr(-h) - y
    return np.where(moment < _moment(np.array(_LARGEST_CUT)), cut, _power_law(y, m1))
