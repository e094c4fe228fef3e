"""The output becomes zero; the output bias of attention stays.

Source: "knockout" or "pruning" of heads, Michel et al. 2019, "Are sixteen heads really better than
one?"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.ablations.replacements._base import Replacement, States
from cntbench.specs import spec

if TYPE_CHECKING:
    from torch import Tensor


@spec
class Parameters(Replacement):
    """The rule has no parameters."""

    def replace(self, states: States) -> Tensor:
        """Return zeros."""
        return states.clean.new_zeros(())
