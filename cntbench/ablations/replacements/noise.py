"""Gaussian noise is added to the output, scaled to the component's standard deviation.

The state o becomes o + scale · σ · ε, where ε is standard normal and σ is the standard deviation of
each coordinate over the population's prompts and positions. Source: adapted from the corrupted run
of Meng et al. 2022, "Locating and editing factual associations in GPT", applied to a component
instead of the embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from cntbench.ablations.replacements._base import Replacement, States
from cntbench.specs import spec

if TYPE_CHECKING:
    from torch import Tensor


@spec
class Parameters(Replacement):
    """Parameters of the rule.

    Parameters
    ----------
    scale
        Noise in units of the component's standard deviation.
    population
        Prompts of the standard deviation: ``"clean"`` or ``"reference"``.
    """

    scale: Annotated[float, Field(ge=0, le=100)]
    population: Literal["clean", "reference"]

    @property
    def random(self) -> bool:
        """True: noise differs between draws."""
        return True

    @property
    def population_corpus(self) -> Literal["clean", "reference"]:
        """The prompts of the standard deviation."""
        return self.population

    @property
    def aligned(self) -> bool:
        """False: the standard deviation is over all positions."""
        return False

    def replace(self, states: States) -> Tensor:
        """Return the clean states with noise added."""
        assert states.spread is not None
        pooled = states.spread.pooled
        variance = pooled.square - pooled.mean.square()
        deviation = variance.clamp(min=0).sqrt().to(states.clean.dtype)
        return states.clean + self.scale * deviation * states.noise()
