"""All shipped specs, one table a kind."""

from __future__ import annotations

from functools import cache

from cntbench.dynamics.claim import ClaimTest
from cntbench.runs.catalogue import Catalogue, load_catalogue
from generate.markdown import code, keywords, table


@cache
def shipped() -> Catalogue:
    """Return the specs that come with the program."""
    return load_catalogue()


def tasks() -> str:
    """Return a table of tasks, controls last."""
    rows = [
        [
            code(one.name) + (" (control)" if one.control else ""),
            one.spec.summary,
            f"{code(one.spec.generator)}: {keywords(one.spec.parameters)}",
            f"Learnt: {one.spec.learnt} Not: {one.spec.not_learnt}",
        ]
        for one in sorted(shipped().tasks.values(), key=lambda one: (one.control, one.name))
    ]
    head = ["task", "what it is", "generator and parameters", "if induction is learnt, and if not"]
    return table(head, rows)


def ablations() -> str:
    """Return a table of ablations."""
    rows = [
        [
            code(one.name),
            one.spec.summary,
            " ".join([code(one.spec.replacement), keywords(one.spec.parameters)]),
            one.spec.effect,
            "" if one.spec.measure is None else code(one.spec.measure),
        ]
        for one in shipped().ablations.values()
    ]
    return table(["ablation", "what it is", "replacement", "effect", "measure"], rows)


def studies() -> str:
    """Return a table of studies."""
    rows = [
        [
            code(one.name),
            one.spec.summary,
            code(one.spec.trajectory),
            code(*one.spec.tasks),
            code(*one.spec.ablations),
            str(one.spec.prompts),
        ]
        for one in shipped().studies.values()
    ]
    return table(["study", "what it is", "trajectory", "tasks", "ablations", "prompts"], rows)


def backbones() -> str:
    """Return a table of backbones."""
    rows = [
        [code(name), one.spec.summary, code(one.spec.rule), keywords(one.spec.parameters)]
        for name, one in shipped().backbones.items()
    ]
    return table(["backbone", "what it is", "rule", "parameters"], rows)


def circuits() -> str:
    """Return a table of planted circuits."""
    rows = [
        [
            code(name),
            one.spec.summary,
            f"{one.spec.layers} × {one.spec.heads}",
            str(int(one.truth().direct.sum())),
            str(len(one.steps)),
            "; ".join(
                f"{' → '.join(check.edge)} {check.expect} ({check.scope})"
                for check in one.diagnostics
            ),
        ]
        for name, one in shipped().planted.items()
    ]
    head = ["circuit", "what it is", "layers × heads", "edges", "checkpoints", "diagnostics"]
    return table(head, rows)


def claims() -> str:
    """Return a table of claims."""
    rows = [
        [
            code(name),
            f"“{one.spec.text}” ({one.spec.source})",
            one.spec.about,
            f"{one.spec.level:g}",
            str(one.needs),
            "; ".join(map(_test, one.tests)),
        ]
        for name, one in shipped().claims.items()
    ]
    head = ["claim", "in its source's words", "about", "level", "checkpoints needed", "tests"]
    return table(head, rows)


def _test(test: ClaimTest) -> str:
    spec = test.spec
    parameters = f" ({keywords(spec.parameters)})" if spec.parameters else ""
    return (
        f"{code(spec.statistic)}{parameters} against {code(spec.null)}, at least "
        f"{spec.minimum:g}: rules out {spec.rules_out}"
    )


GENERATED = {
    "tasks": tasks,
    "ablations": ablations,
    "studies": studies,
    "backbones": backbones,
    "planted circuits": circuits,
    "claims": claims,
}
