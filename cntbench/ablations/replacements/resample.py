"""The output is the one that the component has on a donor prompt.

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
        ``"reference"``: the prompt's own corrupted twin; ``"other"``: another prompt of the task,
        in draw d the one that stands d + 1 further on.
    """

    donor: Literal["reference", "other"]

    @property
    def random(self) -> bool:
        """A prompt has one twin, and many others."""
        return self.donor == "other"

    @property
    def donor_corpus(self) -> Literal["reference", "other"]:
        """The prompts whose states stand in."""
        return self.donor

    def replace(self, states: States) -> Tensor:
        """Return the donor's states."""
        assert states.donor is not None
        return states.donor
