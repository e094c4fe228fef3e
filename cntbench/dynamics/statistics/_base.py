"""The interface of a claim's statistics, and what those of a number of phases share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from statistics import NormalDist
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.resampling import mean_interval, null_interval
from cntbench.dynamics.segments import MOST, most
from cntbench.dynamics.trajectory import trajectory
from cntbench.specs import spec


class Statistic(ABC):
    """A number about a film: the mean of a series over time.

    It is tested against a null model of films (a file of ``cntbench/dynamics/nulls``), or against
    its own null model, drawn by `draws`, which randomises something other than a film.
    """

    #: Smallest number of checkpoints for which it makes sense.
    needs: ClassVar[int] = 16
    #: Null models of its own, by name, with what they assume.
    own_nulls: ClassVar[dict[str, str]] = {}
    #: Whether its series has too few independent moments to be resampled.
    few_moments: ClassVar[bool] = False
    units: ClassVar[str] = "1"
    #: Smallest and largest value that the statistic can have.
    limits: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    #: Smallest value that its own null model draws; smaller ones of a film count as tied with it.
    floor: ClassVar[float] = -np.inf

    @abstractmethod
    def series(self, film: Film) -> Array:
        """Return the series whose mean is the statistic, dims ``moment``.

        Raises an `Undefined` if the film does not answer the question.
        """

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic under one of its own null models, dims ``draw``.

        Only statistics with ``own_nulls`` define it.
        """
        raise NotImplementedError(null)

    def bounds(self, series: Array, drawn: Array) -> tuple[float, float]:
        """Return the bounds of the statistic's interval.

        That of the mean of its series; if moments are few, one as wide as ``drawn``, the statistic
        under the null model, dims ``draw``.
        """
        if self.few_moments:
            return null_interval(float(series.mean()), drawn)
        return mean_interval(series)

    def spread(self, film: Film, rng: np.random.Generator) -> Array | None:
        """Return draws of the statistic at about the smallest effect that counts, dims ``draw``.

        For statistics that scatter more there than under the null model, `bounds` uses these draws
        instead of the null distribution. By default None: the null distribution is used.
        """
        return None

    def power(
        self, film: Film, minimum: float, needed: float, error: float, rng: np.random.Generator
    ) -> float:
        """Return the probability that a film like this one shows the smallest effect that counts.

        By default, the statistic is assumed to be normal around its effect.

        Parameters
        ----------
        needed
            The effect from which the test's p-value is at most 0.05.
        error
            Standard error of the statistic.
        """
        if not error:
            return float(minimum >= needed)
        return NormalDist().cdf((minimum - needed) / error)


@spec
class PhaseStatistic(Statistic):
    """A statistic of a number of phases of the metric trajectory.

    Parameters
    ----------
    phases
        Number of phases.
    """

    phases: Annotated[int, Field(ge=2, le=MOST + 1)]

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "autoregressive": "The metric trajectory wanders, and has no transitions."
    }

    def features(self, film: Film) -> Array:
        """Return the metric trajectory; raises `Undefined` if the film is too short."""
        features = trajectory(film)
        if most(len(features)) < self.phases - 1:
            raise Undefined(f"the film is too short for {self.phases} phases")
        return features


def lag_of(film: Film, part: float) -> int:
    """Return a share of a film in checkpoints, at least one."""
    return max(1, round(part * len(film)))
