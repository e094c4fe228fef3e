"""What a run would do, as a table and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cntbench.estimate.estimate import Estimate
from cntbench.models.trajectory import Checkpoint

#: Checkpoints whose steps are printed: the first ones, and the last.
_PRINTED = 6


def estimate_table(found: Estimate) -> RenderableType:
    """Return the costs of a checkpoint, task by task, and those of the run."""
    table = Table(
        title=f"One checkpoint of {escape(found.trajectory)}, by {len(found.ablations)} "
        f"ablations: {escape(', '.join(found.ablations))}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", no_wrap=True)
    for heading in ("prompts", "tokens", "scored", "layer-tokens", "GFLOP", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in found.tasks:
        table.add_row(
            escape(task.name),
            str(task.prompts),
            str(task.length),
            str(task.scored),
            f"{task.work.token_layers:,.0f}",
            f"{task.work.flops / 1e9:,.3g}",
            f"{task.memory / 2**20:,.0f}",
        )
    return Group(table, Text("\n".join(_lines(found))))


def steps_line(checkpoints: Sequence[Checkpoint]) -> Text:
    """Return which step was found in the name of each checkpoint, but for those amid many."""
    told = [f"{checkpoint.name} → {checkpoint.step}" for checkpoint in checkpoints]
    if len(told) > _PRINTED:
        told[_PRINTED - 1 : -1] = ["…"]
    return Text(f"Steps: {', '.join(told)}.")


def _lines(found: Estimate) -> list[str]:
    work, missing = found.work, found.missing
    return [
        f"Checkpoints: {found.checkpoints}, {found.done} of them measured before, "
        f"{missing} to measure. Untrained models to measure: {found.untrained}.",
        f"Tasks × ablations: {len(found.tasks)} × {len(found.ablations)} at each checkpoint, "
        f"{missing * len(found.tasks) * len(found.ablations)} cells to measure. "
        f"Components: {found.components}. Feasible edges: {found.edges}.",
        f"Work: {work.token_layers:,.0f} layer-tokens and {work.flops / 1e12:.3g} TFLOP of matrix "
        f"products per checkpoint; {missing * work.token_layers:,.0f} and "
        f"{missing * work.flops / 1e12:.3g} TFLOP in all."
        + (f" Each checkpoint in {found.blocks} blocks of sources." if found.blocks > 1 else ""),
        f"Memory: at most {_size(found.memory)} in each process, beside what the "
        f"libraries take; {_size(found.model)} of it are the model in {found.dtype}. "
        f"Processes: {found.jobs}.",
        *_downloads(found),
        f"Result: {_size(found.size)} of numbers, less when compressed; so much is kept "
        "twice, by checkpoint and together.",
        f"Time: about {_duration(found.seconds)}, an estimate: {found.jobs} × "
        f"{found.speed.flops / 1e9:.3g} GFLOP/s, which one thread did here just now on "
        f"{found.speed.of}{_loading(found)}. Processes that slow each other down, their start, the "
        "writing of files, metrics and null models come on top.",
    ]


def _downloads(found: Estimate) -> list[str]:
    """Say what is still to be had from the hub, if anything is."""
    download = found.download
    if download is None:
        return []
    known = {
        "hub": "as the hub lists its files",
        "config": "parameters × bytes of their stored type: the hub told no sizes",
        "table": "parameters in float16 and attention masks: the hub told no sizes",
    }[download.source]
    return [
        f"Download: {download.count} checkpoints × {_size(download.each)} = "
        f"{_size(download.total)} ({known}). On disk at most {_size(found.disk)} of them at a "
        "time; what is measured is deleted."
    ]


def _loading(found: Estimate) -> str:
    if found.speed.loading:
        return f", and {found.speed.loading * 1e3:.0f} ms to read a checkpoint"
    return "; to download and to read checkpoints is not in it"


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86400:,.0f} days"
