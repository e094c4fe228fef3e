"""The interface of a claim's statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.resampling import block_interval, block_length


class Statistic(ABC):
    """A number about a film: the mean over time of what single moments contribute.

    It is tested against a null model of films (a file of ``cntbench/dynamics/nulls``), or against
    a null model of its own, drawn by `draws`, which randomises what a film cannot.
    """

    #: Fewest checkpoints for which it makes sense.
    needs: ClassVar[int] = 16
    #: Null models of its own, by name, with what they assume.
    own_nulls: ClassVar[dict[str, str]] = {}
    units: ClassVar[str] = "1"

    @abstractmethod
    def series(self, film: Film) -> Array:
        """Return what each moment contributes, dims ``moment``: their mean is the statistic.

        Raises
        ------
        Undefined
            If the film does not answer the question.
        """

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic under one of its own null models, dims ``draw``.

        Statistics that list ``own_nulls`` define it; it is called for no other.
        """
        raise NotImplementedError(null)

    def block(self, film: Film) -> int:
        """Return the distance at which moments are taken to be independent, in moments."""
        return block_length(len(film))

    def bounds(
        self, film: Film, series: Array, drawn: Array, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Return the bounds of the statistic's interval.

        By default, the moments of its series are resampled in blocks.

        Parameters
        ----------
        film, series
            The film, and the statistic's series on it.
        drawn
            The statistic under the null model, dims ``draw``.
        rng
            Random generator.
        """
        return block_interval(series, min(self.block(film), len(series)), rng)


def lag_of(film: Film, part: float) -> int:
    """Return a share of a film in checkpoints, at least one."""
    return max(1, round(part * len(film)))
