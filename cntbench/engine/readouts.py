"""Readouts, computed from the final residual streams at the scored positions.

Sums over the vocabulary are computed tile by tile, so that logits stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from cntbench import plugins
from cntbench.models.decoder import Decoder
from cntbench.models.maps import CappedLinear, Linear
from cntbench.models.products import affine, widened
from cntbench.prompts import PADDING, Prompts
from cntbench.readouts._base import Scored

#: Tokens of the vocabulary, and logits, in a tile that fits the processor's cache.
TOKENS_AT_ONCE = 1024
LOGITS_AT_ONCE = 2**20
#: Largest absolute logit for which exponentials are summed without subtracting the maximum.
SAFE_LOGIT = 60.0
#: Tiles of logits and of intermediate results that are held at once when sets of answers or two
#: distributions are compared.
COPIES = 8


@dataclass(frozen=True)
class Answers:
    """Right and wrong answers at the scored positions of the prompts.

    Parameters
    ----------
    targets, decoys
        Right and wrong next tokens, dims ``prompt, scored``; or padded sets of them, dims
        ``prompt, scored, alternative``.
    summed
        Whether the scored positions hold the tokens of one answer: readouts are then summed over
        them, or combined as the readout's file says. Otherwise their mean is taken.
    """

    targets: Tensor
    decoys: Tensor
    summed: bool = False

    @classmethod
    def of(cls, prompts: Prompts, device: torch.device) -> Answers:
        """Return the answers of the prompts."""
        targets = torch.from_numpy(prompts.targets).to(device)
        decoys = torch.from_numpy(prompts.decoys).to(device)
        return cls(targets, decoys, prompts.summed is not None and bool(np.all(prompts.summed)))

    def combined(self, values: Tensor, file: ModuleType | None = None) -> Tensor:
        """Combine the values at a prompt's positions into one number, dims ``run, prompt``."""
        if not self.summed:
            return values.mean(dim=-1)
        over_answer = getattr(file, "over_answer", None)
        return values.sum(dim=-1) if over_answer is None else over_answer(values)


def readout(
    model: Decoder, streams: Tensor, answers: Answers, names: Iterable[str]
) -> dict[str, Tensor]:
    """Compute readouts at the scored positions.

    Takes final residual streams, dims ``run, prompt, scored, hidden``; run 0 is the clean run.
    Returns each readout by its name, combined by `Answers.combined`, dims ``run, prompt``, float64;
    computed in at least single precision from the given streams and weights.
    """
    files = {name: plugins.find("readout", name) for name in names}
    reads = [quantity for file in files.values() for quantity in file.READS]
    if streams.is_meta:  # there are no numbers; computing all logits costs one product
        shared = "log_odds" in reads or "best_other" in reads
        for _ in range(shared + reads.count("logits") + reads.count("divergence")):
            model.unembed(streams)
        return {name: streams.new_empty(streams.shape[:2]) for name in files}
    scored = ScoredStreams(
        model, streams, answers.targets, answers.decoys, best="best_other" in reads
    )
    return {
        name: answers.combined(file.value(scored).double(), file) for name, file in files.items()
    }


def gradient(
    model: Decoder, normed: Tensor, answers: Answers, name: str, clean: Tensor | None = None
) -> Tensor:
    """Return the gradient of a readout with respect to the normalised streams, with their dims.

    Takes the input of the unembedding at the scored positions, dims ``run, prompt, scored,
    hidden``; for readouts that read ``"divergence"`` also that in the clean run, ``run`` of size 1.
    """
    scored = ScoredStreams(
        model, normed, answers.targets, answers.decoys, is_normed=True, clean=clean
    )
    total: Tensor = plugins.find("readout", name).gradient(scored)
    return (total if answers.summed else total / answers.targets.shape[1]).expand_as(normed)


@dataclass
class ScoredStreams(Scored):
    """Streams at the scored positions, dims ``run, prompt, scored, hidden``; see `Scored`.

    ``best`` says whether to compute the largest other logit. ``is_normed`` says that the streams
    have already passed the final norm, as have those of the ``clean`` run, which gradients need.
    """

    model: Decoder
    streams: Tensor
    targets: Tensor
    decoys: Tensor
    best: bool = False
    is_normed: bool = False
    clean: Tensor | None = None

    @cached_property
    def normed(self) -> Tensor:
        """The input of the unembedding."""
        return self._normed(self.streams)

    def _normed(self, streams: Tensor) -> Tensor:
        return streams if self.is_normed else self.model.final_norm(widened(streams))

    @cached_property
    def _against(self) -> tuple[Tensor, Tensor]:
        if self.normed.is_meta:  # there are no numbers
            self.model.unembed(self.normed)
            empty = self.normed.new_empty(self.normed.shape[:-1])
            return empty.double(), empty
        rows, targets = self.normed.flatten(0, -2), self._target_rows
        if targets.dim() == 2:
            odds, best = self._sets_against_others(rows, targets)
        else:
            odds, best = against_others(self.model.unembed, rows, targets, accuracy=self.best)
        return odds.view(self.normed.shape[:-1]), best.view(self.normed.shape[:-1])

    def _sets_against_others(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return log Σ_v∉T exp(l_v) − log Σ_t∈T exp(l_t) and max_v∉T l_v − max_t∈T l_t."""
        height, odds, best = max(1, self._height // COPIES), [], []
        for batch, tokens in zip(rows.split(height), targets.split(height), strict=True):
            logits, padding = self._logits(batch), tokens == PADDING
            tokens = tokens.where(~padding, tokens[:, :1])
            right = logits.gather(1, tokens).masked_fill(padding, float("-inf"))
            others = logits.scatter(1, tokens, float("-inf"))
            odds.append(others.double().logsumexp(dim=1) - right.double().logsumexp(dim=1))
            best.append(others.amax(dim=1) - right.amax(dim=1))
        return torch.cat(odds), torch.cat(best)

    @property
    def _target_rows(self) -> Tensor:
        return self.targets.expand(len(self.normed), *self.targets.shape).flatten(0, 2)

    @property
    def log_odds(self) -> Tensor:
        return self._against[0]

    @property
    def best_other(self) -> Tensor:
        return self._against[1]

    def difference(self, tokens: Tensor, others: Tensor) -> Tensor:
        weight, bias = self.model.unembed.weight, self.model.unembed.bias
        if tokens.dim() == 3:
            return self._set_logits(tokens).logsumexp(-1) - self._set_logits(others).logsumexp(-1)
        if isinstance(self.model.unembed, CappedLinear):
            return self._token_logits(tokens) - self._token_logits(others)
        columns = widened(weight[tokens]) - weight[others]
        normed = map(self._normed, self.streams)
        logits = torch.stack([(run * columns).sum(dim=-1) for run in normed])
        return logits.add_(widened(bias[tokens]) - bias[others])

    def of_logits(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        rows = self.normed.flatten(0, -2).split(self._height)
        targets = self._target_rows.split(self._height)
        values = [function(self._logits(r), t) for r, t in zip(rows, targets, strict=True)]
        return torch.cat(values).view(self.normed.shape[:-1])

    @property
    def divergence(self) -> Tensor:
        rows = self.normed.flatten(1, 2)
        height = max(1, LOGITS_AT_ONCE // (TOKENS_AT_ONCE * COPIES * len(rows)))
        parts = [_divergence(self.model.unembed, part) for part in rows.split(height, dim=1)]
        return torch.cat(parts, dim=1).view(self.normed.shape[:-1])

    def columns(self, tokens: Tensor) -> Tensor:
        if tokens.dim() == 2:
            columns = widened(self.model.unembed.weight[tokens])
            if not isinstance(self.model.unembed, CappedLinear):
                return columns
            return self.model.unembed.slope(self._token_logits(tokens))[..., None] * columns
        columns = widened(self.model.unembed.weight[tokens.clamp(min=0)])
        logits = self._set_logits(tokens)
        slope, shares = self.model.unembed.slope(logits), logits.softmax(dim=-1)
        if slope is not None:
            shares = shares * slope.masked_fill(tokens == PADDING, 0.0)
        shares = shares.to(columns)
        return torch.stack([(share[..., None] * columns).sum(dim=-2) for share in shares])

    def _token_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of tokens, dims ``run, prompt, scored``."""
        unembed = self.model.unembed
        columns, normed = widened(unembed.weight[tokens]), map(self._normed, self.streams)
        logits = torch.stack([(run * columns).sum(dim=-1) for run in normed])
        return unembed.capped(logits + widened(unembed.bias[tokens]))

    def _set_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of sets of tokens, dims ``run, prompt, scored, alternative``."""
        indices = tokens.clamp(min=0)
        columns = widened(self.model.unembed.weight[indices])
        normed = map(self._normed, self.streams)
        logits = torch.stack([(run[..., None, :] * columns).sum(dim=-1) for run in normed])
        logits = logits.double() + self.model.unembed.bias[indices]
        logits = self.model.unembed.capped(logits)
        return logits.masked_fill(tokens == PADDING, float("-inf"))

    @property
    def expected_column(self) -> Tensor:
        rows, columns = self._rows(self.normed), []
        for batch in rows:
            logits = widened(self.model.unembed(batch))
            columns.append(self._sum_of_columns(logits.softmax(dim=-1), logits))
        return torch.cat(columns).view_as(self.normed)

    @property
    def excess_column(self) -> Tensor:
        assert self.clean is not None
        rows = self._rows(self.normed), self._rows(self.clean.expand_as(self.normed))
        columns = []
        for batch, clean in zip(*rows, strict=True):
            logits, clean_logits = (widened(self.model.unembed(part)) for part in (batch, clean))
            excess = logits.softmax(dim=-1) - clean_logits.softmax(dim=-1)
            columns.append(self._sum_of_columns(excess, logits))
        return torch.cat(columns).view_as(self.normed)

    def _rows(self, normed: Tensor) -> tuple[Tensor, ...]:
        """Return the rows whose logits are computed at once, in the precision of the weights."""
        return normed.to(self.model.unembed.weight.dtype).flatten(0, -2).split(self._height)

    def _sum_of_columns(self, weights: Tensor, logits: Tensor) -> Tensor:
        """Return weights times the slopes of logits in the stream, dims ``row, hidden``."""
        columns, slope = self.model.unembed.weight, self.model.unembed.slope(logits)
        weights = weights if slope is None else weights * slope
        return widened(weights.to(columns.dtype) @ columns)

    def _logits(self, rows: Tensor) -> Tensor:
        """Return all logits of rows, in the precision of the rows."""
        unembed = self.model.unembed
        if unembed.weight.dtype == rows.dtype:
            return unembed(rows)
        tiles = _tiles(unembed, rows)
        return torch.cat([unembed.capped(affine(rows, *tile)) for tile in tiles], dim=-1)

    @property
    def _height(self) -> int:
        """Number of rows whose logits are computed at once."""
        return max(1, LOGITS_AT_ONCE // self.model.vocabulary)


def against_others(
    unembed: Linear, rows: Tensor, targets: Tensor, *, accuracy: bool
) -> tuple[Tensor, Tensor]:
    """Return log Σ_v≠t exp(l_v − l_t), float64, and max_v≠t l_v − l_t, for each row's logits l.

    The product of the longest row and the longest column of the unembedding, plus the largest bias,
    bounds every logit (Cauchy-Schwarz). If this bound is small, exponentials neither overflow nor
    vanish and are summed directly; otherwise the largest logit so far is subtracted. The maximum is
    only computed if ``accuracy`` is true.
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
    for weight, bias in _tiles(unembed, rows):
        logits = unembed.capped(affine(rows, weight, bias))
        column = (targets - start)[:, None]
        within = (column >= 0) & (column < len(bias))
        column = column.clamp(0, len(bias) - 1)
        logit = logits.gather(1, column)
        of_target = logit.where(within, of_target[:, None])[:, 0]
        logits.scatter_(1, column, logit.masked_fill(within, float("-inf")))
        if accuracy or not safe:
            best = best.maximum(logits.amax(dim=1))
        if not safe:
            before, largest = largest, largest.maximum(best)
            total *= (before - largest).exp()
            logits -= largest[:, None]
        total += logits.exp_().sum(dim=1)
        start += len(bias)
    return total.log_().add_(largest).sub_(of_target), best - of_target


def _divergence(unembed: Linear, rows: Tensor) -> Tensor:
    """Return Σ_v q_v (log q_v − log p_v), where q is run 0; rows have ``run, position, hidden``.

    It equals Σ_v q_v (l'_v − l_v) − log Σ_v exp(l'_v) + log Σ_v exp(l_v), where l' are the logits
    of run 0; the largest logit so far is subtracted.
    """
    total, weighted = torch.zeros(2, *rows.shape[:2], dtype=torch.float64, device=rows.device)
    largest = torch.full_like(total, float("-inf"))
    for weight, bias in _tiles(unembed, rows):
        logits = unembed.capped(affine(rows, weight, bias).double())
        before, largest = largest, largest.maximum(logits.amax(dim=-1))
        shrunk, odds = (before - largest).exp(), (logits - largest[..., None]).exp()
        total = total * shrunk + odds.sum(dim=-1)
        weighted = weighted * shrunk[0] + (odds[0] * (logits[0] - logits)).sum(dim=-1)
    log_sum = total.log() + largest
    return (weighted / total[0] - (log_sum[0] - log_sum)).clamp(min=0)


def _of_tokens(unembed: Linear, rows: Tensor, tokens: Tensor) -> Tensor:
    return unembed.capped((rows * unembed.weight[tokens]).sum(dim=1) + unembed.bias[tokens])


def _tiles(unembed: Linear, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weight and bias of the unembedding tile by tile, in the precision of the rows."""
    parts = _even(unembed.weight, TOKENS_AT_ONCE), _even(unembed.bias, TOKENS_AT_ONCE)
    for weight, bias in zip(*parts, strict=True):
        yield weight.to(rows), bias.to(rows)


def _even(rows: Tensor, limit: int) -> tuple[Tensor, ...]:
    """Split into parts of nearly equal size, as products of few rows round differently."""
    return rows.tensor_split(-(-len(rows) // limit))
