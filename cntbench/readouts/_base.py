"""What readouts are computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Scored(Protocol):
    """The model at the scored positions of every prompt, in several runs; run 0 is the clean one.

    ``targets`` and ``decoys`` are the right and the wrong next tokens, dims ``prompt, scored``. The
    logit of token v at a position with normalised stream x is l_v = x · w_v + b_v, or that after
    the model's soft cap.

    They may be sets T of tokens, dims ``prompt, scored, alternative``, padded with −1. A set stands
    for one token whose probability is the sum of theirs: its logit is log Σ_t∈T exp(l_t). Only
    `best_other` compares the largest logit inside a set with the largest one outside.
    """

    targets: Tensor
    decoys: Tensor

    @property
    def log_odds(self) -> Tensor:
        """log Σ_v≠t exp(l_v − l_t) of the targets t, float64, dims ``run, prompt, scored``."""

    @property
    def best_other(self) -> Tensor:
        """max_v≠t l_v − l_t of the targets t, dims ``run, prompt, scored``."""

    def difference(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Return l_v − l_u of tokens v and u, dims ``run, prompt, scored``; needs two columns.

        ``tokens`` and ``others`` have dims ``prompt, scored``.
        """

    def of_logits(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return a function of all logits, dims ``run, prompt, scored``.

        The function gets the logits, dims ``row, vocabulary``, and the targets, dims ``row``, of
        sets ``row, alternative``, of some of the positions at a time, and returns a number for each
        row.
        """

    @property
    def divergence(self) -> Tensor:
        """Σ_v q_v (log q_v − log p_v) with q of the clean run, dims ``run, prompt, scored``."""

    def columns(self, tokens: Tensor) -> Tensor:
        """Return columns w_v of the unembedding, slopes of logits, dims ``prompt, scored, hidden``.

        For a set, this is the mean by the model's probabilities; for a capped logit, the column
        times the slope of the cap. In both cases ``run`` comes first.
        """

    @property
    def expected_column(self) -> Tensor:
        """Σ_v p_v w_v by the model's probabilities, dims ``run, prompt, scored, hidden``.

        w_v are `columns`.
        """

    @property
    def excess_column(self) -> Tensor:
        """Σ_v (p_v − q_v) w_v with q of the clean run, dims ``run, prompt, scored, hidden``.

        w_v are `columns` of this run. Only for gradients of readouts that read ``"divergence"``.
        """
