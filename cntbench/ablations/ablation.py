"""An ablation method, put together from its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cntbench.ablations.replacements._base import Corpus, Replacement
from cntbench.errors import SpecError
from cntbench.specs import (
    HEAD_INPUTS,
    AblationSpec,
    Estimator,
    HeadInput,
    Observable,
    Readout,
    Scope,
)

if TYPE_CHECKING:
    from torch import Tensor


class Donor(NamedTuple):
    """Prompts that run beside the ablated ones: a corpus, and which draw from it."""

    corpus: Corpus
    draw: int = 0


@dataclass(frozen=True)
class Ablation:
    """An ablation method, ready to be applied.

    `cntbench.specs.AblationSpec` says what its parts mean.

    Parameters
    ----------
    name
        Names the stream of random numbers, too.
    draw
        Which of the independent draws this is.
    """

    name: str
    replacement: Replacement
    measure: Callable[[Tensor, Tensor], Tensor] | None = None
    scope: Scope = "total"
    observable: Observable = "target"
    through: tuple[HeadInput, ...] = HEAD_INPUTS
    estimator: Estimator = "exact"
    steps: int | None = None
    draws: int = 1
    draw: int = 0

    @property
    def corpora(self) -> set[Corpus]:
        """The prompts that the method draws on."""
        rule = self.replacement
        found = {c for c in (rule.donor_corpus, rule.population_corpus) if c is not None}
        return found | {"reference"} if self.estimator == "eap_ig" else found

    @property
    def donor(self) -> Donor | None:
        """The prompts whose own states the replacement takes."""
        corpus = self.replacement.donor_corpus
        return None if corpus is None else Donor(corpus, self.draw if corpus == "other" else 0)

    def unreadable(self, effects: Sequence[Readout]) -> str | None:
        """Say why the method cannot observe the first of the readouts asked for, if so."""
        if self.observable == "target":
            return None
        if not effects:
            return "observes the effect on a readout, and none is asked for"
        if effects[0] == "accuracy" and self.estimator != "exact":
            return "estimates the effect on a readout by its gradient, and accuracy has none"
        return None

    @property
    def each_draw(self) -> list[Ablation]:
        """One method for each of the draws; the first is what a single draw would be."""
        return [
            dataclasses.replace(
                self, name=f"{self.name}#{draw}" if draw else self.name, draws=1, draw=draw
            )
            for draw in range(self.draws)
        ]


def donors(ablations: Sequence[Ablation]) -> list[Donor]:
    """List the prompts that run beside the ablated runs: the clean ones first."""
    found = [ablation.donor for ablation in ablations]
    return [Donor("clean"), *dict.fromkeys(donor for donor in found if donor is not None)]


def rules(ablations: Sequence[Ablation]) -> tuple[list[Ablation], list[int]]:
    """Group ablations that replace by the same states.

    Returns
    -------
    list of Ablation
        One for each group.
    list of int
        For each ablation its group.
    """
    keys = [
        (a.replacement, a.donor, a.name if a.replacement.random and a.donor is None else None)
        for a in ablations
    ]
    groups = list(dict.fromkeys(keys))
    return [ablations[keys.index(key)] for key in groups], [groups.index(key) for key in keys]


def check(spec: AblationSpec, replacement: Replacement, *, where: str) -> None:
    """Raise an error if parts of an ablation do not go together.

    Raises
    ------
    SpecError
        Naming the file, ``where``, the key, and what it goes together with.
    """

    def refuse(key: str, what: str, hint: str) -> SpecError:
        return SpecError(what, where=f"{where}: {key}", hint=hint)

    if spec.observable == "target":
        if spec.measure is None:
            raise SpecError(
                "key 'measure' is missing",
                where=where,
                hint='A measure says how the change of a target, observable = "target", becomes a '
                "number.",
            )
        if spec.estimator != "exact":
            raise refuse(
                "estimator",
                f'"{spec.estimator}" estimates effects on the readout, not on targets',
                'Set observable = "readout", or leave estimator out.',
            )
    else:
        if spec.scope != "direct":
            raise refuse(
                "observable",
                "effects on the readout are measured edge by edge",
                'Set scope = "direct"; the effect of a whole component is readout_effect, which '
                "every ablation gives.",
            )
        if spec.measure is not None:
            raise refuse(
                "measure",
                "the change of a readout is a number already",
                'Leave measure out, or set observable = "target".',
            )
    if spec.estimator == "eap_ig" and spec.steps is None:
        raise SpecError(
            "key 'steps' is missing",
            where=where,
            hint='estimator = "eap_ig" takes gradients at that many points, for instance 5.',
        )
    if spec.estimator != "eap_ig" and spec.steps is not None:
        raise refuse(
            "steps",
            f'estimator = "{spec.estimator}" takes no steps',
            'Leave steps out, or set estimator = "eap_ig".',
        )
    if set(spec.through) != set(HEAD_INPUTS):
        if spec.scope != "direct":
            raise refuse(
                "through",
                "a total effect passes through queries, keys and values",
                'Leave through out, or set scope = "direct".',
            )
        if spec.estimator != "exact":
            raise refuse(
                "through",
                f'"{spec.estimator}" takes queries, keys and values together',
                'Leave through out, or set estimator = "exact".',
            )
    if spec.draws > 1 and not replacement.random:
        raise refuse(
            "draws",
            f"the replacement {spec.replacement!r} with these parameters is the same in every draw",
            "Leave draws out, or use a random replacement: noise, or resample with "
            'donor = "other".',
        )
