"""Runs that take a second: one task, one ablation, nothing drawn at random."""

from __future__ import annotations

from pathlib import Path

from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import Plan, make_plan

STUDY = """version = 1
summary = "A study that takes a second."
trajectory = "dir:{folder}"
tasks = ["induction"]
ablations = ["zero"]
prompts = 2
untrained = {untrained}
null_draws = {null_draws}
planted = false
"""


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def plan_for(trajectory: str | Path, **others: object) -> Plan:
    """Return a plan for a trajectory, or a folder's checkpoints, with other keys of its spec."""
    changes: dict[str, object] = {
        "trajectory": trajectory if isinstance(trajectory, str) else f"dir:{trajectory}",
        "tasks": ("induction",),
        "ablations": ("zero",),
        "prompts": 2,
        "untrained": 0,
        "null_draws": 0,
        "planted": False,
        **others,
    }
    catalogue = load_catalogue()
    return make_plan(catalogue, catalogue.amend(catalogue.study("nano"), changes), quiet)


def write_study(
    folder: Path, name: str, checkpoints: Path, *, untrained: int, null_draws: int = 0
) -> None:
    """Write such a study among the specs of a folder."""
    path = folder / "studies" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUDY.format(folder=checkpoints, untrained=untrained, null_draws=null_draws))
