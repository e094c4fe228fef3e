"""Options that commands of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Specs = Annotated[
    list[Path] | None,
    typer.Option(
        "--specs",
        metavar="FOLDER",
        help="A folder of your own specs, beside the shipped ones; may be repeated. "
        "CNTBENCH_SPECS does the same.",
    ),
]
Study = Annotated[str, typer.Argument(help="Name of a study; see cntbench list studies.")]
TrajectoryName = Annotated[
    str | None,
    typer.Option(
        help="Another trajectory: nano, nano:seed=3, dir:PATH, planted:CIRCUIT, "
        "hub:ORG/NAME@REVISIONS.",
        metavar="SOURCE",
    ),
]
Tasks = Annotated[
    str | None, typer.Option(help="Other tasks, separated by commas.", metavar="NAMES")
]
Ablations = Annotated[
    str | None, typer.Option(help="Other ablations, separated by commas.", metavar="NAMES")
]
PromptCount = Annotated[int | None, typer.Option(help="Number of prompts of each task.")]
Seed = Annotated[int | None, typer.Option(help="Seed of prompts and random draws.")]
RunFolderPath = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the run [runs/STUDY]."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Processes, one thread each [default: number of cores]."
    ),
]
Memory = Annotated[
    float,
    typer.Option(min=0.001, metavar="GIB", help="Memory of each process beyond the model's."),
]
Keep = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Downloaded checkpoints that may lie on disk beside those being measured.",
    ),
]
