"""One pass over the stages: the clean run and every ablated run in one batch.

Let x_t be the clean residual stream that stage t reads, and c_s(x) the contribution of component s.
Ablating s, in stage t, replaces c_s(x_t) by r_s and leaves everything upstream unchanged, so its
run starts at

    x^s_{t+1} = x_{t+1} + (r_s − c_s(x_t)),        x^s_{u+1} = x^s_u + Σ_k c_k(x^s_u)   for u > t.

The total effect on a component k of stage u > t is the change from c_k(x_u) to c_k(x^s_u). One pass
over the stages carries the clean run and the runs of all sources of earlier stages in one batch;
each source joins the batch after its own stage. Nothing upstream of a source is recomputed, and all
sources of all ablations share every matrix product. From the queries of the last attention on,
nothing reads the positions that are not scored, so the ablated runs drop them unless targets are
observed everywhere.

Dims: ``run`` is the clean run, then donors, then the ablated runs: stage by stage, block by block,
ablation × source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cntbench.ablations.ablation import Ablation, donors
from cntbench.ablations.replacements._base import Corpus, Moments
from cntbench.engine.arrays import Array, Arrivals, measured_change, to_array
from cntbench.engine.attention_scores import pattern_scores
from cntbench.engine.position_sums import changes_at_positions
from cntbench.engine.positions import Positions, last_attention
from cntbench.engine.readouts import Answers, readout
from cntbench.engine.replacing import Replacer, Statistics, corpus_tokens, token_tensor
from cntbench.engine.request import Request, among, within
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder, Place, Stage
from cntbench.models.heads import Queries
from cntbench.prompts import Prompts, Tokens, lengths
from cntbench.readouts import known_readouts


class Sweep:
    """One pass over the stages: some prompts, some sources, all ablations."""

    def __init__(
        self,
        request: Request,
        ablations: Sequence[Ablation],
        statistics: Statistics,
        runs_at_once: int,
    ) -> None:
        model, prompts, sources = request.model, request.prompts, request.ablated
        self.request = request
        self.model = model
        self.prompts = prompts
        self.ablations = ablations
        self.corpora = corpora = donors(ablations)
        self.replacer = Replacer(prompts, corpora, statistics, request.seed)
        self.sources = sources
        self.runs_at_once = runs_at_once
        self.device = model.unembed.weight.device
        self.arrivals = Arrivals(self.device)
        self.tokens = torch.from_numpy(prompts.tokens).to(self.device)
        self.everywhere = request.observe_all
        self.scored = Positions.scored(prompts, self.device)
        #: The stage at which the ablated runs drop the positions that are not scored.
        self.narrowing = None if request.observe_all else last_attention(model)
        #: From that stage on, the runs without ablation at all positions, for replacements and
        #: attention scores.
        self.base_streams: Tensor | None = None
        #: The ablation and source of each ablated run.
        self.runs: list[tuple[int, int]] = []
        shape = (*prompts.tokens.shape, model.hidden)
        n_runs = len(corpora) + len(ablations) * len(sources)
        self.streams = torch.empty((n_runs, *shape), dtype=model.dtype, device=self.device)
        for run, corpus in enumerate(corpora):
            tokens = token_tensor(corpus_tokens(prompts, *corpus), self.device)
            self.streams[run] = model.embed(tokens)

    def run(self, change: Array, scores: Array) -> None:
        """Carry all runs through all stages.

        Fills ``change``, dims ``ablation, source, target, prompt``, and ``scores``
        (`PATTERN_SCORES`), dims ``score, component, prompt``.
        """
        for index, (stage, places, _) in enumerate(self.model.walk):
            live = len(self.corpora) + len(self.runs)
            self._advance(stage, places, live, change, scores, narrow=index == self.narrowing)
            self.streams[live : len(self.corpora) + len(self.runs)] += self.streams[0]
        self.arrivals.bring()
        if self.everywhere:
            self.streams = self.scored.choose(self.streams)

    def _advance(
        self,
        stage: Stage,
        places: Sequence[Place],
        live: int,
        change: Array,
        scores: Array,
        *,
        narrow: bool,
    ) -> None:
        """Carry the live runs through a stage in tiles; start the runs of its sources."""
        base, streams = len(self.corpora), self.streams
        if narrow:
            self.base_streams = streams[:base].clone()
            shape = (len(streams), *self.prompts.scored.shape, streams.shape[-1])
            self.streams = streams.new_empty(shape)
        clean: dict[int, Tensor] = {}
        for tile in self._tiles(live):
            normed, queries = stage.norm(streams[tile]), None
            if tile.start == 0:
                base_streams = self.base_streams
                base_normed = normed[:base] if base_streams is None else stage.norm(base_streams)
            if narrow:
                self.streams[tile] = self.scored.seen(streams[tile])
                queries = Queries(normed, self.scored.rows)
                normed = self.scored.choose(normed)
            for index, place in enumerate(places):
                states = place.block.states(normed, queries)
                if tile.start == 0:
                    self._start_runs(place, base_normed, states[:base], scores)
                if self.request.watched(place.nodes):
                    image = place.block.image(self._observed(states))
                    if tile.start == 0:
                        clean[index] = image[0].clone()
                        image = image[base:]
                    runs = self.runs[max(0, tile.start - base) : tile.stop - base]
                    self._observe(clean[index], image, runs, place.nodes, change)
                place.block.write(states, self.streams[tile])

    def _tiles(self, live: int) -> Iterator[slice]:
        """Cut the live runs into tiles of nearly equal size, as products of few rows round
        differently. The runs without ablation stay together."""
        count = -(-live // self.runs_at_once)
        ends = [live * (tile + 1) // count for tile in range(count)]
        ends = [end for end in ends if end >= len(self.corpora)]
        return map(slice, [0, *ends[:-1]], ends)

    @property
    def final(self) -> Tensor:
        """The final stream of the clean run at the scored positions."""
        return self.streams[0]

    def _attend(self, block: Attention, normed: Tensor, scores: Array) -> None:
        length = self.prompts.length
        pattern = block.pattern(normed[:, :length])
        if pattern.is_meta:
            return
        of_block = pattern_scores(pattern, self.tokens[:, :length])
        self.arrivals.add(of_block, partial(scores.__setitem__, ...))

    def _observed(self, states: Tensor) -> Tensor:
        if self.everywhere:
            return states[:, :, : self.prompts.length]
        if states.shape[2] == self.prompts.scored.shape[1]:
            return states
        return self.scored.seen(states)

    def _observe(
        self,
        clean: Tensor,
        ablated: Tensor,
        runs: list[tuple[int, int]],
        nodes: range,
        change: Array,
    ) -> None:
        """Measure the change of the targets' outputs in the runs ablated upstream."""
        if not runs:
            return
        for measure in {ablation.measure for ablation in self.ablations}:
            rows = [i for i, (a, _) in enumerate(runs) if self.ablations[a].measure is measure]
            if not rows:
                continue
            images = ablated if len(rows) == len(runs) else ablated[rows]
            pairs = np.array([runs[row] for row in rows])
            at = pairs[:, 0], pairs[:, 1], _slice(nodes)
            self.arrivals.add(
                measured_change(measure, clean, images), partial(change.__setitem__, at)
            )
            if self.request.sums is not None:
                methods = [self.ablations[index] for index in pairs[:, 0]]
                add = partial(self.request.sums.add, methods, pairs[:, 1].tolist(), nodes)
                self.arrivals.add(changes_at_positions(measure, clean, images), add)

    def _start_runs(self, place: Place, normed: Tensor, states: Tensor, scores: Array) -> None:
        """Start a run for each source of a block, from the runs without ablation.

        ``normed`` is their normalised stream at all positions, ``states`` their states at the
        positions of the stage.
        """
        block, nodes = place.block, place.nodes
        if isinstance(block, Attention):
            self._attend(block, normed[0], scores[:, _slice(nodes)])
        if self.base_streams is not None:
            states = block.states(normed)
        self._branch(place, states)
        if self.base_streams is not None:
            block.write(states, self.base_streams)

    def _branch(self, place: Place, states: Tensor) -> None:
        """Add the streams of the new runs: the change that their ablation makes."""
        chosen = among(self.sources, place.nodes)
        if not chosen:
            return
        local = within(chosen, place.nodes)
        for index, ablation in enumerate(self.ablations):
            changes = self.replacer.changes(ablation, states, place.number)
            if self.base_streams is not None:
                changes = self.scored.choose(changes[None])[0]
            start = len(self.corpora) + len(self.runs)
            self.streams[start : start + len(chosen)] = place.block.contributions(changes)[local]
            self.runs += [(index, source) for source in chosen]

    def read(self, effect: Array) -> None:
        """Compute the change of readouts, dims ``ablation, readout, source, prompt``."""
        effects = self.request.effects
        if not (self.runs and effects):
            return
        ablation, source = np.array(self.runs).T
        final, base = self.streams, len(self.corpora)
        if base > 1:
            final = torch.cat([final[:1], final[base:]])
        answers = Answers.of(self.prompts, self.device)
        for name, value in readout(self.model, final, answers, effects).items():
            effect[ablation, known_readouts().index(name), source] = to_array(value[1:] - value[0])


def _slice(nodes: range) -> slice:
    return slice(nodes.start, nodes.stop)


def spread(model: Decoder, prompts: Prompts, corpus: Corpus, at_once: int) -> list[Moments]:
    """Return moments of every block's states over all prompts of a corpus, aligned."""
    prompts = prompts.distinct
    tokens, anchors = corpus_tokens(prompts, corpus), prompts.anchors
    anchor = 0 if anchors is None else int(anchors[:, 0].max())
    first = np.zeros(len(tokens), dtype=int) if anchors is None else anchor - anchors[:, 0]
    ends = first + lengths(tokens)
    total: list[tuple[Tensor, Tensor]] = []
    for start, end in np.unique(np.stack([first, ends], axis=1), axis=0):
        rows = tokens[(first == start) & (ends == end), : end - start]
        for batch in np.array_split(rows, range(at_once, len(rows), at_once)):
            for number, states in enumerate(_states(model, batch)):
                exact = states.double()
                mean, square = exact.sum(dim=0), exact.square().sum(dim=0)
                if number == len(total):
                    shape = (int(ends.max()), *mean.shape[1:])
                    total.append((mean.new_zeros(shape), mean.new_zeros(shape)))
                total[number][0][start:end].add_(mean)
                total[number][1][start:end].add_(square)
    if anchors is None:
        n = len(tokens)
        return [Moments(mean / n, square / n, n) for mean, square in total]
    positions = np.arange(ends.max())[:, None]
    present = torch.from_numpy(((first <= positions) & (positions < ends)).sum(axis=1))
    count = present.to(total[0][0])
    divisor = count.clamp(min=1)[:, None, None]
    return [
        Moments(mean / divisor, square / divisor, len(tokens), count, anchor)
        for mean, square in total
    ]


def _states(model: Decoder, tokens: Tokens) -> Iterator[Tensor]:
    """Yield each block's states in a plain run, dims ``prompt, position, component, width``."""
    stream = model.embed(torch.from_numpy(tokens).to(model.unembed.weight.device)).unsqueeze(0)
    for stage in model.stages:
        normed = stage.norm(stream)
        for block in stage.blocks:
            states = block.states(normed)
            yield states[0]
            block.write(states, stream)


def read_clean(request: Request, final: Tensor) -> Array:
    """Return readouts of the clean runs of all prompts, dims ``readout, prompt``.

    Readouts that were not requested are NaN.
    """
    model, prompts, names = request.model, request.prompts, request.readouts
    answers = Answers.of(prompts, final.device)
    value = np.full((len(known_readouts()), len(prompts)), np.nan)
    for name, run_values in readout(model, final.unsqueeze(0), answers, names).items():
        value[known_readouts().index(name)] = to_array(run_values[0])
    return value
