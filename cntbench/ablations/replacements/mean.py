"""The output becomes its mean over a population of prompts, at each position or over positions.

Source: Wang et al. 2022, "Interpretability in the wild", mean ablation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from cntbench.ablations.replacements._base import Replacement, States
from cntbench.specs import spec

if TYPE_CHECKING:
    from torch import Tensor


def _over_prompts(axes: tuple[str, ...]) -> tuple[str, ...]:
    if axes not in (("prompt",), ("prompt", "position")):
        raise ValueError('allowed are ["prompt"] and ["prompt", "position"]')
    return axes


@spec
class Parameters(Replacement):
    """Parameters of the rule.

    Parameters
    ----------
    population
        Prompts of the mean: ``"clean"`` or ``"reference"``.
    over
        Axes of the mean: ``["prompt"]`` gives one mean per position, ``["prompt", "position"]``
        one for all positions. Prompts of different lengths are aligned at their first scored
        position; a mean is over those that have the position.
    """

    population: Literal["clean", "reference"]
    over: Annotated[
        tuple[Literal["prompt", "position"], ...],
        Field(strict=False),
        AfterValidator(_over_prompts),
    ]

    @property
    def population_corpus(self) -> Literal["clean", "reference"]:
        """The prompts of the mean."""
        return self.population

    @property
    def aligned(self) -> bool:
        """Whether there is a mean for every position."""
        return "position" not in self.over

    def replace(self, states: States) -> Tensor:
        """Return the mean."""
        assert states.spread is not None
        pooled = "position" in self.over
        mean = states.spread.pooled.mean[None] if pooled else states.spread.mean
        return mean.to(states.clean.dtype)
