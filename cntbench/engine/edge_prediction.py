"""The work of direct effects, patched edges and gradient estimates in closed form.

A direct effect costs each source one layer of every later stage; a patched edge of a target in
stage t one run through the stages behind t besides; an estimate one pass forth and one back, in
which every component has a run of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cntbench.engine import work
from cntbench.engine.ablation import Ablation
from cntbench.engine.departures import stage_nodes
from cntbench.engine.positions import last_attention
from cntbench.engine.work import Work
from cntbench.models.blocks import Attention, Block
from cntbench.models.decoder import Decoder
from cntbench.specs import READERS, Reader, Readout


@dataclass(frozen=True)
class _Sizes:
    """What the work depends on besides the method."""

    model: Decoder
    sources: range
    rules: int
    prompts: int
    length: int
    scored: int

    def reaching(self, nodes: range) -> int:
        """Number of the sources that reach a stage, given its components."""
        return len(range(self.sources.start, min(self.sources.stop, nodes.start)))

    def states_at(self, block: Block, runs: int, narrow: bool, through: Sequence[Reader]) -> Work:
        """Work of `cntbench.engine.positions.states_at`, at the scored positions or at all."""
        rows, asked = runs * self.prompts, self.scored if narrow else self.length
        whole = set(through) == set(READERS)
        if not isinstance(block, Attention) or (whole and not narrow):
            return work.states(block, rows, asked)
        return work.states(block, rows, asked, self.length, apart=not whole)

    def read(self, runs: int, names: set[Readout]) -> Work:
        """Work of reading the ends of runs."""
        if not names - {"logit_difference"}:
            return Work()
        return work.unembedding(self.model, runs * self.prompts * self.scored)


def edges_work(
    model: Decoder,
    ablations: Sequence[Ablation],
    sources: range,
    *,
    rules: int,
    base: int,
    prompts: int,
    length: int,
    scored: int,
    observe_all: bool,
    effects: Sequence[Readout],
) -> Work:
    """Return the work of measuring the edges that leave some sources.

    Parameters
    ----------
    model, ablations, sources
        What is measured: ablations of direct scope, one for each draw.
    rules, base
        Number of distinct replacements, and of runs without ablation (clean, donors).
    prompts, length, scored
        Number of prompts, their tokens, and how many of these are scored.
    observe_all, effects
        As in `cntbench.engine.influence.influence`.

    Returns
    -------
    Work
        Exact, but for the FLOPs of attention's way back in gradient estimates, which count as two
        and a half times those of its way forth.
    """
    sizes = _Sizes(model, sources, rules, prompts, length, scored)
    found = work.forward(model, base * prompts, length)
    place = 0
    for block in work.blocks(model):
        first, place = place, place + block.n_components
        if range(max(first, sources.start), min(place, sources.stop)):
            found += work.contributions(block, prompts * length) * rules
    for ablation in ablations:
        found += sizes.read(1 + len(sources), set(effects))
        if ablation.observable == "target":
            found += _on_targets(sizes, ablation, observe_all)
        elif ablation.estimator == "exact":
            found += _patched(sizes, ablation, effects[0])
        else:
            found += _estimated(sizes, effects[0]) * (ablation.steps or 1)
    return found


def _on_targets(sizes: _Sizes, ablation: Ablation, observe_all: bool) -> Work:
    found = Work()
    observed = sizes.length if observe_all else sizes.scored
    for stage, nodes in zip(sizes.model.stages, stage_nodes(sizes.model), strict=True):
        reaching = sizes.reaching(nodes)
        if reaching:
            for block in stage.blocks:
                found += sizes.states_at(block, 1 + reaching, not observe_all, ablation.through)
                found += work.image(block, (1 + reaching) * sizes.prompts * observed)
    return found


def _patched(sizes: _Sizes, ablation: Ablation, name: Readout) -> Work:
    found, last = Work(), last_attention(sizes.model)
    at_once = sizes.rules * len(sizes.sources)
    stages = zip(sizes.model.stages, stage_nodes(sizes.model), strict=True)
    for index, (stage, nodes) in enumerate(stages):
        narrow, reaching = index >= last, sizes.reaching(nodes)
        positions = sizes.scored if narrow else sizes.length
        for block in stage.blocks:
            height = max(1, at_once // block.n_components)
            for first in range(0, reaching, height):
                chosen = min(height, reaching - first)
                found += sizes.states_at(block, 1 + chosen, narrow, ablation.through)
                found += work.contributions(block, chosen * sizes.prompts * positions)
                edges = chosen * block.n_components
                runs = edges + -(-edges // at_once)  # beside a clean one in each piece
                found += _finished(sizes, index + 1, runs) + sizes.read(runs, {name})
    return found


def _finished(sizes: _Sizes, first: int, runs: int) -> Work:
    """Work of carrying runs through the stages from one on."""
    found, last = Work(), last_attention(sizes.model)
    for index in range(first, len(sizes.model.stages)):
        positions = sizes.scored if index >= last else sizes.length
        length = sizes.length if index == last else None
        for block in sizes.model.stages[index].blocks:
            found += work.passed(block, runs * sizes.prompts, positions, length)
    return found


def _estimated(sizes: _Sizes, name: Readout) -> Work:
    model, prompts, length = sizes.model, sizes.prompts, sizes.length
    found = work.forward(model, prompts, length) + sizes.read(1, {name}) * 2
    for stage, nodes in zip(model.stages, stage_nodes(model), strict=True):
        for block in stage.blocks:
            forth = work.states(block, block.n_components * prompts, length)
            forth += work.contributions(block, prompts * length)
            back = Work(products=forth.products, attention=forth.attention * 5 // 2)
            found += forth + back
        pairs = sizes.reaching(nodes) * len(nodes)
        found += Work(products=2 * pairs * prompts * length * model.hidden)
    return found
