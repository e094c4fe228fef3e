"""Readouts: numbers about the model's behaviour on a task, from the final residual stream.

The logit difference of target t and decoy u at a position with normalised stream x is

    x · (w_t − w_u),

two columns of the unembedding. Cross-entropy is log(1 + Σ_v≠t exp(x · w_v − x · w_t)), never
negative however it is rounded, over the whole vocabulary; the sum is taken tile by tile, so that
logits live in the cache only. Accuracy is the share of positions at which the right token's logit
is larger than every other one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cntbench.models.decoder import Decoder
from cntbench.models.maps import Linear
from cntbench.models.products import affine, widened
from cntbench.specs import Readout

#: Tokens of the vocabulary, and logits, in a tile: it should stay in the processor's cache.
TOKENS_AT_ONCE = 1024
LOGITS_AT_ONCE = 2**20
#: No logit can be further from 0 than this where exponentials are summed as they are.
SAFE_LOGIT = 60.0


def readout(
    model: Decoder, streams: Tensor, targets: Tensor, decoys: Tensor, names: Iterable[Readout]
) -> dict[Readout, Tensor]:
    """Compute readouts at the scored positions.

    Parameters
    ----------
    model
        Gives the final norm and the unembedding.
    streams
        Final residual streams, dims ``run, prompt, scored, hidden``.
    targets, decoys
        Right and wrong next tokens, dims ``prompt, scored``.
    names
        Which readouts. ``logit_difference`` (target minus decoy) needs two columns of the
        unembedding for each position; ``cross_entropy`` [nats] and ``accuracy`` need all.

    Returns
    -------
    dict
        For each readout its mean over the scored positions, dims ``run, prompt``, float64; computed
        in single precision at least, from the streams and weights as they are.
    """
    wanted = set(names)
    if streams.is_meta:  # there are no numbers to read; all logits cost a product
        if wanted - {"logit_difference"}:
            model.unembed(streams)
        return {name: streams.new_empty(streams.shape[:2]) for name in wanted}
    found: dict[Readout, Tensor] = {}
    if "logit_difference" in wanted:
        weight, bias = model.unembed.weight, model.unembed.bias
        apart = widened(weight[targets]) - weight[decoys]
        ends = (model.final_norm(widened(run)) for run in streams)
        difference = torch.stack([(end * apart).sum(dim=-1) for end in ends])
        difference += widened(bias[targets]) - bias[decoys]
        found["logit_difference"] = difference.double().mean(dim=-1)
    if wanted - {"logit_difference"}:
        normed = model.final_norm(widened(streams))
        asked = targets.expand(normed.shape[:-1]).flatten()
        log_odds, best_other = against_others(
            model.unembed, normed.flatten(0, -2), asked, accuracy="accuracy" in wanted
        )
        if "cross_entropy" in wanted:
            # log(1 + e^x), by operators that round an element alike wherever it stands.
            nats = log_odds.clamp(min=0) + log_odds.abs().neg().exp().log1p()
            found["cross_entropy"] = nats.view(normed.shape[:-1]).mean(dim=-1)
        if "accuracy" in wanted:
            hit = (best_other < 0).view(normed.shape[:-1])
            found["accuracy"] = hit.double().mean(dim=-1)
    return found


def against_others(
    unembed: Linear, rows: Tensor, targets: Tensor, *, accuracy: bool
) -> tuple[Tensor, Tensor]:
    """Return log Σ_v≠t exp(l_v − l_t), float64, and max_v≠t l_v − l_t, of each row's logits l.

    No logit is further from 0 than the product of the longest row and the longest column of the
    unembedding, plus the largest bias (Cauchy-Schwarz). If that is small, exponentials can neither
    overflow nor vanish, and are summed as they are; otherwise logits are taken relative to the
    largest so far. The largest one is only found if ``accuracy`` asks for it.
    """
    longest = rows.norm(dim=1).max() * unembed.weight.norm(dim=1).max()
    safe = bool(longest + unembed.bias.abs().max() <= SAFE_LOGIT)
    height = max(1, LOGITS_AT_ONCE // min(TOKENS_AT_ONCE, len(unembed.weight)))
    parts = [
        _against_others(unembed, part, right, accuracy=accuracy, safe=safe)
        for part, right in zip(_even(rows, height), _even(targets, height), strict=True)
    ]
    return torch.cat([odds for odds, _ in parts]), torch.cat([best for _, best in parts])


def _against_others(
    unembed: Linear, rows: Tensor, targets: Tensor, *, accuracy: bool, safe: bool
) -> tuple[Tensor, Tensor]:
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    best = rows.new_full((len(rows),), float("-inf"))
    of_target = rows.new_zeros(len(rows)) if safe else _of_tokens(unembed, rows, targets)
    largest = of_target.clone()
    start = 0
    for weight, bias in zip(
        _even(unembed.weight, TOKENS_AT_ONCE), _even(unembed.bias, TOKENS_AT_ONCE), strict=True
    ):
        logits = affine(rows, weight.to(rows), bias.to(rows))
        column = targets - start
        row = ((column >= 0) & (column < len(bias))).nonzero().squeeze(1)
        of_target[row] = logits[row, column[row]]
        logits[row, column[row]] = float("-inf")
        if accuracy or not safe:
            best = best.maximum(logits.amax(dim=1))
        if not safe:
            before, largest = largest, largest.maximum(best)
            total *= (before - largest).exp()
            logits -= largest[:, None]
        total += logits.exp_().sum(dim=1)
        start += len(bias)
    return total.log_().add_(largest).sub_(of_target), best - of_target


def _of_tokens(unembed: Linear, rows: Tensor, tokens: Tensor) -> Tensor:
    return (rows * unembed.weight[tokens]).sum(dim=1) + unembed.bias[tokens]


def _even(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """Cut into parts of nearly equal size: products of a handful of rows round differently."""
    return rows.tensor_split(-(-len(rows) // most))
