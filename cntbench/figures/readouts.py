"""Readouts of the clean model over training on all tasks, with the phases of one task."""

from __future__ import annotations

from matplotlib.figure import Figure

from cntbench.figures import _phases
from cntbench.figures._results import Chosen, Results, cell_of, over_prompts, tree_of
from cntbench.figures._style import SINGLE, band, blank, colour, line, steps_below, styled
from cntbench.results import selection
from cntbench.runs.options import Names, name_tuple
from cntbench.views.metrics import phases as view_phases
from cntbench.views.missing import Missing
from cntbench.views.readouts import readouts as view
from cntbench.views.steps import step_axis


@styled
def readouts(
    results: Results,
    *,
    tasks: Names | None = None,
    task: str | None = None,
    ablation: str | None = None,
    width: float = SINGLE,
) -> Figure:
    """Draw the readouts of all tasks over training.

    Parameters
    ----------
    results
        A result.
    tasks
        Labels of tasks; by default, all.
    task, ablation
        Labels of the cell whose phases are shaded, if the result has the group ``phases``; by
        default, none.
    width
        Width of the figure [inch].

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each readout: means over prompts, with bands of one standard error. Where
        nothing was measured there are gaps.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree = tree_of(results, ("readout_value", "readout_se", "status"))
    behaviour = view(tree)
    root = tree.to_dataset(inherit=False)
    names = behaviour.task if tasks is None else name_tuple(tasks, "tasks")
    shown = [selection.index_of(root, "task", name) for name in names]
    axis = step_axis(behaviour.step)
    x = axis.place(behaviour.step)
    figure = blank(width, 0.5 + 1.35 * len(behaviour.readout) + 0.13 * (len(shown) // 3))
    panels = figure.subplots(len(behaviour.readout), 1, sharex=True, squeeze=False)[:, 0].tolist()
    for at, (readout, unit) in enumerate(zip(behaviour.readout, behaviour.unit, strict=True)):
        ax = panels[at]
        for column, number in enumerate(shown):
            value, error = behaviour.value[number, at], behaviour.error[number, at]
            looks = colour(column)
            name = behaviour.task[number]
            hue = looks["color"]
            band(ax, x, value - error, value + error, color=hue, alpha=0.25)
            line(ax, x, value, label=name, zorder=3 if name == task else 2, **looks)
        label = readout.replace("_", " ")
        ax.set_ylabel(label if unit == "1" else f"{label} [{unit}]")
    steps_below(panels[-1], axis, behaviour.step)
    note = f"lines: {over_prompts(tree)}; bands: ± 1 standard error"
    if task is not None or ablation is not None:
        cell = cell_of(tree, task, ablation)
        phases = view_phases(tree, *cell)
        if not isinstance(phases, Missing):
            if phases.count > 1:
                _phases.shade(panels, phases, axis, behaviour.step)
                _phases.name_above(panels[0], phases, axis, behaviour.step)
            note += f"\nphases of {', '.join(cell)}: {_phases.in_words(phases)}"
    handles, labels = panels[0].get_legend_handles_labels()
    entries = {label: handle for handle, label in zip(handles, labels, strict=True)}
    entries.pop("change point", None)
    columns = 2 if width < 5 else 4
    figure.legend(entries.values(), entries.keys(), loc="outside upper left", ncols=columns)
    figure.supxlabel(note, fontsize=6)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return readouts(results, **chosen.cell)
