"""Options that commands share, and the consoles for output and messages."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cntbench.errors import CntbenchWarning, warning_text
from cntbench.files.output import FileKind, file_exists
from cntbench.files.parsing import split_names
from cntbench.parallel.server import start_server
from cntbench.reporting.terminal import Terminal
from cntbench.runs.executors import Executor
from cntbench.runs.options import NAMES, study_changes
from cntbench.runs.resources import LEAST_MEMORY, MOST_MEMORY, DeviceChoice, cores

if TYPE_CHECKING:
    import xarray as xr

out = Terminal(soft_wrap=True)
err = Terminal(stderr=True, soft_wrap=True)


Specs = Annotated[
    list[Path] | None,
    typer.Option(
        "--specs",
        metavar="FOLDER",
        help="A folder of your own specs and plug-ins, used besides the shipped ones; may be "
        "repeated. CNTBENCH_SPECS does the same.",
    ),
]
ResultsPath = Annotated[Path, typer.Argument(help="A results.nc file.", metavar="RESULTS")]
DatasetPath = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the dataset, as netCDF."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Overwrite files of another kind, too; an input is never overwritten."
    ),
]
Study = Annotated[str, typer.Argument(help="Name of a study; see cntbench list studies.")]
PromptCount = Annotated[int | None, typer.Option(help="Number of prompts of each task.")]
Seed = Annotated[int | None, typer.Option(help="Seed of prompts and random draws.")]
RunFolderPath = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="Folder of the run (default: runs/STUDY)."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Number of processes, one thread each (default: number of cores; 1 on a GPU).",
    ),
]

#: What workers import to measure models, and first compare them with transformers.
MEASURING = (
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "cntbench.runs.run",
)


def begin_workers(jobs: int | None, *modules: str) -> None:
    """Let the workers of a command import modules while the command itself imports others.

    Where Python has imported the libraries already, there is nothing to gain.
    """
    if (jobs or cores()) > 1 and "torch" not in sys.modules:
        start_server(*modules)


Memory = Annotated[
    float | None,
    typer.Option(
        min=LEAST_MEMORY,
        max=MOST_MEMORY,
        metavar="GIB",
        help="Memory of each process, besides the model (default: 1, on a GPU most of what is "
        "free there).",
    ),
]
DeviceName = Annotated[
    DeviceChoice,
    typer.Option("--device", help="Compute on the CPU, on a GPU, or on a GPU if there is one."),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="GPUS",
        help="Compute on these GPUs, by one process each: 0,1,2,3. Implies --device cuda.",
    ),
]
KeepDownloads = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of downloaded checkpoints kept on disk besides those being measured.",
    ),
]
CheckpointNames = Annotated[
    str | None,
    typer.Option(
        metavar="CHOICE",
        help="Some checkpoints: by step or name (1200, step1200), a range (1000:5000, or "
        "1000:5000:1000 for every thousandth step), how many (count=8); separated by commas "
        "(default: all).",
    ),
]
Experts = Annotated[
    bool | None,
    typer.Option(
        "--experts/--no-experts",
        help="Whether each expert of a mixture of experts is a component, L2.E3, in place of the "
        "layer of experts, L2.MLP (default: not).",
        show_default=False,
    ),
]
ExecutorName = Annotated[
    Executor | None,
    typer.Option(
        "--executor",
        help="Where to measure: on several processes of this machine, serially in one process, or "
        "on a Dask cluster of this machine (default: processes).",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A running Dask scheduler to measure on: tcp://HOST:PORT"),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Measure only the I-th of N shards of the run; combine them with cntbench merge.",
    ),
]


def _option(kind: type, *names: str, **about: Any) -> Any:
    return Annotated[kind | None, typer.Option(*names, **about)]


#: Options for the keys of a study.
STUDY_OPTIONS: dict[str, Any] = {
    "trajectory": _option(
        str,
        help="Another trajectory: nano, nano:seed=3, dir:PATH, planted:CIRCUIT, "
        "hub:ORG/NAME@REVISIONS.",
        metavar="SOURCE",
    ),
    "tasks": _option(
        str,
        help="Other tasks, separated by commas: names, and files of your own prompts (.jsonl, "
        ".csv, .parquet), whose names may have commas.",
        metavar="NAMES",
    ),
    "ablations": _option(str, help="Other ablations, separated by commas.", metavar="NAMES"),
    "prompts": PromptCount,
    "seed": Seed,
    "dtype": _option(
        str,
        "--dtype",
        "--precision",
        metavar="TYPE",
        help="Floating-point type of the model: float32, bfloat16, float64, or on a GPU tf32.",
    ),
    "blocks": _option(
        int,
        min=1,
        metavar="N",
        help="Divide each checkpoint of a large model into N blocks of sources, which are "
        "separate units of work (default: 1).",
    ),
    "untrained": _option(
        int,
        min=0,
        metavar="N",
        help="Number of untrained models to measure as well (default: 20, enough for a p-value "
        "of 0.05, and fewer of large models).",
    ),
    "checkpoints": CheckpointNames,
    "layers": _option(
        str,
        metavar="CHOICE",
        help="Ablate and watch components of these layers only: 0:5, both ends included; 0,3 "
        "(default: all).",
    ),
    "components": _option(
        str,
        metavar="NAMES",
        help="Ablate these components only: L2.H3, L2, heads, MLPs, experts, L*.H0, separated "
        "by commas (default: all).",
    ),
    "targets": _option(
        str,
        metavar="NAMES",
        help="Watch these components only, named as for --components (default: all).",
    ),
    "experts": Experts,
    "keep": _option(
        str,
        metavar="NAMES",
        help="Keep results for each of the prompts, the positions, or both "
        "(prompts,positions), besides their means.",
    ),
    "until_se": _option(
        float,
        min=0.0,
        metavar="ERROR",
        help="Measure no further prompts of a task once the standard errors of its strongest "
        "edges are below this (default: measure all prompts).",
    ),
    "seeds": _option(
        str,
        metavar="SEEDS",
        help="Measure the trajectory of each of these seeds, in a folder of its own, and pool "
        "the claims: 0..9, both ends included; 0,3,5.",
    ),
}


def takes_study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options of a study, whose values it receives as ``changes``."""

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        keys: Any = {key: arguments.pop(key) for key in STUDY_OPTIONS}
        keys |= {key: (tasks_in if key == "tasks" else names_in)(keys[key]) for key in NAMES}
        command(changes=study_changes(**keys), **arguments)

    signature = inspect.signature(command, eval_str=True).parameters
    options = {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for key, option in STUDY_OPTIONS.items()
    }
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.items()
        for parameter in (options.values() if name == "changes" else [parameter])
    ]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_options


def write_output(
    dataset: xr.Dataset, output: Path | None, kind: FileKind, *, schema: str = "", force: bool
) -> None:
    """Write a dataset to the file of ``--output``, if there is one, and tell so."""
    from cntbench.results.storage import write_dataset

    if output is not None:
        write_dataset(dataset, output, kind, schema=schema, force=force)
        out.print(f"The dataset is in {output}.", markup=False)


@contextmanager
def printed_warnings() -> Iterator[None]:
    """Print each warning of cntbench in one line, without its position in the code."""

    def show(*warning: Any) -> None:
        word, text = warning_text(*warning)
        start = f"[yellow]{word}:[/] " if word else ""
        err.print(start + escape(text.rstrip()))

    with warnings.catch_warnings():
        warnings.simplefilter("always", CntbenchWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def names_in(text: str | None, known: Collection[str] = ()) -> tuple[str, ...] | None:
    """Return the names in comma-separated text; known names may have commas themselves."""
    return None if text is None else tuple(filter(None, split_names(text, known.__contains__)))


def tasks_in(text: str | None) -> tuple[str, ...] | None:
    """Return the names of tasks and files of prompts; the name of a file may have commas."""
    return None if text is None else tuple(filter(None, split_names(text, file_exists)))
