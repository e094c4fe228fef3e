"""Tables of all shipped specs, one for each kind."""

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
            code(entry.name) + (" (control)" if entry.control else ""),
            entry.spec.summary,
            f"{code(entry.spec.generator)}: {keywords(entry.spec.parameters)}",
            f"Learnt: {entry.spec.learnt} Not: {entry.spec.not_learnt}",
        ]
        for entry in sorted(shipped().tasks.values(), key=lambda entry: (entry.control, entry.name))
    ]
    head = ["task", "summary", "generator and parameters", "if induction is learnt, and if not"]
    return table(head, rows)


def ablations() -> str:
    """Return a table of ablations."""
    rows = [
        [
            code(entry.name),
            entry.spec.summary,
            " ".join([code(entry.spec.replacement), keywords(entry.spec.parameters)]),
            entry.spec.effect,
            "" if entry.spec.measure is None else code(entry.spec.measure),
        ]
        for entry in shipped().ablations.values()
    ]
    return table(["ablation", "summary", "replacement", "effect", "measure"], rows)


def studies() -> str:
    """Return a table of studies."""
    rows = [
        [
            code(entry.name),
            entry.spec.summary,
            code(entry.spec.trajectory),
            code(*entry.spec.tasks),
            code(*entry.spec.ablations),
            str(entry.spec.prompts),
        ]
        for entry in shipped().studies.values()
    ]
    return table(["study", "summary", "trajectory", "tasks", "ablations", "prompts"], rows)


def backbones() -> str:
    """Return a table of backbones."""
    rows = [
        [code(name), entry.spec.summary, code(entry.spec.rule), keywords(entry.spec.parameters)]
        for name, entry in shipped().backbones.items()
    ]
    return table(["backbone", "summary", "rule", "parameters"], rows)


def circuits() -> str:
    """Return a table of planted circuits."""
    rows = [
        [
            code(name),
            circuit.spec.summary,
            f"{circuit.spec.layers} × {circuit.spec.heads}",
            str(int(circuit.truth().direct.sum())),
            str(len(circuit.steps)),
            "; ".join(
                f"{' → '.join(check.edge)} {check.expect} ({check.scope})"
                for check in circuit.diagnostics
            ),
        ]
        for name, circuit in shipped().planted.items()
    ]
    head = ["circuit", "summary", "layers × heads", "edges", "checkpoints", "diagnostics"]
    return table(head, rows)


def claims() -> str:
    """Return a table of claims."""
    rows = [
        [
            code(name),
            f"{claim.spec.text} ({claim.spec.source})",
            claim.spec.about,
            f"{claim.spec.level:g}",
            str(claim.needs),
            "; ".join(map(_test, claim.tests)),
        ]
        for name, claim in shipped().claims.items()
    ]
    head = ["claim", "text and source", "about", "level", "checkpoints needed", "tests"]
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
