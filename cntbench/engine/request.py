"""A request to the engine, and the parts into which it is split."""

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
Choice = TypeVar("Choice")


def among(chosen: Sequence[int], nodes: range) -> Sequence[int]:
    """Return those of the ascending component indices that belong to a block or stage."""
    return chosen[bisect_left(chosen, nodes.start) : bisect_left(chosen, nodes.stop)]


def within(chosen: Sequence[int], nodes: range) -> slice | list[int]:
    """Return the index of chosen components within their block: a slice if they are contiguous."""
    if len(chosen) == chosen[-1] + 1 - chosen[0]:
        return slice(chosen[0] - nodes.start, chosen[-1] + 1 - nodes.start)
    return [index - nodes.start for index in chosen]


@dataclass(frozen=True)
class Request:
    """One measurement by the engine: a model on prompts, under ablations.

    Parameters
    ----------
    model
        The decoder to measure.
    prompts
        Clean prompts and the prompts that replacements draw from.
    ablations
        Ablations to apply. Those of total scope share the clean run and every matrix product; those
        of direct scope share the clean run and the replaced states.
    sources
        Components to ablate, as ascending indices in causal order; by default all. Effects of the
        other components are NaN.
    targets
        Components whose change is measured, likewise.
    observe_all
        Measure the change of targets at all positions, not only at the scored ones.
    effects
        Readouts whose change is computed for every source; the first one also for every edge, if an
        ablation observes the readout.
    readouts
        Readouts of the clean model to compute; most of them need all logits.
    seed
        Seed of the replacements' random draws.
    memory_budget
        Memory to use beyond the model's own [bytes]; it does not change the numbers.
    keep
        Keep results of single ``"prompts"``, of single ``"positions"``, or both.
    sums
        Sums of the changes at single positions.
    until_se
        Measure no further prompts once the standard errors of the strongest edges are below it; 0
        measures all. See `cntbench.engine.settling`.
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
    until_se: float = 0.0

    @property
    def ablated(self) -> Sequence[int]:
        """The components to ablate."""
        return range(len(self.model.components)) if self.sources is None else self.sources

    def watched(self, nodes: range) -> Sequence[int]:
        """Return the targets among the components of a block or stage."""
        return nodes if self.targets is None else among(self.targets, nodes)

    @property
    def drawn(self) -> list[Ablation]:
        """The ablations, one for each draw."""
        return [drawn for ablation in self.ablations for drawn in ablation.each_draw]

    def of_scope(self, scope: Scope) -> list[Ablation]:
        """Return the drawn ablations of one scope; estimated total effects are among the direct.

        Both start from the clean run and the changes that replacements make.
        """
        return [ablation for ablation in self.drawn if ablation.is_swept == (scope == "total")]

    @property
    def populations(self) -> set[Corpus]:
        """Corpora whose statistics replacements need."""
        corpora = (ablation.replacement.population_corpus for ablation in self.ablations)
        return {corpus for corpus in corpora if corpus is not None}

    @property
    def fits(self) -> set[int]:
        """Numbers of steps for which constants are fitted."""
        return {ablation.replacement.fitting_steps for ablation in self.ablations} - {0}

    @property
    def other_draws(self) -> int:
        """Largest number of other prompts that are drawn for each prompt."""
        draws = (a.draws for a in self.ablations if a.replacement.donor_corpus == "other")
        return max(draws, default=1)

    def checked(self) -> Request:
        """Return the request with all prompts that its draws need.

        Raises
        ------
        CntbenchError
            If the prompts are longer than the model's context or have tokens outside its
            vocabulary; if an ablation needs reference prompts that are missing or differ in length,
            needs more prompts than there are, or observes a readout that is not requested or
            has no gradient.
        """
        length, largest = self.prompts.tokens.shape[1], int(self.prompts.tokens.max())
        if length > self.model.context:
            raise CntbenchError(
                f"prompts of {length} tokens are longer than the model's context of "
                f"{self.model.context}",
                hint="Shorten the prompts, or change the task's parameters that set their length.",
            )
        if largest >= self.model.vocabulary:
            raise CntbenchError(
                f"token {largest} is outside the vocabulary of {self.model.vocabulary}",
                hint="Are the prompts those of another tokenizer, or of a larger model?",
            )
        for ablation in self.ablations:
            if self.prompts.reference is None and "reference" in ablation.corpora:
                raise CntbenchError(
                    f"ablation {ablation.name!r} needs reference prompts, but the task has none",
                    hint="Give each prompt its twin, or name another ablation, such as mean.",
                )
            problem = ablation.unreadable(self.effects)
            if problem:
                raise CntbenchError(f"ablation {ablation.name!r} {problem}")
        self._check_number()
        check_twins(self.ablations, self.prompts)
        if self.other_draws == 1:
            return self
        return replace(self, prompts=self.prompts.with_draws(self.other_draws))

    def _check_number(self) -> None:
        """Raise a `CntbenchError` if an ablation needs more prompts than there are."""
        count = len(self.prompts.distinct)
        for ablation in self.ablations:
            if count < ablation.fewest_prompts:
                raise CntbenchError(
                    f"ablation {ablation.name!r} needs at least {ablation.fewest_prompts} prompts, "
                    f"and there {'is 1' if count == 1 else f'are {count}'}",
                    hint="It replaces outputs by those on other prompts.",
                )

    def groups(self) -> Iterator[tuple[Tokens | slice, Request]]:
        """Yield the rows of the prompts of each length, and the request for them."""
        corpora = {donor.corpus for donor in donors(self.ablations)}
        for rows in self.prompts.groups():
            yield rows, replace(self, prompts=self.prompts.take(rows).cut(corpora))

    def part(self, prompts: slice, sources: Sequence[int]) -> Request:
        """Return the request for a slice of the prompts and for the given sources."""
        return replace(self, prompts=self.prompts.take(prompts), sources=sources)

    def of_all_prompts(self, choose: Callable[[Request], Choice]) -> Choice:
        """Return ``choose(self)``.

        `cntbench.engine.meter` runs some of the prompts, but lets all of them decide.
        """
        return choose(self)

    def each(self, pieces: Iterable[Piece], cost: Callable[[Piece], object]) -> Iterator[Piece]:
        """Yield the pieces of the work in turn.

        Pieces of equal ``cost`` take the same operations; `cntbench.engine.meter` runs one of them.
        """
        yield from pieces

    def once(self, key: object, compute: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Return ``compute(*arguments)``.

        Calls with equal ``key`` and tensors of equal shapes take the same operations;
        `cntbench.engine.meter` runs one of them.
        """
        return compute(*arguments)
