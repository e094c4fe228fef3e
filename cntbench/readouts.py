"""Readouts: numbers about the model's behaviour on a task, from the final residual stream.

The logit difference of target t and decoy u at a position with normalised stream x is

    x · (w_t − w_u),

two columns of the unembedding. Cross-entropy is log Σ_v exp(x · w_v) − x · w_t over the whole
vocabulary; the sum is taken tile by tile, so that logits live in the cache only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from cntbench.models.blocks import Linear
from cntbench.models.decoder import Decoder
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
        For each readout its mean over the scored positions, dims ``run, prompt``, float64.
    """
    wanted = set(names)
    found: dict[Readout, Tensor] = {}
    normed = model.final_norm(streams)
    weight, bias = model.unembed.weight, model.unembed.bias
    right = weight[targets]
    if "logit_difference" in wanted:
        difference = (normed * (right - weight[decoys])).sum(dim=-1)
        difference += bias[targets] - bias[decoys]
        found["logit_difference"] = difference.double().mean(dim=-1)
    if wanted - {"logit_difference"}:
        total, best = over_vocabulary(
            model.unembed, normed.flatten(0, -2), accuracy="accuracy" in wanted
        )
        if "cross_entropy" in wanted:
            of_target = (normed * right).sum(dim=-1) + bias[targets]
            found["cross_entropy"] = (total.view_as(of_target) - of_target).mean(dim=-1)
        if "accuracy" in wanted:
            hit = best.view(normed.shape[:-1]) == targets
            found["accuracy"] = hit.double().mean(dim=-1)
    return found


def over_vocabulary(unembed: Linear, rows: Tensor, *, accuracy: bool) -> tuple[Tensor, Tensor]:
    """Return each row's log Σ exp of its logits, float64, and the first token of the largest one.

    No logit is further from 0 than the product of the longest row and the longest column of the
    unembedding, plus the largest bias (Cauchy-Schwarz). If that is small, exponentials can neither
    overflow nor vanish, and are summed as they are; otherwise logits are taken relative to the
    largest so far. The tokens are only found if ``accuracy`` asks for them.
    """
    longest = rows.norm(dim=1).max() * unembed.weight.norm(dim=1).max()
    safe = bool(longest + unembed.bias.abs().max() <= SAFE_LOGIT)
    sums = _sum_as_they_are if safe and not accuracy else _sum_below_largest
    height = max(1, LOGITS_AT_ONCE // min(TOKENS_AT_ONCE, len(unembed.weight)))
    parts = [sums(unembed, part) for part in _even(rows, height)]
    return torch.cat([total for total, _ in parts]), torch.cat([best for _, best in parts])


def _tiles(unembed: Linear) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the first token, the columns and the biases of each tile of the vocabulary."""
    start = 0
    weights, biases = _even(unembed.weight, TOKENS_AT_ONCE), _even(unembed.bias, TOKENS_AT_ONCE)
    for weight, bias in zip(weights, biases, strict=True):
        yield start, weight.mT, bias
        start += len(bias)


def _even(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """Cut into parts of nearly equal size: products of a handful of rows round differently."""
    return rows.tensor_split(-(-len(rows) // most))


def _sum_as_they_are(unembed: Linear, rows: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for _, columns, bias in _tiles(unembed):
        total += torch.addmm(bias, rows, columns).exp_().sum(dim=1)
    return total.log_(), torch.full((len(rows),), -1, device=rows.device)


def _sum_below_largest(unembed: Linear, rows: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    largest = rows.new_full((len(rows),), float("-inf"))
    best = torch.full((len(rows),), -1, device=rows.device)
    for start, columns, bias in _tiles(unembed):
        logits = torch.addmm(bias, rows, columns)
        value, at = logits.max(dim=1)
        best = torch.where(value > largest, at + start, best)
        before, largest = largest, largest.maximum(value)
        total *= (before - largest).exp()
        total += logits.sub_(largest[:, None]).exp_().sum(dim=1)
    return total.log_().add_(largest), best
