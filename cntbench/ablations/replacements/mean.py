"""The output becomes its mean over a population of prompts, at each position or over positions.

Of n clean prompts, the mean m contains the prompt itself, with a share w (1/n if all have the
position, or the same length). So it lies too near: for independent prompts E‖m − x‖² is
(1 − w) E‖μ − x‖², where x is the prompt's own mean over the axes (its state, if the mean is over
prompts alone) and μ that of the distribution of prompts. The state becomes

    x + (m − x) / √(1 − w),

whose distance from x has the expectation of ‖μ − x‖² for any number of prompts (Bessel's
correction). The mean over the other prompts, x + (m − x) / (1 − w), errs as far to the other side,
by its own noise. On the golden model's induction, influence is 0.96 / 0.99 / 0.99 / 1.00 of its
value at 128 prompts with 4 / 8 / 16 / 32; with m it is 0.84 / 0.93 / 0.97 / 0.99, and with the mean
over the others 1.11 / 1.05 / 1.02 / 1.01 (median over edges). A position that no other prompt has
is left as it is. One prompt has no mean.

The mean over reference prompts is m itself: a corrupted twin is not the prompt, and how far it
depends on the prompt is the task's. There influence is 1.01 / 1.00 / 1.00 / 1.00 over positions and
1.06 / 1.03 / 1.01 / 1.01 at each position, by the noise of m.

The prompts share the mean, so that standard errors of effects on readouts are conservative;
`cntbench.engine.influence.Influence` has figures.

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
    def fewest_prompts(self) -> int:
        """Two, if the mean is over the clean prompts."""
        return 2 if self.population == "clean" else 1

    @property
    def aligned(self) -> bool:
        """Whether there is a mean for every position."""
        return "position" not in self.over

    def replace(self, states: States) -> Tensor:
        """Return the mean, as far from the prompt as one that does not contain it."""
        assert states.spread is not None
        spread, clean = states.spread, states.clean
        mean = (spread.mean if self.aligned else spread.pooled.mean[None]).to(clean.dtype)
        if self.population == "reference":
            return mean
        centre = clean
        if not self.aligned:
            centre = clean[:, : states.length].mean(dim=1, keepdim=True)
        share = spread.share if self.aligned else spread.pooled_share(states.length)
        farther = (1 - share).rsqrt().where(share < 1, 1.0)
        return centre + farther.to(clean.dtype) * (mean - centre)
