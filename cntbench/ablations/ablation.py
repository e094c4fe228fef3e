"""An ablation method, assembled from its parts, and which parts fit together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from cntbench.ablations.replacements._base import Corpus, Replacement
from cntbench.errors import CntbenchError, SpecError
from cntbench.plugins import find, room
from cntbench.prompts import Prompts, lengths
from cntbench.specs import HEAD_INPUTS, AblationSpec, HeadInput, Observable, Scope

if TYPE_CHECKING:
    from torch import Tensor


class Donor(NamedTuple):
    """Prompts that run alongside the ablated ones: a corpus, and the draw from it."""

    corpus: Corpus
    draw: int = 0


@dataclass(frozen=True)
class Ablation:
    """An ablation method, ready to be applied.

    `cntbench.specs.AblationSpec` explains the other parts.

    Parameters
    ----------
    name
        Its name, which also seeds its random numbers.
    draw
        Index of the independent draw.
    """

    name: str
    replacement: Replacement
    measure: Callable[[Tensor, Tensor], Tensor] | None = None
    scope: Scope = "total"
    observable: Observable = "target"
    through: tuple[HeadInput, ...] = HEAD_INPUTS
    estimator: str = "exact"
    steps: int | None = None
    draws: int = 1
    draw: int = 0

    @property
    def corpora(self) -> set[Corpus]:
        """The prompts that the method uses."""
        rule = self.replacement
        corpora = {c for c in (rule.donor_corpus, rule.population_corpus) if c is not None}
        return corpora | {"reference"} if self.uses("reference") else corpora

    @property
    def fewest_prompts(self) -> int:
        """Number of prompts that the method needs."""
        others = self.draws if self.replacement.donor_corpus == "other" else 0
        return max(self.replacement.fewest_prompts, 1 + others)

    @property
    def compares_twins(self) -> bool:
        """Whether positions of a prompt and of its twin have to correspond."""
        aligned = self.replacement.aligned and "reference" in self.corpora
        return aligned or self.uses("reference")

    @property
    def is_swept(self) -> bool:
        """Whether it is measured in the one pass that carries all ablated runs."""
        return self.scope == "total" and self.estimator == "exact"

    def uses(self, what: str) -> bool:
        """Return whether the estimator uses something; see `cntbench.estimators`."""
        return what in find("estimator", self.estimator).USES

    @property
    def donor(self) -> Donor | None:
        """The prompts whose states replace the clean ones."""
        corpus = self.replacement.donor_corpus
        return None if corpus is None else Donor(corpus, self.draw if corpus == "other" else 0)

    def unreadable(self, effects: Sequence[str]) -> str | None:
        """Return why the method cannot observe the first of the requested readouts, or None."""
        if self.observable == "target":
            return None
        if not effects:
            return "observes the effect on a readout, but none is requested"
        file = find("readout", effects[0])
        if not self.uses("gradient"):
            return None
        if not hasattr(file, "gradient"):
            smooth = [name for name, p in room("readout").items() if hasattr(p.module, "gradient")]
            return (
                f"estimates the effect on a readout by its gradient, but {effects[0]} has none "
                f"({', '.join(smooth)} have one)"
            )
        if (self.steps or 1) == 1 and "divergence" in file.READS:
            return (
                "estimates the effect on a readout by its gradient at the clean prompts, where "
                f"that of {effects[0]} is 0"
            )
        return None

    @property
    def each_draw(self) -> list[Ablation]:
        """One method per draw; the first equals that of a single draw."""
        return [
            dataclasses.replace(
                self, name=f"{self.name}#{draw}" if draw else self.name, draws=1, draw=draw
            )
            for draw in range(self.draws)
        ]


def check_twins(ablations: Iterable[Ablation], prompts: Prompts) -> None:
    """Raise a `CntbenchError` if a prompt and its twin differ in length and may not."""
    row = prompts.unequal_twin
    needing = [ablation.name for ablation in ablations if ablation.compares_twins]
    if row is None or not needing:
        return
    assert prompts.reference is not None
    clean, twin = (int(lengths(tokens[row])) for tokens in (prompts.tokens, prompts.reference))
    origin = f"prompt {prompts.index[row]}" if prompts.origin is None else prompts.origin[row]
    raise CntbenchError(
        f"is {twin} tokens long and clean is {clean}, but ablation {needing[0]!r} needs positions "
        "that correspond",
        where=f"{origin}: corrupted",
        hint="Make both equally long, or leave out ablations that compare them: "
        f"{', '.join(needing)}.",
    )


def donors(ablations: Sequence[Ablation]) -> list[Donor]:
    """List the prompts that run alongside the ablated runs, the clean ones first."""
    used = [ablation.donor for ablation in ablations]
    return [Donor("clean"), *dict.fromkeys(donor for donor in used if donor is not None)]


def distinct_replacements(ablations: Sequence[Ablation]) -> tuple[list[Ablation], list[int]]:
    """Group ablations with the same replaced states.

    Returns one ablation of each group, and the index of the group of each ablation.
    """
    keys = [
        (a.replacement, a.donor, a.name if a.replacement.random and a.donor is None else None)
        for a in ablations
    ]
    groups = list(dict.fromkeys(keys))
    return [ablations[keys.index(key)] for key in groups], [groups.index(key) for key in keys]


def check(spec: AblationSpec, replacement: Replacement, *, where: str) -> None:
    """Raise a `SpecError` if the parts of an ablation do not fit together, which says what fits."""
    estimator = find("estimator", spec.estimator, where=where)
    for key, problem, hint in (*_of_observable(spec, estimator), *_of_estimator(spec, estimator)):
        raise SpecError(problem, where=f"{where}: {key}" if key else where, hint=hint)
    if spec.draws > 1 and not replacement.random:
        raise SpecError(
            f"the replacement {spec.replacement!r} with these parameters is not random",
            where=f"{where}: draws",
            hint="Leave draws out, or use a random replacement: noise, or resample with "
            'donor = "other".',
        )


def _of_observable(spec: AblationSpec, estimator: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield each key that does not fit the observable (empty if missing), why, and a hint."""
    if spec.observable == "target":
        if spec.measure is None:
            yield (
                "",
                "key 'measure' is missing",
                'A measure turns the change of a target, observable = "target", into a number.',
            )
        if "target" not in estimator.OBSERVES:
            yield (
                "estimator",
                f'"{spec.estimator}" estimates effects on the readout, not on targets',
                'Set observable = "readout", or leave estimator out.',
            )
        return
    if "readout" not in estimator.OBSERVES:
        yield (
            "estimator",
            f'"{spec.estimator}" estimates effects on targets, not on the readout',
            'Set observable = "target", or leave estimator out.',
        )
    if spec.scope != "direct":
        yield (
            "observable",
            "effects on the readout are measured edge by edge",
            'Set scope = "direct"; every ablation also gives readout_effect, the effect of a '
            "whole component.",
        )
    if spec.measure is not None:
        yield (
            "measure",
            "the change of a readout is already a number",
            'Leave measure out, or set observable = "target".',
        )


def _of_estimator(spec: AblationSpec, estimator: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield likewise the keys that do not fit what the estimator uses."""
    if "contributions" in estimator.USES and spec.replacement != "zero":
        yield (
            "replacement",
            f'"{spec.estimator}" looks at what components write, not at what replaces it',
            'Set replacement = "zero", or another estimator.',
        )
    if "steps" in estimator.USES and spec.steps is None:
        yield (
            "",
            "key 'steps' is missing",
            f'estimator = "{spec.estimator}" needs the number of points for gradients, for '
            "instance 5.",
        )
    if "steps" not in estimator.USES and spec.steps is not None:
        using = [name for name, p in room("estimator").items() if "steps" in p.module.USES]
        yield (
            "steps",
            f'estimator = "{spec.estimator}" does not use steps',
            f"Leave steps out, or set estimator to one that does: {', '.join(using)}.",
        )
    if set(spec.through) == set(HEAD_INPUTS):
        return
    if spec.scope != "direct":
        yield (
            "through",
            "a total effect passes through queries, keys and values",
            'Leave through out, or set scope = "direct".',
        )
    if "through" not in estimator.USES:
        yield (
            "through",
            f'"{spec.estimator}" cannot separate queries, keys and values',
            'Leave through out, or set estimator = "exact".',
        )
