"""The command line: ``cntbench run``, ``plan``, ``show``, ``claims``, ``audit``, ``compare`` …

Exit codes: 0 done; 1 frozen numbers have moved; 2 a user's mistake, with no traceback and nothing
written or lost; 3 some checkpoints could not be measured, the others are kept; 130 interrupted,
complete checkpoints are kept; 141 the reader of the output has ended; 70 a defect of cntbench.
"""

from __future__ import annotations

import gc
import io
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape

from cntbench import __version__
from cntbench.cli.circuit import circuit
from cntbench.cli.exchange import export, import_, planted, score, seal
from cntbench.cli.figures import figures
from cntbench.cli.golden import golden
from cntbench.cli.options import (
    MEASURING,
    CheckpointNames,
    DatasetPath,
    Experts,
    Force,
    Jobs,
    KeepDownloads,
    PromptCount,
    Seed,
    Specs,
    begin_workers,
    err,
    names_in,
    out,
    printed_warnings,
    tasks_in,
    write_output,
)
from cntbench.cli.report import calibrate, claims, leaderboard, report, show
from cntbench.cli.study import merge, plan, run
from cntbench.cli.usage import App, usage_error, with_options
from cntbench.errors import (
    EXIT_CHECKPOINTS_FAILED,
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_READER_ENDED,
    EXIT_USER_ERROR,
    CntbenchError,
    Named,
    in_file,
    nearest,
    shown,
)
from cntbench.parallel.interrupts import interrupted, interrupts_remembered
from cntbench.plugins.folders import failure_in_plugin
from cntbench.runs.options import study_changes
from cntbench.runs.resources import cores

app = App(
    name="cntbench",
    help="Transformers as evolving causal graphs: influence between components over training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


#: What can be listed: kinds of specs, and kinds of plug-ins with their names in `cntbench.plugins`.
SPECS = ("tasks", "ablations", "studies", "planted", "backbones", "claims")
PLUGINS = {
    "generators": "generator",
    "replacements": "replacement",
    "measures": "measure",
    "estimators": "estimator",
    "readouts": "readout",
    "metrics": "metric",
    "nulls": "null model",
    "statistics": "statistic",
    "sources": "trajectory source",
    "pictures": "picture",
    "formats": "export format",
    "architectures": "adapter",
}


def _version(requested: bool) -> None:
    if requested:
        out.print(f"cntbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for command in (
    run,
    merge,
    plan,
    show,
    report,
    claims,
    calibrate,
    figures,
    export,
    score,
    circuit,
    leaderboard,
    seal,
):
    app.command()(command)
app.command(name="import")(import_)
app.add_typer(golden)
app.add_typer(planted)


@app.command()
def audit(
    what: Annotated[
        str,
        typer.Argument(
            help="A results.nc file, the folder of a run, or a trajectory. Checkpoints of a folder "
            "are read and hashed, of those of a hub samples are read.",
            metavar="RESULTS_OR_TRAJECTORY",
        ),
    ],
    checkpoints: CheckpointNames = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Download and read all weights of a hub.")
    ] = False,
    keep_downloads: KeepDownloads = 2,
    specs: Specs = None,
) -> None:
    """List checkpoints and their problems: missing, failed, repeated, or of another training."""
    from cntbench.files.output import file_status, is_folder, user_path
    from cntbench.models.checkpoint_choice import chosen_by
    from cntbench.models.trajectory import open_trajectory
    from cntbench.plugins import room
    from cntbench.reporting.audit import audit_table
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.integrity import Audited, audit_results
    from cntbench.results.selection import indices_of, labels_of
    from cntbench.results.storage import open_results
    from cntbench.runs.audit import audit_trajectory
    from cntbench.runs.folder import MANIFEST, RunFolder

    path = user_path(what)
    if file_status(path / MANIFEST):
        path = RunFolder(path).results
    if path.suffix == ".nc" or (file_status(path) and not is_folder(path)):
        root = open_results(path).to_dataset(inherit=False)
        with in_file(path):
            labels = names_in(checkpoints or ":", labels_of(root, "checkpoint"))
            chosen = indices_of(root, "checkpoint", labels or ())
        rows: Sequence[Audited] = audit_results(root.isel(checkpoint=chosen))
    elif what.partition(":")[0] not in room("trajectory source"):
        raise _nothing_to_audit(path)
    else:
        with progress_bar(err) as progress:
            choice = checkpoints or ""
            with chosen_by("--checkpoints"):
                trajectory = open_trajectory(what, progress, specs or (), checkpoints=choice)
            rows = audit_trajectory(trajectory, progress, keep=keep_downloads, whole=whole)
    out.print(audit_table(rows))
    if any(row.lost for row in rows):
        raise typer.Exit(EXIT_CHECKPOINTS_FAILED)


def _nothing_to_audit(path: Path) -> CntbenchError:
    """Return the error for a path that is neither a result, a run nor a trajectory."""
    from cntbench.files.output import is_folder

    if is_folder(path):
        return CntbenchError(
            "is not the folder of a run: it has no study.json",
            where=str(path),
            hint=f"Write a folder of checkpoints as dir:{path}.",
        )
    return CntbenchError(
        "is neither a file, nor a folder, nor a trajectory",
        where=str(path),
        hint="Name a results.nc, the folder of a run, or a trajectory: "
        "nano, dir:PATH, planted:CIRCUIT, hub:ORG/NAME@REVISIONS.",
    )


@app.command()
def compare(
    results: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Compare result files instead: the ablations of one file, or several files with "
            "the first.",
        ),
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(help="Another trajectory (default: nano).", metavar="SOURCE")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks, separated by commas: names, and files of prompts (default: induction).",
            metavar="NAMES",
        ),
    ] = None,
    ablations: Annotated[
        str | None, typer.Option(help="Ablations, separated by commas.", metavar="NAMES")
    ] = None,
    prompts: PromptCount = None,
    seed: Seed = None,
    experts: Experts = None,
    circuits: Annotated[
        str | None,
        typer.Option(
            help="Planted circuits, separated by commas; '' for none (default: all without "
            "dynamics).",
            metavar="NAMES",
        ),
    ] = None,
    checkpoints: Annotated[
        str,
        typer.Option(
            metavar="N|CHOICE",
            help="Number of checkpoints, spread over the trajectory; or the checkpoints: step1200, "
            "1000:5000, 1000:5000:1000, separated by commas.",
        ),
    ] = "8",
    jobs: Jobs = None,
    output: DatasetPath = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Compare ablation methods on planted circuits and on a trained trajectory."""
    if not results:
        begin_workers(jobs, *MEASURING, "cntbench.comparison.command")
    from cntbench.comparison.command import Measurement
    from cntbench.comparison.command import compare as compare_methods
    from cntbench.comparison.files import COMPARISON
    from cntbench.files.output import check_output, user_path
    from cntbench.reporting.comparison import comparison_tables
    from cntbench.reporting.progress import progress_bar

    if output is not None:
        where = (trajectory or "").partition(":")[2]
        inputs = [*(results or ()), *(specs or ()), *([user_path(where)] if where else ())]
        check_output(output, COMPARISON, inputs=inputs, force=force)
    with progress_bar(err) as progress:
        changes = study_changes(
            trajectory=trajectory,
            tasks=tasks_in(tasks),
            ablations=names_in(ablations),
            prompts=prompts,
            seed=seed,
            experts=experts,
        )
        measurement = Measurement(changes, names_in(circuits), checkpoints, specs or ())
        comparison = compare_methods(
            results or (), measurement, progress=progress, jobs=jobs or cores()
        )
    out.print(comparison_tables(comparison))
    write_output(comparison, output, COMPARISON, force=force)


@app.command(name="list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=f"What to list: {', '.join(sorted((*SPECS, *PLUGINS)))}."
        ),
    ],
    specs: Specs = None,
) -> None:
    """List names, versions, summaries and files of a kind."""
    from cntbench.plugins import room
    from cntbench.runs.catalogue import load_catalogue

    if kind not in (*SPECS, *PLUGINS):
        raise CntbenchError(
            f"KIND = {shown(kind)} is not allowed", hint=nearest(kind, (*SPECS, *PLUGINS))
        )
    entries: Named[Any]
    wrong: Mapping[str, CntbenchError] = {}
    if kind in PLUGINS:
        entries = room(PLUGINS[kind])
        if kind == "metrics":
            from cntbench.metrics._graphs import wrong_names

            wrong = wrong_names(entries)
        plugins = [plugin for name, plugin in entries.items() if name not in wrong]
        rows = [(plugin.name, "", plugin.summary, plugin.path) for plugin in plugins]
    else:
        entries = getattr(load_catalogue(specs or ()), kind)
        rows = []
        for entry in entries.values():
            effect = f"({entry.spec.effect}) " if kind == "ablations" else ""
            version, summary = f" v{entry.spec.version}", f"{effect}{entry.spec.summary}"
            rows.append((entry.name, version, summary, entry.path))
    for name, version, summary, path in rows:
        out.print(f"[bold]{escape(name)}[/]{version}  {escape(summary)}")
        out.print(f"    [dim]{escape(str(path))}[/]")
        if kind == "architectures":
            module = entries[name].module
            out.print(f"    model_type {', '.join(module.MODEL_TYPES)}\n    exact: {module.EXACT}")
    for name, error in {**entries.broken, **wrong}.items():
        out.print(f"[bold]{escape(name)}[/]  [red]cannot be used:[/] {escape(error.what)}")
        out.print(f"    [dim]{escape(error.where or '')}[/]")
        if error.hint:
            out.print(f"    {escape(error.hint)}")


@cache
def _command() -> Any:
    """Return what typer makes of the functions, which takes as long as some commands."""
    return typer.main.get_command(app)


#: New objects that start a search for garbage: imports make a million, none of them garbage.
_NEW_OBJECTS = 10_000


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        _run_command_line()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich and typer exit with 1
            sys.exit(EXIT_READER_ENDED)
        raise


def _run_command_line() -> None:
    gc.set_threshold(_NEW_OBJECTS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack ± and ✓
            stream.reconfigure(errors="backslashreplace")
    with interrupts_remembered():
        try:
            with printed_warnings():
                code = _command()(standalone_mode=False)
            if code == EXIT_INTERRUPTED:  # typer has seen a KeyboardInterrupt
                _exit_interrupted()
            sys.exit(code or 0)
        except KeyboardInterrupt:
            _exit_interrupted()
        except SystemExit as end:
            if interrupted() and end.code != EXIT_INTERRUPTED:  # swallowed, by an import perhaps
                _exit_interrupted()
            raise
        except Exception as error:
            if interrupted():  # and turned into another error
                _exit_interrupted()
            _exit_with(error)


def _exit_interrupted() -> NoReturn:
    err.print("Interrupted.")
    sys.exit(EXIT_INTERRUPTED)


def _exit_with(error: Exception) -> NoReturn:
    """Print an error and exit; one that is no user's mistake with its traceback."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its help is printed
        sys.exit(EXIT_USER_ERROR)
    if not isinstance(error, CntbenchError):
        if hasattr(error, "format_message"):  # typer's; releases have it in different modules
            error = usage_error(error)
        elif (plugin_error := failure_in_plugin(error)) is not None:
            error = plugin_error
        elif isinstance(error, OSError):  # from the user's disk or folders
            where = None if error.filename is None else str(error.filename)
            error = CntbenchError(error.strerror or str(error), where=where)
        elif isinstance(error, UnicodeEncodeError):  # from libraries that open files
            error = CntbenchError(
                f"a name is not UTF-8: {error.object!a}",
                hint="Rename the file or the folder.",
            )
        else:
            # Python's own exit code is 1, which a check in CI would read as "numbers have moved".
            err.print("".join(traceback.format_exception(error)), markup=False)
            err.print("This is a defect of cntbench; please report it with the lines above.")
            sys.exit(EXIT_DEFECT)
    text = escape(with_options(str(error)))
    err.print(f"[bold red]error:[/] {text}")
    sys.exit(EXIT_USER_ERROR)
