"""The output is the constant that hurts the readout least, one for each component.

Of all constants a that can stand in for the component at every position of every prompt, the one
with the smallest expected cross-entropy of the right next token at the scored positions; the rest
of the model is recomputed for each. So whatever the component passes on is lost, and nothing that a
constant could have spared. `cntbench.engine.optimal_constants` says how it is found. Source: Li &
Janson 2024, "Optimal ablation for interpretability" (arXiv 2409.09951).
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
