"""The work of the engine in closed form, before it is done.

`predicted_work` says what `cntbench.engine.influence.influence` computes when it is called with the
same arguments: the tests hold the two to equality, layer-tokens and FLOPs. With n_t runs at stage t
(the clean one, the donors', and one for every ablation of every source of the stages before), P
prompts of L positions of which S are scored, total effects cost

    n_t P L  layer-tokens at stage t,    and    n_t P S + n_0 P L  from the last attention on

unless targets are observed everywhere; and 2 · hidden · vocabulary FLOPs for each run and scored
position if cross-entropy or accuracy is asked for. `cntbench.engine.edge_prediction` has
direct effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cntbench.engine import work
from cntbench.engine.ablation import Ablation, donors
from cntbench.engine.chunking import Chunking, chunking, working_bytes
from cntbench.engine.departures import rules, stage_nodes
from cntbench.engine.edge_prediction import edges_work
from cntbench.engine.optimal_constants import Losses
from cntbench.engine.positions import last_attention
from cntbench.engine.work import Work
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts
from cntbench.specs import READOUTS, Readout


@dataclass(frozen=True)
class Call:
    """A call of the engine that is not made; parameters as `cntbench.engine.influence` has them."""

    model: Decoder
    prompts: Prompts
    ablations: Sequence[Ablation]
    sources: range | None = None
    observe_all: bool = False
    effects: Sequence[Readout] = ("logit_difference",)
    readouts: Sequence[Readout] = READOUTS
    memory_budget: int = 2**30

    @property
    def ablated(self) -> range:
        """The components that are ablated."""
        return range(len(self.model.components)) if self.sources is None else self.sources

    @property
    def drawn(self) -> list[Ablation]:
        """The ablations, one for each draw."""
        return [one for ablation in self.ablations for one in ablation.each_draw]

    @property
    def populations(self) -> int:
        """Corpora over which replacements take statistics."""
        return len({a.replacement.population_corpus for a in self.drawn} - {None})

    def of_scope(self, scope: str) -> list[Ablation]:
        """The drawn ablations of one scope."""
        return [ablation for ablation in self.drawn if ablation.scope == scope]

    def chunks(self, base: int, ablations: int, *, tiled: bool) -> Chunking:
        """How the engine cuts the call into pieces."""
        return chunking(
            self.model,
            sources=len(self.ablated),
            n_prompts=len(self.prompts),
            length=self.prompts.tokens.shape[1],
            base=base,
            ablations=ablations,
            populations=self.populations,
            memory_budget=self.memory_budget,
            tiled=tiled,
        )


def predicted_work(call: Call) -> Work:
    """Return the work of a call.

    Returns
    -------
    Work
        Exact, but for replacements by fitted constants: they count as if the fit of no source ended
        before its last step, an upper bound. So are the FLOPs of attention's way back, in gradient
        estimates and fits, which count as two and a half times those of its way forth.
    """
    model, count, length = call.model, len(call.prompts), call.prompts.tokens.shape[1]
    scored = call.prompts.scored.shape[1]
    found = work.forward(model, call.populations * count, length)
    found += _fits(call)
    if set(call.readouts) - {"logit_difference"}:
        found += work.unembedding(model, count * scored)
    ablations = call.of_scope("total")
    base = len(donors(ablations))
    step = call.chunks(base, len(ablations), tiled=True).sources
    for sources in _cut(call.ablated, step):
        found += _sweep(call, base, len(ablations), sources)
    direct = call.of_scope("direct")
    if direct:
        distinct, _ = rules(direct)
        base = len(donors(direct))
        step = call.chunks(base, len(distinct), tiled=False).sources
        for sources in _cut(call.ablated, step):
            found += edges_work(
                model,
                direct,
                sources,
                rules=len(distinct),
                base=base,
                prompts=count,
                length=length,
                scored=scored,
                observe_all=call.observe_all,
                effects=call.effects,
            )
    return found


def predicted_bytes(call: Call) -> int:
    """Return the memory that a call takes beyond the model's own [bytes]: an upper bound.

    The fit of constants is not counted: it takes a copy of the model in double precision, and of
    the budget what it needs.
    """
    asked = []
    for scope, tiled in (("total", True), ("direct", False)):
        ablations = call.of_scope(scope)
        if ablations or scope == "total":
            base = len(donors(ablations))
            rows = len(ablations) if tiled else len(rules(ablations)[0])
            asked.append(
                working_bytes(
                    call.model,
                    call.chunks(base, rows, tiled=tiled),
                    length=call.prompts.tokens.shape[1],
                    base=base,
                    ablations=rows,
                    populations=call.populations,
                    tiled=tiled,
                )
            )
    return max(asked)


def outcome_bytes(call: Call) -> int:
    """Return the memory of what a call finds, prompt by prompt, until it is summed up [bytes].

    An upper bound, beside `predicted_bytes`. It grows with the square of the components: changes
    of targets and of the readout, both once more while direct effects are put beside total ones,
    and one of them while its error is computed.
    """
    components, count, methods = len(call.model.components), len(call.prompts), len(call.drawn)
    edges = methods * components * components
    others = (len(READOUTS) * methods + 2) * components
    return 8 * count * (edges + others) * (5 if call.of_scope("direct") else 3)


def _cut(sources: range, step: int) -> list[range]:
    return [sources[start : start + step] for start in range(0, len(sources), step)]


def _sweep(call: Call, base: int, ablations: int, sources: range) -> Work:
    """Return the work of sweeps that ablate some sources: `cntbench.engine.sweep`, line by line."""
    model, count, length = call.model, len(call.prompts), call.prompts.tokens.shape[1]
    scored = call.prompts.scored.shape[1]
    last = None if call.observe_all else last_attention(model)
    observed = length if call.observe_all else scored
    found, runs = Work(), base
    for index, (stage, nodes) in enumerate(zip(model.stages, stage_nodes(model), strict=True)):
        narrowing = index == last
        narrowed = last is not None and 0 <= last <= index
        positions = scored if narrowed else length
        live, place = runs, nodes.start
        for block in stage.blocks:
            found += work.passed(block, live * count, positions, length if narrowing else None)
            found += work.image(block, live * count * observed)
            if isinstance(block, Attention):
                found += work.pattern(block, count, length)
            if narrowed:
                found += work.passed(block, base * count, length)
            first, place = place, place + block.n_components
            joining = len(range(max(first, sources.start), min(place, sources.stop)))
            if joining:
                found += work.contributions(block, count * positions) * ablations
                runs += joining * ablations
    if ablations and set(call.effects) - {"logit_difference"}:
        found += work.unembedding(model, (1 + ablations * len(sources)) * count * scored)
    return found


def _fits(call: Call) -> Work:
    """Return the work of fitting constants: `cntbench.engine.optimal_constants`, at most."""
    model, count, length = call.model, len(call.prompts), call.prompts.tokens.shape[1]
    scored = call.prompts.scored.shape[1]
    found = Work()
    for steps in {ablation.replacement.fitting_steps for ablation in call.drawn} - {0}:
        found += work.forward(model, count, length)
        for group in Losses(model, call.prompts, call.memory_budget).groups:
            once = _loss(model, count, length, scored, group)
            # Zero and the mean; the start and the steps, each forth and back.
            back = Work(products=once.products, attention=once.attention * 5 // 2)
            found += once * 2 + (once + back) * (1 + steps)
    return found


def _loss(model: Decoder, count: int, length: int, scored: int, sources: range) -> Work:
    last = max(last_attention(model), 0)
    found, runs = Work(), 1
    for index, (stage, nodes) in enumerate(zip(model.stages, stage_nodes(model), strict=True)):
        positions = scored if index >= last else length
        for block in stage.blocks:
            narrowing = index == last
            found += work.passed(block, runs * count, positions, length if narrowing else None)
            found += work.contributions(block, count * positions)
        runs += len(range(max(nodes.start, sources.start), min(nodes.stop, sources.stop)))
    return found + work.unembedding(model, len(sources) * count * scored)
