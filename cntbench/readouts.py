"""Readouts: numbers about the model's behaviour on a task, from the final residual stream."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cntbench.models.decoder import Decoder
from cntbench.specs import Readout

#: Logits computed at once [bytes].
LOGITS_AT_ONCE = 32 * 2**20


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
    if "logit_difference" in wanted:
        weight, bias = model.unembed.weight, model.unembed.bias
        direction = weight[targets] - weight[decoys]
        offset = bias[targets] - bias[decoys]
        difference = torch.einsum("rpsh,psh->rps", normed, direction) + offset
        found["logit_difference"] = difference.double().mean(dim=-1)
    if wanted - {"logit_difference"}:
        entropy, hit = _over_vocabulary(model, normed, targets)
        if "cross_entropy" in wanted:
            found["cross_entropy"] = entropy
        if "accuracy" in wanted:
            found["accuracy"] = hit
    return found


def _over_vocabulary(model: Decoder, normed: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and accuracy, dims ``run, prompt``, a bounded number of rows at once."""
    rows = normed.flatten(0, -2)
    right = targets.expand(normed.shape[:-1]).flatten()
    entropy = torch.empty(len(rows), dtype=torch.float64)
    hit = torch.empty(len(rows), dtype=torch.float64)
    step = max(1, LOGITS_AT_ONCE // (model.vocabulary * rows.element_size()))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        logits = model.unembed(rows[part])
        of_target = logits.gather(1, right[part, None])[:, 0]
        entropy[part] = logits.logsumexp(dim=1) - of_target
        hit[part] = logits.argmax(dim=1) == right[part]
    shape = normed.shape[:-1]
    return entropy.view(shape).mean(dim=-1), hit.view(shape).mean(dim=-1)
