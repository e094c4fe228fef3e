"""What the engine is asked to measure, and which parts of it go together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from cntbench.ablations.ablation import Ablation, check_twins, donors
from cntbench.ablations.replacements._base import Corpus
from cntbench.engine.position_sums import PositionSums
from cntbench.errors import CntbenchError
from cntbench.models.decoder import Decoder
from cntbench.prompts import Prompts, Tokens
from cntbench.readouts import STANDARD
from cntbench.specs import Keep, Scope

Piece = TypeVar("Piece")


def among(chosen: Sequence[int], nodes: range) -> Sequence[int]:
    """Return which of some components, given by rising indices, belong to a block or stage."""
    return chosen[bisect_left(chosen, nodes.start) : bisect_left(chosen, nodes.stop)]


def within(chosen: Sequence[int], nodes: range) -> slice | list[int]:
    """Return how to take some components of a block from all of them: a slice where it can be."""
    if len(chosen) == chosen[-1] + 1 - chosen[0]:
        return slice(chosen[0] - nodes.start, chosen[-1] + 1 - nodes.start)
    return [index - nodes.start for index in chosen]


@dataclass(frozen=True)
class Request:
    """One measurement of the engine: a model on some prompts, under some ablations.

    Parameters
    ----------
    model
        The decoder to measure.
    prompts
        Clean prompts with what their replacements draw on.
    ablations
        Methods to apply. Those of total scope share the clean run and every matrix product, those
        of direct scope the clean run and the states that they replace by.
    sources
        Components to ablate, as rising indices in causal order; by default all. For the others,
        effects are NaN.
    targets
        Components whose change is measured, likewise.
    observe_all
        Measure the change of targets at all positions, not only at the scored ones.
    effects
        Readouts whose change is computed for every source, and the first of them for every edge if
        an ablation observes the readout.
    readouts
        Readouts of the clean model to compute; most take all its logits.
    seed
        Seed of the replacements' random draws.
    memory_budget
        Memory to use beyond the model's own [bytes]; does not change the numbers.
    keep
        Of ``"prompts"`` and ``"positions"``, what results are kept for each of.
    sums
        Where changes at single positions are added up.
    """

    model: Decoder
    prompts: Prompts
    ablations: Sequence[Ablation]
    sources: Sequence[int] | None = None
    targets: Sequence[int] | None = None
    observe_all: bool = False
    effects: Sequence[str] = ("logit_difference",)
    readouts: Sequence[str] = STANDARD
    seed: int = 0
    memory_budget: int = 2**30
    keep: Sequence[Keep] = ()
    sums: PositionSums | None = None

    @property
    def ablated(self) -> Sequence[int]:
        """The components that are ablated."""
        return range(len(self.model.components)) if self.sources is None else self.sources

    def watched(self, nodes: range) -> Sequence[int]:
        """Return which components of a block or stage are targets."""
        return nodes if self.targets is None else among(self.targets, nodes)

    @property
    def drawn(self) -> list[Ablation]:
        """The ablations, one for each draw."""
        return [drawn for ablation in self.ablations for drawn in ablation.each_draw]

    def of_scope(self, scope: Scope) -> list[Ablation]:
        """The drawn ablations of one scope."""
        return [ablation for ablation in self.drawn if ablation.scope == scope]

    @property
    def populations(self) -> set[Corpus]:
        """Corpora over which replacements take statistics."""
        corpora = (ablation.replacement.population_corpus for ablation in self.ablations)
        return {corpus for corpus in corpora if corpus is not None}

    @property
    def fits(self) -> set[int]:
        """Numbers of steps by which constants are fitted."""
        return {ablation.replacement.fitting_steps for ablation in self.ablations} - {0}

    @property
    def other_draws(self) -> int:
        """Other prompts that are drawn on for each prompt, at most."""
        from_others = (a.draws for a in self.ablations if a.replacement.donor_corpus == "other")
        return max(from_others, default=1)

    def checked(self) -> Request:
        """Return the request with all prompts that its draws need.

        Raises
        ------
        CntbenchError
            If the prompts are longer than the model's context or use tokens that it does not have,
            if an ablation needs reference prompts and there are none or they differ in length, or
            needs more other prompts than there are, or observes a readout that is not asked for or
            has no gradient.
        """
        length, largest = self.prompts.tokens.shape[1], int(self.prompts.tokens.max())
        if length > self.model.context:
            raise CntbenchError(
                f"prompts of {length} tokens are longer than the model's context of "
                f"{self.model.context}"
            )
        if largest >= self.model.vocabulary:
            raise CntbenchError(
                f"token {largest} is outside the vocabulary of {self.model.vocabulary}"
            )
        for ablation in self.ablations:
            if self.prompts.reference is None and "reference" in ablation.corpora:
                raise CntbenchError(
                    f"ablation {ablation.name!r} needs reference prompts, and the task has none"
                )
            problem = ablation.unreadable(self.effects)
            if problem:
                raise CntbenchError(f"ablation {ablation.name!r} {problem}")
        check_twins(self.ablations, self.prompts)
        if self.other_draws == 1:
            return self
        return replace(self, prompts=self.prompts.with_draws(self.other_draws))

    def groups(self) -> Iterator[tuple[Tokens | slice, Request]]:
        """Yield the rows of prompts of one length, and the request for them."""
        beside = {donor.corpus for donor in donors(self.ablations)}
        for rows in self.prompts.groups():
            yield rows, replace(self, prompts=self.prompts.take(rows).cut(beside))

    def part(self, prompts: slice, sources: Sequence[int]) -> Request:
        """Return the request for some of the prompts and sources."""
        return replace(self, prompts=self.prompts.take(prompts), sources=sources)

    def each(self, pieces: Iterable[Piece], cost: Callable[[Piece], object]) -> Iterator[Piece]:
        """Yield pieces of the work, one after the other.

        Those of equal ``cost`` take the same operations: `cntbench.engine.meter` does one of them.
        """
        yield from pieces

    def once(self, key: object, compute: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Return what a function computes of its arguments.

        With an equal ``key``, tensors of equal shapes take the same operations:
        `cntbench.engine.meter` computes one of them.
        """
        return compute(*arguments)
