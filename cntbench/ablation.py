"""An ablation method, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cntbench.replacements._base import Corpus, Replacement

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ablation:
    """An ablation method, ready to be applied."""

    name: str
    replacement: Replacement
    measure: Callable[[Tensor, Tensor], Tensor]

    @property
    def corpora(self) -> set[Corpus]:
        """The prompts that the replacement draws on."""
        rule = self.replacement
        return {c for c in (rule.donor_corpus, rule.population_corpus) if c is not None}
