"""The plan and cost of a run, as a table and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from cntbench.errors import listed
from cntbench.estimate.estimate import CostEstimate
from cntbench.estimate.utilisation import Utilisation
from cntbench.models.trajectory import Checkpoint
from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import counted, duration, quantity

#: Number of checkpoints whose steps are printed: the first ones and the last one.
_PRINTED = 6


def estimate_table(estimate: CostEstimate) -> RenderableType:
    """Return the cost of a checkpoint, task by task, and the cost of the run."""
    table = FoldingTable(
        f"One checkpoint of {escape(estimate.trajectory)}, by "
        f"{counted(len(estimate.ablations), 'ablation')}: {escape(', '.join(estimate.ablations))}",
        text=["task"],
        numbers=["prompts", "tokens", "scored", "layer-tokens", "products", "memory"],
    )
    for task in estimate.tasks:
        table.add_row(
            escape(task.name),
            str(task.prompts),
            str(task.length),
            str(task.scored),
            f"{task.work.token_layers:,.0f}",
            quantity(task.work.flops, "FLOP"),
            _size(task.memory),
        )
    return Group(table, Text("\n".join(_lines(estimate))))


def steps_line(checkpoints: Sequence[Checkpoint]) -> Text:
    """Return the step read from the name of each checkpoint; a long list is cut in the middle."""
    steps = [f"{checkpoint.name} → {checkpoint.step}" for checkpoint in checkpoints]
    if len(steps) > _PRINTED:
        steps[_PRINTED - 1 : -1] = ["…"]
    return Text(f"Steps: {', '.join(steps)}.")


def utilisation_line(used: Utilisation) -> str:
    """Return how much of the machine a run has used."""
    processes = "1 process" if used.processes == 1 else f"{used.processes} processes"
    return (
        f"Matrix products: {quantity(used.flops, 'FLOP')} in {duration(used.seconds)} on "
        f"{processes}, {quantity(used.flops / used.seconds, 'FLOP')}/s: "
        f"{used.share:.0%} of what one large product reaches on each just now."
    )


def seeds_line(
    estimate: CostEstimate, measured: Sequence[tuple[str, int, int]], untrained: int
) -> Text:
    """Return the cost of a study's seeds, each of which costs as much as the first.

    ``measured`` has the name of each seed, and how many checkpoints and untrained models are done.
    """
    seeds = [
        replace(
            estimate,
            done=min(checkpoints, estimate.checkpoints),
            untrained=max(untrained - models, 0),
        )
        for _, checkpoints, models in measured
    ]
    total = len(seeds) * estimate.checkpoints
    done = sum(seed.done for seed in seeds)
    return Text(
        f"Seeds: {len(seeds)}, one trajectory each: {listed([name for name, *_ in measured], 10)}. "
        f"In all {counted(total, 'checkpoint')}, {done} of them already measured, {total - done} "
        f"to measure, in about {duration(sum(seed.seconds for seed in seeds))}. Everything above "
        "is about one seed. Claims are pooled over the seeds."
    )


def _lines(estimate: CostEstimate) -> list[str]:
    work, missing = estimate.work, estimate.missing
    return [
        f"Checkpoints: {estimate.checkpoints}, {estimate.done} of them already measured, "
        f"{missing} to measure"
        + (f", {estimate.absent} that the repository does not have" if estimate.absent else "")
        + f". Untrained models to measure: {estimate.untrained}.",
        f"Tasks × ablations: {len(estimate.tasks)} × {len(estimate.ablations)} at each checkpoint, "
        f"{missing * len(estimate.tasks) * len(estimate.ablations):,} cells to measure. "
        f"Components: {estimate.components}. Feasible edges: {estimate.edges}"
        + ("." if estimate.chosen is None else f", {estimate.chosen} of them to measure."),
        f"Work: {work.token_layers:,.0f} layer-tokens and {quantity(work.flops, 'FLOP')} of "
        f"matrix products per checkpoint; {missing * work.token_layers:,.0f} and "
        f"{quantity(missing * work.flops, 'FLOP')} in all."
        + (
            f" Each checkpoint in {estimate.blocks} blocks of sources."
            if estimate.blocks > 1
            else ""
        ),
        f"Memory: at most {_size(estimate.memory)} in each process, plus the libraries; the "
        f"model in {estimate.dtype} takes {_size(estimate.model)} of it. "
        f"Processes: {estimate.jobs}.",
        *_downloads(estimate),
        f"Result: {_size(estimate.size)} before compression, stored twice: in the checkpoint "
        "files and in the result file.",
        f"Time: about {duration(estimate.seconds)}, an estimate: {estimate.jobs} × "
        f"{quantity(estimate.speed.flops, 'FLOP/s')}, which one thread reached just now on "
        f"{estimate.speed.of}{_loading(estimate)}. Not included: contention between processes, "
        "their start, writing files, metrics and null models.",
        *(
            [
                "Upper bounds: measuring prompts ends once standard errors are below "
                f"{estimate.until_se:g}."
            ]
            if estimate.until_se
            else []
        ),
        *_mostly_untrained(estimate),
        *_too_short(estimate),
    ]


def _too_short(estimate: CostEstimate) -> list[str]:
    """Say which claims cannot be answered, or nothing."""
    if not estimate.unanswerable:
        return []
    return [
        f"Claims that can only be inconclusive: {listed(estimate.unanswerable, 5)}. The plan has "
        f"{counted(estimate.checkpoints - estimate.absent, 'checkpoint')}."
    ]


def _mostly_untrained(estimate: CostEstimate) -> list[str]:
    """Return a hint if most models to measure are untrained ones, else nothing."""
    models = estimate.missing + estimate.untrained
    if estimate.untrained <= models / 2:
        return []
    without = replace(estimate, untrained=0).seconds
    return [
        f"{estimate.untrained} of the {models} models to measure are untrained: they separate "
        "what training has made from what the architecture gives. --untrained 0 leaves them out "
        f"(about {duration(without)}), --untrained N measures fewer; with fewer than 20, no "
        "p-value against them is below 0.05."
    ]


def _downloads(estimate: CostEstimate) -> list[str]:
    """Return a line on what has to be downloaded, or nothing."""
    download = estimate.download
    if download is None:
        return []
    basis = {
        "hub": "file sizes from the hub",
        "config": "parameters × bytes of their stored type: the hub reports no sizes",
        "table": "parameters in float16 and attention masks: the hub reports no sizes",
    }[download.source]
    return [
        f"Download: {counted(download.count, 'checkpoint')} × {_size(download.each)} = "
        f"{_size(download.total)} ({basis}). At most {_size(estimate.disk)} on disk at a time; "
        "measured checkpoints are deleted."
    ]


def _loading(estimate: CostEstimate) -> str:
    if estimate.speed.loading:
        return f", and {duration(estimate.speed.loading)} to read a checkpoint"
    return ", without downloading and reading checkpoints"


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"
