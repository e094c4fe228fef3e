"""The output becomes the constant that increases the loss least, one for each component.

Of all constants that can replace the component at every position of every prompt, it is the one
with the smallest expected cross-entropy of the correct next token at the scored positions, with the
rest of the model recomputed. The information that the component passes on is lost, without the
further damage of a bad constant. `cntbench.engine.optimal_constants` fits it until it converges,
on half of the prompts for the other half: no prompt is judged by a constant that was fitted on it,
and there have to be two. Source: Li & Janson 2024, "Optimal ablation for interpretability"
(arXiv 2409.09951).
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
        Most steps of the fit, evaluations of the loss and its gradient for all components. A
        warning names components whose fit has not converged by then.
    """

    steps: Annotated[int, Field(ge=1, le=1000)]

    @property
    def fitting_steps(self) -> int:
        """Most steps of the fit."""
        return self.steps

    @property
    def fewest_prompts(self) -> int:
        """Two: a constant is fitted on other prompts than those it is judged on."""
        return 2

    def replace(self, states: States) -> Tensor:
        """Return the constants."""
        assert states.constant is not None
        return states.constant.to(states.clean.dtype)
