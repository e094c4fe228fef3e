"""A study of several seeds: one run for each seed, in its own folder.

Each is the run of ``--trajectory SOURCE:seed=N``: it is resumed, reused and opened like any other
run, and seeds can be added at any time. `cntbench.comparison.claims` pools verdicts over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError, in_file
from cntbench.models.device import check_precision
from cntbench.models.trajectory import seeded
from cntbench.parallel import Progress
from cntbench.runs.catalogue import Catalogue, StudyEntry
from cntbench.runs.folder import CHECKPOINTS, MANIFEST, UNTRAINED, RunFolder
from cntbench.runs.plan import make_plan, origin
from cntbench.runs.run import Interrupted, Outcome, run


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed."""

    seed: int
    study: StudyEntry
    folder: RunFolder

    @property
    def name(self) -> str:
        """Name in messages and results."""
        return f"seed{self.seed}"

    @property
    def measured(self) -> tuple[int, int]:
        """Numbers of checkpoint files and of files of untrained models, without reading them."""
        folders = (self.folder.path / name for name in (CHECKPOINTS, UNTRAINED))
        checkpoints, untrained = (sum(1 for _ in folder.glob("*.nc")) for folder in folders)
        return checkpoints, untrained


def run_path(study: str) -> Path:
    """Return the default folder of a study's run."""
    return Path("runs") / study


def seeds_folder(study: str) -> Path:
    """Return the default folder of a study of several seeds."""
    return Path("runs") / f"{study}-seeds"


def seed_runs(
    catalogue: Catalogue, study: str, changes: Mapping[str, Any], folder: Path, *, where: str
) -> tuple[SeedRun, ...]:
    """Return one run for each of a study's ``seeds``; none if there are no seeds.

    Raises a `CntbenchError` if the study is invalid, its trajectory has no seed, or the folder is
    that of a single run.
    """
    changed = catalogue.changed_study(study, changes, where=where)
    spec = changed.spec
    if spec.seeds and (folder / MANIFEST).exists():
        raise CntbenchError(
            "is the folder of one run",
            where=str(folder),
            hint="Name another folder for all seeds with -o.",
        )
    runs = []
    for seed in spec.seeds:
        with in_file(origin(changed, "seeds")):
            trajectory = seeded(spec.trajectory, seed)
        single = {**changes, "trajectory": trajectory, "seeds": ()}
        entry = catalogue.changed_study(study, single, where=where)
        runs.append(SeedRun(seed, entry, RunFolder(folder / f"seed{seed}")))
    return tuple(runs)


def run_seeds(
    catalogue: Catalogue, runs: Sequence[SeedRun], *, progress: Progress, **options: Any
) -> Iterator[tuple[SeedRun, Outcome]]:
    """Start or resume the runs of seeds, one after another; finished seeds are kept.

    Errors are those of `cntbench.runs.run.run`.
    """
    for seed_run in runs:

        def report(work: str, done: int, total: int, name: str = f"seed {seed_run.seed}") -> None:
            progress(f"{name}: {work}", done, total)

        check_precision(options["resources"].device, seed_run.study.spec.dtype)
        plan = make_plan(catalogue, seed_run.study, report)
        try:
            outcome = run(plan, seed_run.folder.path, progress=report, **options)
        except Interrupted as interrupted:
            name = f"seed {seed_run.seed}"
            raise Interrupted(interrupted.done, interrupted.total, name) from None
        yield seed_run, outcome
