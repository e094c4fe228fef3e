"""What heads do: where they attend on the clean prompts, and what their values write.

Diagnostics besides causal influence. Sources: Voita et al. 2019, "Analyzing multi-head
self-attention" (positional heads); Elhage et al. 2021, "A mathematical framework for Transformer
circuits" (copying); Olsson et al. 2022, "In-context learning and induction heads" (previous token,
prefix matching); Wang et al. 2023, "Interpretability in the wild" (duplicate token).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cntbench.engine.arrays import Array
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder

#: Scores of attention patterns, in the order of `pattern_scores`.
PATTERN_SCORES = ("prefix_matching", "previous_token", "duplicate_token", "positional")
#: Rows of the vocabulary that are held in double precision at once.
_ROWS = 4096
#: Eigenvalues below this share of the largest possible ones are rounding errors.
_ROUNDING = 1e-6


def pattern_scores(pattern: Tensor, tokens: Tensor) -> Tensor:
    """Return the `PATTERN_SCORES` of attention weights, dims ``score, component, prompt``, float64.

    Takes ``prompt, component, query position, key position`` and ``prompt, position``, both on the
    device where the scores are computed.
    """
    scores = (
        prefix_matching(pattern, tokens),
        previous_token(pattern),
        duplicate_token(pattern, tokens),
        positional(pattern),
    )
    return torch.stack([score.mT.double() for score in scores])


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
    same_token = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    after = torch.zeros_like(same_token)
    after[:, :, 1:] = same_token[:, :, :-1]
    matched = (pattern * after[:, None]).sum(dim=-1)
    return matched.sum(dim=-1) / same_token.any(dim=-1).sum(dim=-1)[:, None]


def duplicate_token(pattern: Tensor, tokens: Tensor) -> Tensor:
    """Return the attention to earlier occurrences of the current token.

    The mean is over the positions whose token has occurred before. Takes and returns dims as
    `prefix_matching`, in double precision; NaN for prompts in which no token occurs twice.
    """
    same_token = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    matched = (pattern * same_token[:, None]).sum(dim=(-2, -1), dtype=torch.float64)
    return matched / same_token.any(dim=-1).sum(dim=-1)[:, None]


def positional(pattern: Tensor) -> Tensor:
    """Return the attention at the one distance to the query at which a head attends most.

    For each distance, from 0 up, this averages the attention over all positions but the first; a
    position that has no key so far back counts as 0. The result is the largest of these averages.
    It is never less than `previous_token`, which is that of distance 1. A head that matches tokens
    at a fixed gap, as in one repeated block, reaches about 0.5: half of the positions have no
    match.

    Takes and returns dims as `previous_token`, in double precision.
    """
    later = pattern[..., 1:, :]  # without the first position
    length = pattern.shape[-1]
    if length < 2:
        return pattern.new_full(pattern.shape[:2], torch.nan, dtype=torch.float64)
    distances = [later.diagonal(1 - back, -2, -1) for back in range(length)]
    sums = torch.stack([attention.sum(-1, dtype=torch.float64) for attention in distances])
    return sums.amax(dim=0) / (length - 1)


@torch.inference_mode()
def copying(model: Decoder) -> Array:
    """Return how far the values of each head raise the logits of the tokens that they come from.

    Attending to token t, a head over its direct path changes the logits by column t of
    M = U W_O W_V E: the embedding E, normalised, through the values, the output and the
    unembedding U. Both E and U are centred over the vocabulary: what all tokens share copies none.
    The score is Σ λ / Σ |λ| over the eigenvalues of M: 1 if the head only copies, -1 if it only
    lowers what it attends to, and near 0 if it does neither. It depends on the weights alone.

    Returns
    -------
    Array
        Dims ``component``, in [-1, 1]; 0 where no value reaches the logits, NaN for MLPs.
    """
    from_tokens_to_logits = _tokens_to_logits(model)
    scores = np.full(len(model.components), np.nan)
    for place in model.places:
        block = place.block
        if not isinstance(block, Attention):
            continue
        query, key, value = block.lengths
        rows = block.project.weight[query + key : query + key + value].cpu().double()
        share = block.n_components // block.key_heads
        values = rows.unflatten(0, (block.key_heads, -1)).repeat_interleave(share, dim=0)
        output = block.output.cpu().double()
        product = values @ from_tokens_to_logits @ output.mT
        sizes = torch.linalg.eigvals(product).abs().sum(dim=-1)
        trace = product.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        largest = values.norm(dim=(1, 2)) * from_tokens_to_logits.norm() * output.norm(dim=(1, 2))
        copies = torch.where(sizes > _ROUNDING * largest, trace / sizes, 0.0)
        scores[place.nodes.start : place.nodes.stop] = copies.numpy()
    return scores


def _tokens_to_logits(model: Decoder) -> Tensor:
    """Return Eᵀ U, centred over the vocabulary, dims ``hidden, hidden``, in double precision."""
    hidden, vocabulary = model.hidden, model.vocabulary
    scale = getattr(model.final_norm, "scale", None)
    product = torch.zeros(hidden, hidden, dtype=torch.float64)
    sums = torch.zeros(2, hidden, dtype=torch.float64)
    for tokens in torch.arange(vocabulary, device=model.unembed.weight.device).split(_ROWS):
        embedded = model.stages[0].norm(model.embed(tokens[:, None])[None])[0, :, 0].cpu().double()
        read = model.unembed.weight[tokens].cpu().double()
        if scale is not None:
            read *= scale.cpu().double()
        product += embedded.mT @ read
        sums += torch.stack((embedded.sum(dim=0), read.sum(dim=0)))
    return product - torch.outer(sums[0], sums[1]) / vocabulary
