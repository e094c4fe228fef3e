"""The output becomes the constant that increases the loss least, one for each component.

Of all constants that can replace the component at every position of every prompt, it is the one
with the smallest expected cross-entropy of the correct next token at the scored positions, with the
rest of the model recomputed. The information that the component passes on is lost, without the
further damage of a bad constant. `cntbench.engine.optimal_constants` fits it. Source: Li & Janson
2024, "Optimal ablation for interpretability" (arXiv 2409.09951).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    steps
        Steps of the fit: evaluations of the loss and its gradient for all components.
    """

    steps: Annotated[int, Field(ge=1, le=1000)]

    @property
    def fitting_steps(self) -> int:
        """Steps of the fit."""
        return self.steps

    def replace(self, states: States) -> Tensor:
        """Return the constants."""
        assert states.constant is not None
        return states.constant.to(states.clean.dtype)
