"""Readouts: numbers about the model's behaviour on a task, from the final residual stream.

The logit difference of target t and decoy u at a position with normalised stream x is

    x · (w_t − w_u),

two columns of the unembedding. Cross-entropy is log Σ_v exp(x · w_v) − x · w_t over the whole
vocabulary; the sum is taken tile by tile, so that logits live in the cache only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cntbench.models.decoder import Decoder, Linear
from cntbench.specs import Readout

#: Tokens of the vocabulary, and logits, in a tile.
TILE_COLUMNS = 1024
TILE_SIZE = 2**20
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
        if bias is not None:
            difference += bias[targets] - bias[decoys]
        found["logit_difference"] = difference.double().mean(dim=-1)
    if wanted - {"logit_difference"}:
        flat = targets.expand(normed.shape[:-1]).flatten()
        total, best = over_vocabulary(
            model.unembed, normed.flatten(0, -2), flat if "accuracy" in wanted else None
        )
        if "cross_entropy" in wanted:
            of_target = (normed * right).sum(dim=-1)
            if bias is not None:
                of_target += bias[targets]
            found["cross_entropy"] = (total.view_as(of_target) - of_target).mean(dim=-1)
        if "accuracy" in wanted:
            hit = (best == flat).double().view(normed.shape[:-1])
            found["accuracy"] = hit.mean(dim=-1)
    return found


def over_vocabulary(unembed: Linear, rows: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each row's log Σ exp of its logits, float64, and whether its target's is the largest.

    No logit is larger than the product of the longest row and the longest column of the unembedding
    (Cauchy–Schwarz). If that is small, exponentials can neither overflow nor vanish and are summed
    as they are; otherwise relative to the largest logit so far.

    Without ``targets`` the second result is of no use; with them it is the target where that is
    the first of the largest logits' tokens, and another number elsewhere.
    """
    reach = rows.norm(dim=1).max() * unembed.weight.norm(dim=1).max()
    if unembed.bias is not None:
        reach += unembed.bias.abs().max()
    safe = bool(reach <= SAFE_LOGIT)
    # Tiles of nearly equal height: products of a handful of rows round differently.
    height = TILE_SIZE // min(TILE_COLUMNS, len(unembed.weight))
    count = -(-len(rows) // height)
    wanted = [None] * count if targets is None else targets.tensor_split(count)
    parts = [
        _tile_row(unembed, part, right, safe=safe)
        for part, right in zip(rows.tensor_split(count), wanted, strict=True)
    ]
    return torch.cat([total for total, _ in parts]), torch.cat([best for _, best in parts])


def _tile_row(
    unembed: Linear, rows: Tensor, targets: Tensor | None, *, safe: bool
) -> tuple[Tensor, Tensor]:
    largest = rows.new_full((len(rows),), float("-inf"))
    best = torch.full((len(rows),), -1, device=rows.device)
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for start in range(0, len(unembed.weight), TILE_COLUMNS):
        columns = slice(start, start + TILE_COLUMNS)
        logits = rows @ unembed.weight[columns].mT
        if unembed.bias is not None:
            logits += unembed.bias[columns]
        if targets is not None or not safe:
            here = largest.maximum(logits.amax(dim=1))
            if targets is not None:
                risen = here > largest
                best[risen] = -1
                at = (risen & (targets >= columns.start) & (targets < columns.stop)).nonzero()[:, 0]
                best[at] = logits[at].argmax(dim=1) + start
            if not safe:
                total *= (largest - here).exp()
                logits -= here[:, None]
            largest = here
        total += logits.exp_().sum(dim=1)
    return total.log_().add_(0 if safe else largest), best
