"""A claim: its spec and its tests."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cntbench import plugins
from cntbench.dynamics.statistics._base import Statistic
from cntbench.errors import unknown
from cntbench.specs import Summary, Version, build, read_toml, spec


@spec
class ClaimSpec:
    """A claim, its source, and the tests that must all succeed.

    Parameters
    ----------
    version
        Rises whenever the spec tests something different.
    summary
        One line for listings and tables.
    text
        The claim in the words of its source, with quotation marks, or in other words, without.
    source
        The publication that makes the claim.
    about
        ``"dynamics"``: how graphs change over training. ``"graphs"``: properties of single graphs.
    level
        Largest corrected p-value at which the claim is supported.
    test
        Tables of `ClaimTestSpec`.
    """

    version: Version
    summary: Summary
    text: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    about: Literal["dynamics", "graphs"]
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    test: Annotated[tuple[dict[str, Any], ...], Field(strict=False, min_length=1)]


@spec
class ClaimTestSpec:
    """One test: a statistic against a null model.

    Parameters
    ----------
    statistic
        Name of a file in ``cntbench/dynamics/statistics``.
    null
        Name of a file in ``cntbench/dynamics/nulls``, or of a null model of the statistic's own.
    minimum
        Smallest effect that counts: the statistic minus its mean under the null model, in the
        statistic's units.
    rules_out
        The explanation of the film that the test rules out.
    parameters
        Parameters of the statistic.
    """

    statistic: str
    null: str
    minimum: Annotated[float, Field(ge=0, strict=False)]
    rules_out: Summary
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class ClaimTest:
    """A test with its statistic."""

    spec: ClaimTestSpec
    statistic: Statistic

    @property
    def own_null(self) -> bool:
        """Whether the null model is one of the statistic's own."""
        return self.spec.null in self.statistic.own_nulls


@dataclass(frozen=True)
class VerdictRule:
    """The parts of a claim that its verdict depends on, apart from the results of the tests."""

    level: float
    minimum: tuple[float, ...]
    rules_out: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A claim spec with its tests."""

    name: str
    path: Path
    spec: ClaimSpec
    tests: tuple[ClaimTest, ...]

    @property
    def needs(self) -> int:
        """Smallest number of checkpoints for which all tests make sense."""
        return max(test.statistic.needs for test in self.tests)

    @property
    def rule(self) -> VerdictRule:
        """The rule by which the claim is judged."""
        specs = [test.spec for test in self.tests]
        return VerdictRule(
            self.spec.level,
            tuple(spec.minimum for spec in specs),
            tuple(spec.rules_out for spec in specs),
        )

    @classmethod
    def read(cls, path: Path) -> Claim:
        """Read a claim's file, or raise a `SpecError`."""
        where = str(path)
        spec = build(ClaimSpec, read_toml(path), where=where)
        tests = (_test(table, where, number) for number, table in enumerate(spec.test, 1))
        return cls(path.stem, path, spec, tuple(tests))


def _test(table: dict[str, Any], where: str, number: int) -> ClaimTest:
    prefix = f"test {number}: "
    spec = build(ClaimTestSpec, table, where=where, prefix=prefix)
    module = plugins.find("statistic", spec.statistic, where=where)
    statistic = build(
        module.Parameters, spec.parameters, where=where, prefix=f"{prefix}parameters."
    )
    nulls = {**plugins.room("null model"), **statistic.own_nulls}
    if spec.null not in nulls:
        raise unknown("null model", spec.null, nulls, where=f"{where}: {prefix}null")
    return ClaimTest(spec, statistic)
