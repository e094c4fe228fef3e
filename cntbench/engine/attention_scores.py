"""Where a head attends on the clean prompts: diagnostics besides its causal influence.

Source: Olsson et al. 2022, "In-context learning and induction heads".
"""

from __future__ import annotations

import torch
from torch import Tensor


def previous_token(pattern: Tensor) -> Tensor:
    """Return the mean attention to the previous token, over all positions but the first.

    Takes ``prompt, component, query position, key position``; returns ``prompt, component``, NaN
    for prompts of one token.
    """
    return pattern.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)


def prefix_matching(pattern: Tensor, tokens: Tensor) -> Tensor:
    """Return the attention to the tokens that followed earlier occurrences of the current token.

    For each position whose token has occurred before, this sums the attention to the positions
    right after those occurrences, then averages over these positions.

    Takes ``prompt, component, query position, key position`` and ``prompt, position``; returns
    ``prompt, component``, NaN for prompts in which no token occurs twice.
    """
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    after = torch.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]
    matched = (pattern * after[:, None]).sum(dim=-1)
    return matched.sum(dim=-1) / same.any(dim=-1).sum(dim=-1)[:, None]
