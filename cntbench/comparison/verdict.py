"""A verdict on methods: for each purpose a ranking with confidence, ties, and one sentence.

Methods are measured on the same models. For intervals of scores, a bootstrap draws circuits, and
models of each drawn circuit, with replacement (Davison & Hinkley 1997, section 3.8). Percentile
intervals over few circuits are too narrow; following Hesterberg 2015, they are widened to match
those of Student's t. ``docs/compare.md`` gives the coverage.

Which methods are better is tested for all pairs of methods: by Student's paired t test over
circuits (over models, if there is one circuit), at a false discovery rate of 5 % among the pairs
(Benjamini & Hochberg 1995). So of all statements that one method is better than another, about one
in twenty is wrong, and if all methods are equally good, some statement is made in about 5 % of
comparisons. A method's rank is one more than the number of better methods; methods of equal rank
are tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from cntbench.comparison.purposes import PURPOSES
from cntbench.dynamics.resampling import TAIL
from cntbench.errors import listed
from cntbench.files.attributes import described
from cntbench.prompts import random_state

Array = NDArray[np.float64]

#: Variables of each method, dims ``purpose, ablation``, with their meaning.
OF_METHODS: Mapping[str, str] = {
    "score": "mean over circuits and their models of what methods are ranked by",
    "score_low": "lower end of its 95 % bootstrap interval over circuits and models",
    "score_high": "upper end of its 95 % bootstrap interval over circuits and models",
    "rank": "one more than the number of better methods, at a false discovery rate of 5 %",
    "pareto": "1 if no method with a higher score is as cheap, and none as good is cheaper, else 0",
}
#: Variables of each purpose, from `cntbench.comparison.purposes.Purpose`.
OF_PURPOSES = {"title": "in a sentence", "measure": "ranked by", "meaning": "true edges"}
#: False discovery rate of statements that one method is better than another.
_FALSE = 0.05
#: Bootstrap samples of circuits and models.
_RESAMPLES = 2000
#: Scores that differ by less are equal: it is the error of rounding.
_ROUNDING = 1e-9
#: A cheaper method is named if it costs at most this share of the recommended one.
_CHEAP = 0.5
#: Shares of a cost that have a word.
_PARTS = {1 / 2: "half", 1 / 3: "a third", 1 / 4: "a quarter", 1 / 5: "a fifth", 1 / 10: "a tenth"}


def verdict(
    scores: xr.DataArray, passes: xr.DataArray | None = None, *, seed: int = 0
) -> xr.Dataset:
    """Rank methods for each purpose.

    Parameters
    ----------
    scores
        ``score_by_model`` of `cntbench.comparison.purposes.purpose_scores`.
    passes
        Cost of each method [forward passes], dims ``ablation``.

    Returns
    -------
    xarray.Dataset
        The variables of `OF_METHODS`, NaN for methods that are not ranked; ``unscored``, why they
        are not, dims ``purpose, ablation``; ``verdict``, one sentence, and the variables of
        `OF_PURPOSES`, dims ``purpose``.
    """
    scores = scores.transpose("purpose", "ablation", "scored_circuit", "seed")
    names = [str(name) for name in scores["ablation"].values]
    costs = np.full(len(names), np.nan)
    if passes is not None:
        costs = passes.reindex(ablation=names).values.astype(np.float64)
    dims, shape = ("purpose", "ablation"), scores.shape[:2]
    numbers = {name: np.full(shape, np.nan) for name in OF_METHODS}
    unscored = np.full(shape, "", dtype=object)
    sentences: list[str] = []
    for at, purpose in enumerate(map(str, scores["purpose"].values)):
        values = scores.values[at]
        measured = ~np.isnan(values).all(axis=(0, 2))
        values = values[:, measured]
        unscored[at] = [_absence(row, scores["scored_circuit"].values[measured]) for row in values]
        ranked = np.flatnonzero(unscored[at] == "")
        ranking = dict.fromkeys(OF_METHODS, np.empty(0))
        if len(ranked):
            ranking = _ranked(values[ranked], costs[ranked], seed)
        for name in OF_METHODS:
            numbers[name][at, ranked] = ranking[name]
        sentences.append(_sentence(purpose, [names[i] for i in ranked], ranking, costs[ranked]))
    dataset = xr.Dataset(
        {
            name: (dims, numbers[name], described(name, meaning, "1"))
            for name, meaning in OF_METHODS.items()
        },
        coords={dim: scores[dim] for dim in dims},
    )
    for name, meaning in OF_PURPOSES.items():
        texts = [getattr(PURPOSES[purpose], name) for purpose in map(str, scores["purpose"].values)]
        about = described(f"purpose_{name}", meaning)
        dataset[f"purpose_{name}"] = ("purpose", texts, about)
    dataset["unscored"] = (dims, unscored, described("unscored", "why a method did not take part"))
    dataset["verdict"] = ("purpose", sentences, described("verdict", "the ranking in a sentence"))
    return dataset


def _absence(values: Array, circuits: Sequence[str]) -> str:
    """Return why a method is not ranked; values have dims ``circuit, seed``."""
    if not len(circuits):
        return "no circuit has a score for this purpose"
    lacking = [str(name) for name, row in zip(circuits, values, strict=True) if np.isnan(row).any()]
    if len(lacking) == len(circuits):
        return "it was not measured on the planted circuits"
    return f"it has no score on {listed(lacking, 3)}" if lacking else ""


def _ranked(values: Array, costs: Array, seed: int) -> dict[str, Array]:
    """Return the variables of `OF_METHODS`; values have dims ``ablation, circuit, seed``."""
    means = values.mean(axis=(1, 2))
    resamples, tail = _resampled(values, seed)
    low, high = np.quantile(resamples, [tail, 1 - tail], axis=0)
    better = _better(values)
    return {
        "score": means,
        "score_low": low,
        "score_high": high,
        "rank": 1.0 + better.sum(axis=0),
        "pareto": _front(means, costs),
    }


def _resampled(values: Array, seed: int) -> tuple[Array, float]:
    """Return bootstrap means, dims ``sample, ablation``, and an interval's tail probability.

    Means of a single model are NaN: it does not vary.
    """
    methods, circuits, models = values.shape
    if circuits * models < 2:
        return np.full((1, methods), np.nan), TAIL
    state = random_state(seed, "bootstrap over circuits and models")
    of_circuits = state.randint(0, circuits, (_RESAMPLES, circuits, 1))
    of_models = state.randint(0, models, (_RESAMPLES, circuits, models))
    means = values[:, of_circuits, of_models].mean(axis=(2, 3)).T
    count = circuits if circuits > 1 else models
    tail = TAIL
    if count > 1:
        widening = np.sqrt(count / (count - 1))
        tail = float(special.ndtr(widening * special.stdtrit(count - 1, TAIL)))
    return means, tail


def _better(values: Array) -> NDArray[np.bool_]:
    """Return whether each method is better than each other one, dims ``ablation, ablation``."""
    from scipy.stats import false_discovery_control  # takes a second to import

    scores = values.mean(axis=2) if values.shape[1] > 1 else values[:, 0]
    better = np.zeros((len(scores), len(scores)), dtype=bool)
    count = scores.shape[1]
    if count < 2 or len(scores) < 2:
        return better
    first, second = np.triu_indices(len(scores), 1)
    differences = scores[first] - scores[second]
    differences[np.abs(differences) < _ROUNDING] = 0
    means, errors = differences.mean(axis=1), differences.std(axis=1, ddof=1) / np.sqrt(count)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * special.stdtr(count - 1, -np.abs(means / errors))
    p_values[means == 0] = 1
    differs = false_discovery_control(p_values) <= _FALSE
    better[first, second], better[second, first] = differs & (means > 0), differs & (means < 0)
    return better


def _front(means: Array, costs: Array) -> Array:
    """Return 1 for methods on the Pareto front of score and cost, else 0."""
    if np.isnan(costs).any():
        return np.full(len(means), np.nan)
    no_worse = (means[:, None] >= means) & (costs[:, None] <= costs)
    beats = no_worse & ((means[:, None] > means) | (costs[:, None] < costs))
    front: Array = np.where(beats.any(axis=0), 0.0, 1.0)
    return front


def _sentence(
    purpose: str, names: Sequence[str], ranking: Mapping[str, Array], costs: Array
) -> str:
    """Return "For X use A; B costs a tenth and loses 0.03.".

    A is the cheapest method that ties with the one of the highest score: no method is better, and
    its score lies in the interval of the highest one.
    """
    about = PURPOSES[purpose]
    if not names:
        return f"For {about.title} no method was scored."
    score = ranking["score"]
    order = np.lexsort((np.array(names), -score, np.nan_to_num(costs, nan=np.inf))).tolist()
    least = min(score.max(), ranking["score_low"][np.argmax(score)])
    best = [i for i in order if ranking["rank"][i] == 1 and score[i] >= least]
    recommended, *tied = best
    name, cost = names[recommended], float(costs[recommended])
    low, high = (ranking[f"score_{end}"][recommended] for end in ("low", "high"))
    facts = f"{about.measure} {score[recommended]:.2f}"
    if not np.isnan(low):
        facts += f" [{low:.2f}, {high:.2f}]"
    if not np.isnan(cost):
        facts += f", {cost:.2g} forward passes"
    clauses = [f"For {about.title} use {name} ({facts})"]
    if tied:
        ties, cost_them = ("tie", "cost") if len(tied) > 1 else ("ties", "costs")
        alike = float(costs[tied[0]]) == cost  # they are sorted by cost
        comparison = f" and {cost_them} {'as much or more' if alike else 'more'}"
        clauses.append(
            f"{listed([names[i] for i in tied], 3)} {ties} with it"
            + ("" if np.isnan(cost) else comparison)
        )
    cheap = [i for i in order if costs[i] <= _CHEAP * cost]
    if cheap:
        cheaper = max(cheap, key=lambda i: score[i])
        share, loss = _share(costs[cheaper] / cost), score[recommended] - score[cheaper]
        differs = f"loses {loss:.2f}"
        if loss < 0:  # a method of the highest score is better, but not than the recommended one
            differs = f"scores {-loss:.2f} more, but is not of the first rank"
        clauses.append(f"{names[cheaper]} costs {share} and {differs}")
    return "; ".join(clauses) + "."


def _share(ratio: float) -> str:
    """Return a share of a cost in words."""
    nearest = min(_PARTS, key=lambda part: abs(ratio / part - 1))
    return _PARTS[nearest] if abs(ratio / nearest - 1) <= 0.1 else f"{100 * ratio:.2g} % of that"
