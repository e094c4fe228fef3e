"""Readouts, computed from the final residual streams at the scored positions.

Sums over the vocabulary are taken tile by tile, so that logits live in the processor's cache only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from cntbench import plugins
from cntbench.models.decoder import Decoder
from cntbench.models.maps import Linear
from cntbench.models.products import affine, widened
from cntbench.prompts import PADDING, Prompts
from cntbench.readouts._base import Scored

#: Tokens of the vocabulary, and logits, in a tile: it should stay in the processor's cache.
TOKENS_AT_ONCE = 1024
LOGITS_AT_ONCE = 2**20
#: No logit can be further from 0 than this where exponentials are summed as they are.
SAFE_LOGIT = 60.0
#: Tiles of logits, or of what is made of them, that are held at once where sets of answers or two
#: distributions are compared.
COPIES = 8


@dataclass(frozen=True)
class Answers:
    """What is right and what is wrong at the scored positions of some prompts.

    Parameters
    ----------
    targets, decoys
        Right and wrong next tokens, dims ``prompt, scored``; or sets of them, padded, dims
        ``prompt, scored, alternative``.
    summed
        Whether the scored positions are those of one answer's tokens: readouts are summed over
        them, or combined as the readout's file says. Else their mean is taken.
    """

    targets: Tensor
    decoys: Tensor
    summed: bool = False

    @classmethod
    def of(cls, prompts: Prompts, device: torch.device) -> Answers:
        """Return those of a batch."""
        targets = torch.from_numpy(prompts.targets).to(device)
        decoys = torch.from_numpy(prompts.decoys).to(device)
        return cls(targets, decoys, prompts.summed is not None and bool(np.all(prompts.summed)))

    def combined(self, values: Tensor, file: ModuleType | None = None) -> Tensor:
        """Return one number for each prompt of values at its positions, dims ``run, prompt``."""
        if not self.summed:
            return values.mean(dim=-1)
        over_answer = getattr(file, "over_answer", None)
        return values.sum(dim=-1) if over_answer is None else over_answer(values)


def readout(
    model: Decoder, streams: Tensor, answers: Answers, names: Iterable[str]
) -> dict[str, Tensor]:
    """Compute readouts at the scored positions.

    Parameters
    ----------
    model
        Gives the final norm and the unembedding.
    streams
        Final residual streams, dims ``run, prompt, scored, hidden``; run 0 is the clean one.
    answers
        What is right and wrong there.
    names
        Which readouts.

    Returns
    -------
    dict
        For each readout its mean over the scored positions, or what `Answers.combined` makes of
        them, dims ``run, prompt``, float64; computed in single precision at least, from the streams
        and weights as they are.
    """
    files = {name: plugins.find("readout", name) for name in names}
    reads = [quantity for file in files.values() for quantity in file.READS]
    if streams.is_meta:  # there are no numbers to read; all logits cost a product
        shared = "log_odds" in reads or "best_other" in reads
        for _ in range(shared + reads.count("logits") + reads.count("divergence")):
            model.unembed(streams)
        return {name: streams.new_empty(streams.shape[:2]) for name in files}
    at = ScoredStreams(model, streams, answers.targets, answers.decoys, best="best_other" in reads)
    return {name: answers.combined(file.value(at).double(), file) for name, file in files.items()}


def gradient(
    model: Decoder, normed: Tensor, answers: Answers, name: str, clean: Tensor | None = None
) -> Tensor:
    """Return the gradient of a readout in normalised streams, which have its dims.

    Parameters
    ----------
    normed
        What the unembedding reads at the scored positions, dims ``run, prompt, scored, hidden``.
    name
        A readout that has a gradient.
    clean
        What it reads in the clean run, dims ``1, prompt, scored, hidden``, for readouts that read
        ``"divergence"``.
    """
    at = ScoredStreams(model, normed, answers.targets, answers.decoys, is_normed=True)
    if clean is not None:
        at.clean = replace(at, streams=clean)
    total: Tensor = plugins.find("readout", name).gradient(at)
    return (total if answers.summed else total / answers.targets.shape[1]).expand_as(normed)


@dataclass
class ScoredStreams(Scored):
    """Streams at the scored positions, dims ``run, prompt, scored, hidden``; see `Scored`.

    ``best`` says whether the largest logit is read, too: it is only found then. ``is_normed`` says
    that the streams have gone through the final norm already.
    """

    model: Decoder
    streams: Tensor
    targets: Tensor
    decoys: Tensor
    best: bool = False
    is_normed: bool = False

    @cached_property
    def normed(self) -> Tensor:
        """What the unembedding reads."""
        return self._normed(self.streams)

    def _normed(self, streams: Tensor) -> Tensor:
        return streams if self.is_normed else self.model.final_norm(widened(streams))

    @cached_property
    def clean(self) -> ScoredStreams:
        return replace(self, streams=self.streams[:1])

    @cached_property
    def _against(self) -> tuple[Tensor, Tensor]:
        if self.normed.is_meta:  # there are no numbers to compare
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
        height, found = max(1, self._height // COPIES), []
        for part, tokens in zip(rows.split(height), targets.split(height), strict=True):
            logits, known = self._logits(part), tokens != PADDING
            tokens = tokens.where(known, tokens[:, :1])
            right = logits.gather(1, tokens).masked_fill(~known, float("-inf"))
            others = logits.scatter(1, tokens, float("-inf"))
            odds = others.double().logsumexp(dim=1) - right.double().logsumexp(dim=1)
            found.append((odds, others.amax(dim=1) - right.amax(dim=1)))
        return torch.cat([odds for odds, _ in found]), torch.cat([best for _, best in found])

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
        apart = widened(weight[tokens]) - weight[others]
        ends = map(self._normed, self.streams)
        logits = torch.stack([(end * apart).sum(dim=-1) for end in ends])
        return logits.add_(widened(bias[tokens]) - bias[others])

    def of_logits(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        rows = (self.normed.flatten(0, -2), self._target_rows)
        parts = (tensor.split(self._height) for tensor in rows)
        numbers = [
            function(self._logits(part), targets) for part, targets in zip(*parts, strict=True)
        ]
        return torch.cat(numbers).view(self.normed.shape[:-1])

    @property
    def divergence(self) -> Tensor:
        rows = self.normed.flatten(1, 2)
        height = max(1, LOGITS_AT_ONCE // (TOKENS_AT_ONCE * COPIES * len(rows)))
        parts = [_divergence(self.model.unembed, part) for part in rows.split(height, dim=1)]
        return torch.cat(parts, dim=1).view(self.normed.shape[:-1])

    def columns(self, tokens: Tensor) -> Tensor:
        if tokens.dim() == 2:
            return widened(self.model.unembed.weight[tokens])
        columns = widened(self.model.unembed.weight[tokens.clamp(min=0)])
        shares = self._set_logits(tokens).softmax(dim=-1).to(columns)
        return torch.stack([(share[..., None] * columns).sum(dim=-2) for share in shares])

    def _set_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of sets of tokens, dims ``run, prompt, scored, alternative``."""
        known = tokens.clamp(min=0)
        columns = widened(self.model.unembed.weight[known])
        ends = map(self._normed, self.streams)
        logits = torch.stack([(end[..., None, :] * columns).sum(dim=-1) for end in ends])
        logits = logits.double() + self.model.unembed.bias[known]
        return logits.masked_fill(tokens == PADDING, float("-inf"))

    @property
    def expected_column(self) -> Tensor:
        weight = self.model.unembed.weight
        rows = self.normed.to(weight.dtype).flatten(0, -2).split(self._height)
        odds = (widened(self.model.unembed(part)).softmax(dim=-1) for part in rows)
        return torch.cat([widened(part.to(weight.dtype) @ weight) for part in odds]).view_as(
            self.normed
        )

    def _logits(self, rows: Tensor) -> Tensor:
        """Return all logits of rows, in their precision."""
        unembed = self.model.unembed
        if unembed.weight.dtype == rows.dtype:
            return unembed(rows)
        tiles = zip(
            *(_even(part, TOKENS_AT_ONCE) for part in (unembed.weight, unembed.bias)), strict=True
        )
        return torch.cat([affine(rows, w.to(rows), b.to(rows)) for w, b in tiles], dim=-1)

    @property
    def _height(self) -> int:
        """Rows whose logits are computed at once."""
        return max(1, LOGITS_AT_ONCE // self.model.vocabulary)


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


def _divergence(unembed: Linear, rows: Tensor) -> Tensor:
    """Return Σ_v q_v (log q_v − log p_v), q of run 0; dims of rows ``run, position, hidden``.

    It is Σ_v q_v (l'_v − l_v) − log Σ_v exp(l'_v) + log Σ_v exp(l_v) with the logits l' of run 0,
    taken relative to the largest so far.
    """
    total, weighted = torch.zeros(2, *rows.shape[:2], dtype=torch.float64, device=rows.device)
    largest = torch.full_like(total, float("-inf"))
    for weight, bias in zip(
        _even(unembed.weight, TOKENS_AT_ONCE), _even(unembed.bias, TOKENS_AT_ONCE), strict=True
    ):
        logits = affine(rows, weight.to(rows), bias.to(rows)).double()
        before, largest = largest, largest.maximum(logits.amax(dim=-1))
        shrunk, odds = (before - largest).exp(), (logits - largest[..., None]).exp()
        total = total * shrunk + odds.sum(dim=-1)
        weighted = weighted * shrunk[0] + (odds[0] * (logits[0] - logits)).sum(dim=-1)
    of_all = total.log() + largest
    return (weighted / total[0] - (of_all[0] - of_all)).clamp(min=0)


def _of_tokens(unembed: Linear, rows: Tensor, tokens: Tensor) -> Tensor:
    return (rows * unembed.weight[tokens]).sum(dim=1) + unembed.bias[tokens]


def _even(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """Cut into parts of nearly equal size: products of a handful of rows round differently."""
    return rows.tensor_split(-(-len(rows) // most))
