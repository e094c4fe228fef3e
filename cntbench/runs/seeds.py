"""A study of several seeds: one run for each seed, in a folder of its own.

Each is the run of ``--trajectory SOURCE:seed=N``, so it is continued, reused and looked at as any
other, and seeds can be added at any time. Verdicts are pooled over the seeds by
`cntbench.comparison.claims`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError, in_file
from cntbench.models.trajectory import Progress, seeded
from cntbench.runs.catalogue import Catalogue, StudyEntry
from cntbench.runs.folder import CHECKPOINTS, MANIFEST, UNTRAINED, RunFolder
from cntbench.runs.plan import make_plan
from cntbench.runs.run import Interrupted, Outcome, run


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed.

    Parameters
    ----------
    seed
        Of the trajectory.
    study
        The study of this trajectory alone.
    folder
        Its folder.
    """

    seed: int
    study: StudyEntry
    folder: RunFolder

    @property
    def name(self) -> str:
        """Its name in messages and results."""
        return f"seed{self.seed}"

    @property
    def measured(self) -> tuple[int, int]:
        """Numbers of checkpoint files, and of files of untrained models, unread."""
        folders = (self.folder.path / name for name in (CHECKPOINTS, UNTRAINED))
        checkpoints, untrained = (sum(1 for _ in folder.glob("*.nc")) for folder in folders)
        return checkpoints, untrained


def seeds_folder(study: str) -> Path:
    """Return the default folder of a study of several seeds."""
    return Path("runs") / f"{study}-seeds"


def seed_runs(
    catalogue: Catalogue, study: str, changes: Mapping[str, Any], folder: Path, *, where: str
) -> tuple[SeedRun, ...]:
    """Return the runs of a study's seeds, by its key ``seeds``; none if that is empty.

    Parameters
    ----------
    catalogue, study, changes, where
        The specs, the study's name, keys with other values, and their origin for messages.
    folder
        Holds the folders of the runs.

    Raises
    ------
    CntbenchError
        If the study is wrong, its trajectory has no seed, or the folder is that of a single run.
    """
    spec = catalogue.amend(catalogue.study(study), changes, where=where).spec
    if spec.seeds and (folder / MANIFEST).exists():
        raise CntbenchError(
            "is the folder of one run",
            where=str(folder),
            hint="Name another folder with -o, for all seeds.",
        )
    runs = []
    for seed in spec.seeds:
        with in_file(f"{where}: seeds"):
            trajectory = seeded(spec.trajectory, seed)
        alone = {**changes, "trajectory": trajectory, "seeds": ()}
        entry = catalogue.amend(catalogue.study(study), alone, where=where)
        runs.append(SeedRun(seed, entry, RunFolder(folder / f"seed{seed}")))
    return tuple(runs)


def run_seeds(
    catalogue: Catalogue, runs: Sequence[SeedRun], *, progress: Progress, **options: Any
) -> Iterator[tuple[SeedRun, Outcome]]:
    """Measure the runs of seeds one after another, or complete them.

    Parameters
    ----------
    catalogue, runs
        The specs; from `seed_runs`.
    progress
        Receives progress, with the seed.
    **options
        Of `cntbench.runs.run.run`.

    Raises
    ------
    CntbenchError, Interrupted
        As `cntbench.runs.run.run`. Seeds that are finished stay so.
    """
    for one in runs:

        def report(what: str, done: int, total: int, name: str = f"seed {one.seed}") -> None:
            progress(f"{name}: {what}", done, total)

        plan = make_plan(catalogue, one.study, report)
        try:
            outcome = run(plan, one.folder.path, progress=report, **options)
        except Interrupted as stopped:
            raise Interrupted(stopped.done, stopped.total, f"seed {one.seed}") from None
        yield one, outcome
