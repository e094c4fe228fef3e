"""The output becomes that of the component on a donor prompt.

Where the donors are the other prompts of the task, each prompt is another one's donor, so that
standard errors of effects on readouts are conservative, and those of influence over several draws
too small; `cntbench.engine.influence.Influence` has figures.

Sources: Chan et al. 2022, "Causal scrubbing" (resampling ablation); Geiger et al. 2021, "Causal
abstractions of neural networks" (interchange intervention).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cntbench.ablations.replacements._base import Replacement, States
from cntbench.specs import spec

if TYPE_CHECKING:
    from torch import Tensor


@spec
class Parameters(Replacement):
    """Parameters of the rule.

    Parameters
    ----------
    donor
        ``"reference"``: the prompt's corrupted twin; ``"other"``: another prompt of the task, in
        draw d the one d + 1 places later. Prompts of different lengths are aligned at their first
        scored position; where the donor has no position, the state is left as it is.
    """

    donor: Literal["reference", "other"]

    @property
    def random(self) -> bool:
        """Whether the donor is another prompt: a prompt has only one twin."""
        return self.donor == "other"

    @property
    def donor_corpus(self) -> Literal["reference", "other"]:
        """The prompts whose states replace the clean ones."""
        return self.donor

    def replace(self, states: States) -> Tensor:
        """Return the donor's states."""
        assert states.donor is not None
        return states.donor
