"""One pass over the stages: the clean run and every ablated run in one batch.

Let x_t be the clean residual stream that stage t reads, and c_s(x) the contribution of component s.
Ablating s, of stage t, replaces c_s(x_t) by r_s and leaves everything upstream as it was, so its
run starts at

    x^s_{t+1} = x_{t+1} + (r_s − c_s(x_t)),        x^s_{u+1} = x^s_u + Σ_k c_k(x^s_u)   for u > t.

The total effect on a component k of stage u > t is the change from c_k(x_u) to c_k(x^s_u). One pass
over the stages carries the clean run and the runs of all sources of earlier stages in one batch;
each source joins it after its own stage. So nothing upstream of a source is computed again, and all
sources of all ablations share every matrix product. From the queries of the last attention on,
nobody reads the positions that are not scored: unless targets are observed everywhere, the ablated
runs go on without them.

Dims: ``run`` is the clean run, then donors, then the ablated runs: stage by stage, block by block,
ablation × source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cntbench.ablation import Ablation
from cntbench.attention_scores import prefix_matching, previous_token
from cntbench.models.blocks import Attention, Block, Queries
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts, Tokens, random_state
from cntbench.readouts import readout
from cntbench.replacements._base import Corpus, Spread, States
from cntbench.specs import READOUTS, Readout

Array = NDArray[np.float64]


class Sweep:
    """One pass over the stages: some prompts, some sources, all ablations."""

    def __init__(
        self,
        model: Decoder,
        prompts: Prompts,
        ablations: Sequence[Ablation],
        corpora: Sequence[Corpus],
        spreads: dict[Corpus, list[Spread]],
        constants: dict[int, list[Tensor]],
        sources: range,
        *,
        observe_all: bool,
        seed: int,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.ablations = ablations
        self.corpora = corpora
        self.spreads = spreads
        self.constants = constants
        self.sources = sources
        self.seed = seed
        self.device = model.unembed.weight.device
        self.everywhere = observe_all
        self.scored = torch.from_numpy(prompts.scored).to(self.device)
        first, count = int(self.scored[0, 0]), self.scored.shape[1]
        together = torch.arange(first, first + count, device=self.device)
        #: The scored positions as a slice, if they are the same ones in a row in all prompts.
        self.span = slice(first, first + count) if (self.scored == together).all() else None
        #: For each ablated run, in order, its ablation and source.
        self.runs: list[tuple[int, int]] = []
        shape = (*prompts.tokens.shape, model.hidden)
        n_runs = len(corpora) + len(ablations) * len(sources)
        self.streams = torch.empty((n_runs, *shape), dtype=model.dtype, device=self.device)
        for run, corpus in enumerate(corpora):
            tokens = torch.from_numpy(corpus_tokens(prompts, corpus)).to(self.device)
            self.streams[run] = model.embed(tokens)

    def run(self, change: Array, scores: Array) -> None:
        """Carry all runs through all stages.

        Fills ``change``, dims ``ablation, source, target, prompt``, and ``scores`` (prefix matching
        and previous token), dims ``score, component, prompt``.
        """
        place = number = 0
        base = len(self.corpora)
        last = max(
            (
                index
                for index, stage in enumerate(self.model.stages)
                if any(isinstance(block, Attention) for block in stage.blocks)
            ),
            default=0,
        )
        whole: Tensor | None = None
        for index, stage in enumerate(self.model.stages):
            live = base + len(self.runs)
            normed = stage.norm(self.streams[:live])
            queries = None
            if index == last and not self.everywhere:
                # No later position reads the others any more, but replacements and scores do.
                whole = self.streams[:base].clone()
                self.streams = self._at_scored(self.streams)
                queries = Queries(normed, self.scored[:1] if self.span else self.scored)
                normed = self._at_scored(normed)
            stream = self.streams[:live]
            normed_whole = normed if whole is None else stage.norm(whole)
            for block in stage.blocks:
                nodes = range(place, place + block.n_components)
                place = nodes.stop
                if isinstance(block, Attention):
                    self._attend(block, normed_whole[0], scores[:, nodes.start : nodes.stop])
                states = block.states(normed, queries)
                states_whole = states if whole is None else block.states(normed_whole)
                self._observe(block, states, live, change[:, :, nodes.start : nodes.stop])
                self._branch(block, states_whole, nodes, number, narrow=whole is not None)
                block.write(states, stream)
                if whole is not None:
                    block.write(states_whole, whole)
                number += 1
            self.streams[live : base + len(self.runs)] += self.streams[0]
        if self.everywhere:
            self.streams = self._at_scored(self.streams)

    @property
    def final(self) -> Tensor:
        """The clean run's final stream at the scored positions."""
        return self.streams[0]

    def _attend(self, block: Attention, normed: Tensor, scores: Array) -> None:
        pattern = block.pattern(normed)
        tokens = torch.from_numpy(self.prompts.tokens).to(self.device)
        scores[0] = prefix_matching(pattern, tokens).T.cpu()
        scores[1] = previous_token(pattern).T.cpu()

    def _observe(self, block: Block, states: Tensor, live: int, change: Array) -> None:
        """Measure how far the targets' outputs moved, in the runs ablated upstream."""
        runs = self.runs[: live - len(self.corpora)]
        if not runs:
            return
        if not self.everywhere and states.shape[2] > self.scored.shape[1]:
            states = self._at_scored(states)
        image = block.image(states)
        ablated = image[len(self.corpora) :]
        for measure in {ablation.measure for ablation in self.ablations}:
            mine = [i for i, (a, _) in enumerate(runs) if self.ablations[a].measure is measure]
            chosen = ablated if len(mine) == len(runs) else ablated[mine]
            moved = measure(image[0], chosen).transpose(1, 2).double().cpu().numpy()
            which = np.array([runs[i] for i in mine])
            change[which[:, 0], which[:, 1]] = moved

    def _branch(
        self, block: Block, states: Tensor, nodes: range, number: int, *, narrow: bool
    ) -> None:
        """Start a run for each source of the block: what its ablation changes in the stream."""
        chosen = range(max(nodes.start, self.sources.start), min(nodes.stop, self.sources.stop))
        if not chosen:
            return
        local = slice(chosen.start - nodes.start, chosen.stop - nodes.start)
        for index, ablation in enumerate(self.ablations):
            rule = ablation.replacement
            donor, population = rule.donor_corpus, rule.population_corpus
            fitted = self.constants.get(rule.fitting_steps)
            replaced = rule.replace(
                States(
                    clean=states[0],
                    donor=None if donor is None else states[self.corpora.index(donor)],
                    spread=None if population is None else self.spreads[population][number],
                    noise=partial(self._noise, ablation.name, number, states[0]),
                    constant=None if fitted is None else fitted[number],
                )
            )
            changes = replaced - states[0]
            if narrow:
                changes = self._at_scored(changes[None])[0]
            start = len(self.corpora) + len(self.runs)
            self.streams[start : start + len(chosen)] = block.contributions(changes)[local]
            self.runs += [(index, source) for source in chosen]

    def _noise(self, name: str, number: int, like: Tensor) -> Tensor:
        draws = [
            random_state(self.seed, name, number, int(i)).standard_normal(like.shape[1:])
            for i in self.prompts.index
        ]
        return torch.from_numpy(np.stack(draws)).to(like)

    def read(self, effects: Sequence[Readout], effect: Array) -> None:
        """Compute the change of readouts, dims ``ablation, readout, source, prompt``."""
        if not (self.runs and effects):
            return
        which = np.array(self.runs)
        chosen = torch.arange(len(self.streams)) == 0
        chosen[len(self.corpora) :] = True
        final = self.streams if len(self.corpora) == 1 else self.streams[chosen]
        targets = torch.from_numpy(self.prompts.targets).to(self.device)
        decoys = torch.from_numpy(self.prompts.decoys).to(self.device)
        for name, found in readout(self.model, final, targets, decoys, effects).items():
            moved = (found[1:] - found[0]).cpu().numpy()
            effect[which[:, 0], READOUTS.index(name), which[:, 1]] = moved

    def _at_scored(self, runs: Tensor) -> Tensor:
        """Choose the scored positions of ``run, prompt, position, …``."""
        if self.span:
            return runs[:, :, self.span].contiguous()
        prompt = torch.arange(len(self.prompts), device=self.device)[:, None]
        return runs[:, prompt, self.scored]


def spread(model: Decoder, tokens: Tokens, at_once: int) -> list[Spread]:
    """Take statistics of every block's states over all prompts of a corpus."""
    total: list[tuple[Tensor, Tensor]] = []
    for rows in np.array_split(tokens, range(at_once, len(tokens), at_once)):
        for number, states in enumerate(_states(model, rows)):
            exact = states.double()
            mean, square = exact.sum(dim=0), exact.square().sum(dim=0)
            if number == len(total):
                total.append((torch.zeros_like(mean), torch.zeros_like(square)))
            total[number][0].add_(mean)
            total[number][1].add_(square)
    return [Spread(mean / len(tokens), square / len(tokens)) for mean, square in total]


def _states(model: Decoder, tokens: Tokens) -> Iterator[Tensor]:
    """Yield each block's states in a plain run, dims ``prompt, position, component, width``."""
    stream = model.embed(torch.from_numpy(tokens).to(model.unembed.weight.device)).unsqueeze(0)
    for stage in model.stages:
        normed = stage.norm(stream)
        for block in stage.blocks:
            states = block.states(normed)
            yield states[0]
            block.write(states, stream)


def read_clean(model: Decoder, prompts: Prompts, final: Tensor) -> Array:
    """Return the readouts of the clean runs of all prompts, dims ``readout, prompt``."""
    targets = torch.from_numpy(prompts.targets).to(final.device)
    decoys = torch.from_numpy(prompts.decoys).to(final.device)
    found = readout(model, final.unsqueeze(0), targets, decoys, READOUTS)
    return np.stack([found[name][0].cpu().numpy() for name in READOUTS])


def corpora(ablations: Sequence[Ablation]) -> list[Corpus]:
    """List the prompts that run beside the ablated runs: the clean ones first, then donors."""
    donors = [ablation.replacement.donor_corpus for ablation in ablations]
    return ["clean", *dict.fromkeys(donor for donor in donors if donor is not None)]


def corpus_tokens(prompts: Prompts, corpus: Corpus) -> Tokens:
    if corpus == "clean":
        return prompts.tokens
    chosen = prompts.other if corpus == "other" else prompts.reference
    assert chosen is not None
    return chosen
