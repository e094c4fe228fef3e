"""The Python interface to measuring: ``run``, ``influence`` and ``compare``.

The command line runs the same code. All results are xarray objects with the accessor ``cnt``
(`cntbench.accessor.cnt`); mistakes raise a `cntbench.errors.CntbenchError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex, Unpack

import torch
import xarray as xr

from cntbench.comparison import command
from cntbench.comparison.claims import with_pooled_claims
from cntbench.errors import CntbenchError, Named, shown, unknown, warn
from cntbench.files.output import Folders, path_tuple, user_path
from cntbench.models.device import check_precision, description, prepare
from cntbench.models.in_memory import at_step, read_model
from cntbench.models.precision import TYPES, moved
from cntbench.plugins.folders import with_specs
from cntbench.prompts.tables import is_table
from cntbench.reporting.audit import failures
from cntbench.reporting.progress import progress_bar
from cntbench.reporting.terminal import Terminal
from cntbench.results.film import film
from cntbench.runs.arguments import checked_arguments, plain
from cntbench.runs.catalogue import StudyEntry, load_catalogue
from cntbench.runs.executors import Executor, select_executor
from cntbench.runs.measurer import measure
from cntbench.runs.options import (
    Checkpoints,
    ComparedKeys,
    Names,
    StudyKeys,
    check_script,
    name_tuple,
    one_of,
    study_changes,
)
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.prompt_warnings import warn_of_prompts
from cntbench.runs.resources import DeviceChoice, Resources, memory_budget, resolve_device
from cntbench.runs.run import provenance
from cntbench.runs.run import run as run_plan
from cntbench.runs.seeds import run_path, run_seeds, seed_runs, seeds_folder
from cntbench.runs.tasks import Task, task_in_memory, task_of_file
from cntbench.specs import StudySpec, build


@checked_arguments
@with_specs
def run(
    study: str = "nano",
    *,
    output: str | Path | None = None,
    jobs: int = 1,
    device: str = "cpu",
    memory: float = 1.0,
    keep_downloads: int = 2,
    executor: str | None = None,
    scheduler: str | None = None,
    specs: Folders = (),
    progress: bool | None = None,
    **changes: Unpack[StudyKeys],
) -> xr.DataTree:
    """Measure a study at every checkpoint, or resume an interrupted run.

    Parameters
    ----------
    study
        Name of a study; ``cntbench list studies`` lists them.
    output
        Folder of the run, by default ``runs/STUDY``. Complete checkpoints in it are reused.
    jobs
        Number of processes. With 1, this process measures, unless on a GPU. Otherwise, a script
        needs its ``if __name__ == "__main__":``, because Python starts new processes.
    device
        ``"cpu"``, ``"cuda"``, or ``"auto"``, which uses a GPU if there is one.
    memory
        Memory of each process beyond the model's [GiB].
    keep_downloads
        Number of downloaded checkpoints to keep on disk besides those being measured.
    executor
        ``"processes"``, ``"serial"`` or ``"dask"``.
    scheduler
        Address of a running Dask scheduler to measure on.
    specs
        Folders of your own specs, in addition to the shipped ones.
    progress
        Whether to show a progress bar; by default, on a terminal.
    **changes
        Keys of the study to change: ``trajectory`` (``"nano"``, ``"nano:seed=3"``, ``"dir:PATH"``,
        ``"planted:CIRCUIT"``, ``"hub:ORG/NAME@REVISIONS"``); names of ``tasks`` and ``ablations``;
        ``prompts``, their number for each task; ``seed`` of prompts and random draws; ``dtype`` to
        compute in (``"float32"``, ``"bfloat16"``, ``"float64"``); ``blocks`` of sources, the units
        of work into which each checkpoint is divided; ``untrained``, the number of untrained models
        to measure; ``checkpoints``, by default all: ``"1200"``, ``"1000:5000:1000"``, ``"count=8"``
        (see `cntbench.models.checkpoint_choice`), steps, or a slice; ``layers`` to ablate and
        watch, likewise; ``components`` to ablate and ``targets`` to watch: ``"L2.H3"``, ``"L2"``,
        ``"heads"``, ``"MLPs"``, ``"L*.H0"`` (the rest is NaN); ``experts``, whether those of a
        mixture are components; ``keep``, to keep results of single ``"prompts"``, ``"positions"``
        or both; ``until_se``, the standard error of the strongest edges from which on no further
        prompts are measured; ``seeds`` of trajectories (``range(10)``, ``"0..9"``), each measured
        by its own run, in ``seed0``, ``seed1`` … of the folder, by default ``runs/STUDY-seeds``.

    Returns
    -------
    xarray.DataTree
        The result: the film at the root, and groups that are derived from it. The folder has it as
        ``results.nc``. Checkpoints that could not be measured are NaN; ``status`` says why, and a
        warning names them. The same call tries them again. With ``seeds``, a tree of results,
        ``seed0``, ``seed1`` …, and of ``claims`` pooled over them.

    Raises
    ------
    CntbenchError
        If the study cannot be run, or the folder cannot be used.
    cntbench.runs.run.Interrupted
        On Ctrl-C. Complete checkpoints are kept; the same call resumes from them.
    """
    where = "cntbench.run"
    resolved = resolve_device(
        one_of(DeviceChoice, "device", device, where), scheduler, f"{where}: device"
    )
    chosen = None if executor is None else one_of(Executor, "executor", executor, where)
    elsewhere = scheduler is not None or chosen is Executor.SERIAL
    check_script(jobs, where, "cpu" if elsewhere else resolved)
    budget = memory_budget(memory, where)
    execute, workers = select_executor(chosen, scheduler, jobs, where=where)
    options: dict[str, Any] = {
        "jobs": workers,
        "execute": execute,
        "resources": Resources(budget, keep_downloads, resolved),
    }
    keys, to = study_changes(**changes), user_path(output) if output else None
    catalogue = load_catalogue(path_tuple(specs))
    with progress_bar(Terminal(stderr=True), shown=progress) as report:
        runs = seed_runs(catalogue, study, keys, to or seeds_folder(study), where=where)
        if runs:
            results = run_seeds(catalogue, runs, progress=report, **options)
            outcomes = {seed_run.name: outcome for seed_run, outcome in results}
        else:
            early = options["jobs"] > 1
            entry = catalogue.changed_study(study, keys, where=where)
            check_precision(resolved, entry.spec.dtype)
            plan, folder = make_plan(catalogue, entry, report, early=early), to or run_path(study)
            outcomes = {"": run_plan(plan, folder, progress=report, **options)}
    for name, outcome in outcomes.items():
        if outcome.failed:
            text = failures(outcome.failed, "the same call tries them again")
            warn(f"{name}: {text}" if name else text)
    trees = {name: outcome.tree for name, outcome in outcomes.items()}
    return with_pooled_claims(trees, catalogue.some_claims()) if runs else trees[""]


@checked_arguments
@with_specs
def influence(
    model: Any,
    task: Names | None = None,
    ablation: Names = "resample",
    *,
    tokenizer: Any = None,
    prompts: Any = 32,
    answer: str | None = None,
    seed: int = 0,
    step: SupportsIndex = 0,
    dtype: Any = "float32",
    layers: Checkpoints = "",
    components: Names = (),
    targets: Names = (),
    experts: bool = False,
    keep: Names = (),
    device: Any = "cpu",
    memory: float = 1.0,
    specs: Folders = (),
    progress: bool | None = None,
) -> xr.Dataset:
    """Measure a model that is in memory.

    Parameters
    ----------
    model
        A causal language model of transformers, or a `cntbench.models.decoder.Decoder`. It is not
        changed. Of a model, config and tensors are read, and compared with its own forward pass.
    task, ablation
        One name or several, by default the task ``induction``; a task may also be a file of your
        own prompts.
    tokenizer
        The model's tokenizer, from transformers or tokenizers. Tasks made of text need it; other
        tasks avoid its special tokens.
    prompts
        Number of prompts of each task. Or your own prompts: a list of dicts, a DataFrame, or a dict
        of columns such as tensors of tokens, with ``clean``, ``answer``, and optionally
        ``corrupted`` and ``wrong``; ``task`` may then name them (``"prompts"``).
    answer
        How to score answers of several tokens in your own prompts, or in the file of them that is
        the task: by the ``"first"`` token, or by the ``"sum of log probabilities"`` of all tokens.
        By default, answers are one token.
    seed
        Seed of prompts and random draws.
    step
        The model's training step. `film` joins the films of several steps.
    dtype
        Floating-point type to compute in, whatever the model's type: ``"float32"``,
        ``"bfloat16"``, ``"float64"``, or torch's; ``"tf32"`` on a GPU.
    layers, components, targets, experts, keep, device, memory
        As in `run`.
    specs
        Folders of your own specs, in addition to the shipped ones.
    progress
        Whether to show a progress bar; by default, on a terminal and in a notebook.

    Returns
    -------
    xarray.Dataset
        A film of one checkpoint, with the schema's dims: ``step100`` at step 100, or ``model`` at
        step 0. Its ``revision`` is the hash of the model's tensors.

    Raises
    ------
    CntbenchError
        If a task or an ablation does not exist, the model cannot be measured (its architecture is
        not supported, its weights are not finite, or its forward pass differs from its config and
        tensors), or the model is too small for a task.
    """
    where = "cntbench.influence"
    budget = memory_budget(memory, where)
    catalogue = load_catalogue(path_tuple(specs))
    prompts = plain(prompts)
    own: Task | None = None
    if not isinstance(prompts, int | float):
        own, prompts = task_in_memory(prompts, "prompts" if task is None else task, where, answer)
    tasks = ("induction",) if task is None else name_tuple(task, f"{where}: task")
    if own is None and answer is not None:
        if len(tasks) != 1 or not is_table(tasks[0]):
            raise CntbenchError(
                f"answer = {shown(answer)} applies to prompts of your own, and task is not one "
                "file of them",
                where=where,
                hint="A task in a TOML file has this in its parameters: answer = …",
            )
        own = task_of_file(user_path(tasks[0]), answer, where)
    if own is not None:
        catalogue, tasks = dataclasses.replace(catalogue, tasks=Named({own.name: own})), (own.name,)
    keys = {
        "version": 1,
        "summary": "A model in memory.",
        "trajectory": f"memory:{type(model).__name__}",
        "tasks": tasks,
        "ablations": name_tuple(ablation, f"{where}: ablation"),
        "prompts": prompts,
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype,
        **study_changes(layers=layers, components=components, targets=targets, keep=keep),
        "experts": experts,
        "untrained": 0,
        "null_draws": 0,
        "planted": False,
    }
    study = StudyEntry(where, Path(), build(StudySpec, keys, where=where), ("tasks",), where)
    catalogue.check(study, where=where)
    device = str(device) if isinstance(device, torch.device) else device
    on = resolve_device(one_of(DeviceChoice, "device", device, where), None, f"{where}: device")
    prepare(on, study.spec.dtype)
    with (
        progress_bar(Terminal(stderr=True), shown=progress) as report,
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        trajectory, decoder, held = read_model(model, tokenizer, TYPES[study.spec.dtype], experts)
        trajectory = at_step(trajectory, step, where)
        plan = Plan(
            study,
            trajectory,
            tuple(catalogue.task(name) for name in study.spec.tasks),
            tuple(catalogue.ablations[name] for name in study.spec.ablations),
        )
        plan.check_edges()
        warn_of_prompts(study, plan.tasks, plan.prompts, trajectory)
        [checkpoint] = trajectory.checkpoints
        measured = measure(plan, checkpoint, moved(decoder, on), budget, progress=report)
    about = description(on) | ({"parity": held.to_json()} if held else {})
    return film([measured], provenance(plan) | about | {"history": study.name})


@checked_arguments
@with_specs
def compare(
    results: str | Path | Sequence[str | Path] | None = None,
    *,
    circuits: Names | None = None,
    checkpoints: Checkpoints = command.CHECKPOINTS,
    jobs: int = 1,
    specs: Folders = (),
    progress: bool | None = None,
    **changes: Unpack[ComparedKeys],
) -> xr.Dataset:
    """Compare ablation methods on planted circuits and on a trained trajectory.

    Parameters
    ----------
    results
        Result files to compare instead of measuring: the ablations of one file, or several files
        with the first.
    circuits
        Names of planted circuits, by default all without dynamics.
    checkpoints
        Number of checkpoints, spread over the trajectory; or the checkpoints, as in `run`.
    jobs, specs, progress
        As in `run`.
    **changes
        Keys of the study ``compare`` to change: ``trajectory``, ``tasks``, ``ablations``,
        ``prompts``, ``seed``, ``experts``, as in `run`.

    Returns
    -------
    xarray.Dataset
        Recovery of planted edges, agreement, reliability and cost, as written by
        ``cntbench compare -o``.

    Raises
    ------
    CntbenchError
        If a name is unknown, the trajectory cannot be measured, or the files cannot be compared.
    """
    where = "cntbench.compare"
    check_script(jobs, where)
    for key in changes:
        if key not in ComparedKeys.__annotations__:
            raise unknown("key", key, ComparedKeys.__annotations__, where=where)
    with progress_bar(Terminal(stderr=True), shown=progress) as report:
        measurement = command.Measurement(
            study_changes(**changes),
            None if circuits is None else name_tuple(circuits, f"{where}: circuits"),
            checkpoints,
            path_tuple(specs),
            where=where,
        )
        files = () if results is None else path_tuple(results)
        if results is not None and not files:
            raise CntbenchError(
                "there is no file",
                where=f"{where}: results",
                hint="Name one or more, or leave results out to measure.",
            )
        return command.compare(files, measurement, progress=report, jobs=jobs)
