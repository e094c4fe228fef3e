"""Graphs of EAP as a result: one task, one ablation, a checkpoint for each file.

The scores of a source's edges into q, k and v of a head are summed to the ``edge_effect`` on that
head (exact to first order, as the scores of EAP are; sums of exact scores leave out what q, k and v
do together), and ``influence`` is its absolute value, as for every ablation that observes the
readout. Edges into the logits are ``readout_effect``: what reaches the unembedding over the one
edge. Edges from the input have no place in the schema. All edges stand as they were in the group
``eap``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.analysis.derived import NullDraws, derived
from cntbench.analysis.verdicts import verdicts
from cntbench.components import feasible
from cntbench.dynamics.claim import Claim
from cntbench.engine.influence import Influence
from cntbench.errors import CheckpointError, CntbenchError, warn
from cntbench.exchange.eap_graph import GROUP, EapGraph, read_eap_graph
from cntbench.files.attributes import __version__
from cntbench.files.output import file_exists, folder_exists, user_path
from cntbench.models.origin import Folder
from cntbench.models.steps import named_step, step_number, tells_step
from cntbench.models.trajectory import Checkpoint
from cntbench.parallel import Progress
from cntbench.readouts import known_readouts, measured
from cntbench.results.film import CONVENTIONS, Axes, checkpoint_dataset, film
from cntbench.results.tree import result_tree


@dataclass(frozen=True)
class Labels:
    """What files do not record.

    Parameters
    ----------
    task, ablation
        What they are called in the result.
    readout
        The metric that the scores are changes of.
    negate
        Whether it was a loss, the negative of the readout.
    circuit
        Whether edges that are not in the circuit count as 0.
    """

    task: str = "imported"
    ablation: str = "eap"
    readout: str = "logit_difference"
    negate: bool = False
    circuit: bool = False


def read_graphs(names: Sequence[str]) -> dict[int, EapGraph]:
    """Read files by ascending training step.

    Parameters
    ----------
    names
        ``FILE@STEP``, or ``FILE`` whose name has its step (``step1000.json``,
        ``ioi-checkpoint-1000.json``, ``1000.json``); a single file without a step is at step 0.

    Raises
    ------
    CntbenchError
        If a file cannot be read, has no step or that of another, or is of a model of another shape.
    """
    graphs: dict[int, EapGraph] = {}
    for name in names:
        path, step = _place(name, only_file=len(names) == 1)
        graph = read_eap_graph(path)
        first = next(iter(graphs.values()), graph)
        if graph.shape != first.shape:
            raise CntbenchError(
                f"is of {graph.shape}, and {first.path} of {first.shape}",
                where=f"{path}: cfg",
                hint="Import graphs of one model together; others into files of their own.",
            )
        if step in graphs:
            raise CntbenchError(
                f"has step {step}, as {graphs[step].path} has",
                where=str(path),
                hint="Say the step of each file: FILE@STEP.",
            )
        graphs[step] = graph
    return dict(sorted(graphs.items()))


def import_graphs(
    graphs: Mapping[int, EapGraph],
    labels: Labels,
    claims: Sequence[Claim],
    *,
    draws: int,
    jobs: int,
    progress: Progress,
) -> xr.DataTree:
    """Return graphs as a result with all its groups, but without untrained models.

    Parameters
    ----------
    graphs
        By ascending training step.
    claims
        Tested on the result, if there are draws.
    draws
        Number of draws from each null model.
    jobs, progress
        As `cntbench.runs.run.run` takes them.
    """
    for line in monotonies(graphs, circuit=labels.circuit):
        warn(line)
    parts = [
        checkpoint_dataset(
            # The file does not identify the weights; its own hash distinguishes checkpoints.
            Checkpoint(f"step{step}", step, graph.sha256, Folder(graph.path.parent)),
            Axes(graph.components, [labels.task], [labels.ablation], measured([labels.readout])),
            [_influence(graph, labels)],
        )
        for step, graph in graphs.items()
    ]
    root = film(parts, _attributes(graphs, labels))
    null_draws = NullDraws(0, draws, jobs, progress)
    groups = {**derived(root, None, null_draws), GROUP: _edges(graphs)}
    if claims and draws:
        groups |= verdicts(root, None, claims, null_draws)
    return result_tree({"/": root, **groups})


def monotonies(graphs: Mapping[int, EapGraph], *, circuit: bool) -> list[str]:
    """Return a line for what is the same throughout a graph, or all, as measurements never are.

    With ``circuit``, scores of edges that are not in the circuit count as 0.
    """
    outside = " (edges outside of the circuit count as 0)" if circuit else ""
    lines = [
        f"{graph.path}: every edge between components has the score {score:g}{outside}"
        for graph in graphs.values()
        if (score := (graph.only_circuit() if circuit else graph).flat) is not None
    ]
    first, *others = graphs.values()
    if others and all(graph.edges == first.edges for graph in others):
        lines.append(f"{first.path} and all other files have the same scores")
    return lines


def described(graphs: Mapping[int, EapGraph]) -> str:
    """Describe what was read, how it is used, and what has no place in a film."""
    lines = [
        f"step {step}: {graph.path.name}, {len(graph.edges)} edges, "
        f"{sum(edge.in_graph for edge in graph.edges.values())} of them in the circuit"
        + (f"; {graph.unnamed} more of the architecture not named: 0" if graph.unnamed else "")
        for step, graph in graphs.items()
    ]
    first = next(iter(graphs.values()))
    left_out = sum(e.source is None for graph in graphs.values() for e in graph.edges.values())
    return "\n".join(
        [
            *lines,
            f"{first.shape}; scores into q, k and v of a head are summed.",
            f"{left_out} edges from the input have no place in the film. The group {GROUP!r} keeps "
            "every edge as it was.",
        ]
    )


def _place(name: str, *, only_file: bool) -> tuple[Path, int]:
    """Return the file and the step that are meant."""
    match = re.fullmatch(r"(.+)@(\d+)", name)
    path = user_path(name)
    if match and not (file_exists(name) or folder_exists(name)):
        return user_path(match[1]), step_number(match[2], where=name)
    if only_file and not tells_step(path.stem):
        return path, 0
    hint = f"Add it to the name: {name}@1000."
    try:
        named = named_step(path.stem, where=name)
    except CheckpointError as error:
        raise CntbenchError(error.what, where=name, hint=hint) from None
    if named is None:
        raise CntbenchError("has no training step in its name", where=name, hint=hint)
    return path, named.step


def _influence(graph: EapGraph, labels: Labels) -> Influence:
    """Return the numbers of one file, NaN where it has none."""
    n, k = len(graph.components), len(known_readouts())
    graph = graph.only_circuit() if labels.circuit else graph
    sign = -1.0 if labels.negate else 1.0
    effect = sign * graph.edge_effect()[None]
    readout_effect = np.full((1, k, n), np.nan)
    readout_effect[0, known_readouts().index(labels.readout)] = sign * graph.logit_effect()
    unknown = np.full((1, n, n), np.nan)
    return Influence(
        influence=np.abs(effect),
        influence_se=unknown,
        readout_value=np.full(k, np.nan),
        readout_se=np.full(k, np.nan),
        readout_effect=readout_effect,
        readout_effect_se=np.full((1, k, n), np.nan),
        edge_effect=effect,
        edge_effect_se=unknown,
        prefix_matching=np.full(n, np.nan),
        previous_token=np.full(n, np.nan),
        duplicate_token=np.full(n, np.nan),
        positional=np.full(n, np.nan),
    )


def _attributes(graphs: Mapping[int, EapGraph], labels: Labels) -> dict[str, Any]:
    """Return the attributes that say where the result comes from."""
    first = next(iter(graphs.values()))
    spec = {
        "files": {f"step{step}": graph.sha256 for step, graph in graphs.items()},
        "task": labels.task,
        "ablation": labels.ablation,
        "readout": labels.readout,
        "negate": labels.negate,
        "circuit": labels.circuit,
    }
    text = json.dumps(spec, sort_keys=True)
    return {
        "source": "EAP graphs: " + ", ".join(graph.path.name for graph in graphs.values()),
        "history": "cntbench import",
        "study": "import",
        "import_spec": text,
        "spec_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": 0,
        "dtype": "float32",
        "feasible_edges": int(feasible(first.components).sum()),
        "library_versions": json.dumps({"cntbench": __version__}),
        "sign_convention": f"{CONVENTIONS['sign_convention']}; scores of the imported files are "
        + ("the negative of that and were turned" if labels.negate else "taken to be that already"),
        "normalisation": "edge_effect is the sum of the imported scores of an edge's q, k and v, "
        "influence its absolute value; 0 where a feasible edge is not named"
        + (" or not in the circuit" if labels.circuit else ""),
        "revisions": "SHA-256 of the imported files, not of weights",
    }


def _edges(graphs: Mapping[int, EapGraph]) -> xr.Dataset:
    """Return every edge as it was in the files, dims ``checkpoint, edge``."""
    names = list(dict.fromkeys(name for graph in graphs.values() for name in graph.edges))
    where = {name: i for i, name in enumerate(names)}
    score = np.full((len(graphs), len(names)), np.nan)
    in_graph = np.zeros((len(graphs), len(names)), dtype=np.int8)
    for i, graph in enumerate(graphs.values()):
        for name, edge in graph.edges.items():
            score[i, where[name]] = edge.score
            in_graph[i, where[name]] = edge.in_graph
    dims = ("checkpoint", "edge")
    return xr.Dataset(
        {
            "score": (
                dims,
                score,
                {"long_name": "score in the file; NaN where it does not name the edge"},
            ),
            "in_graph": (dims, in_graph, {"long_name": "1 where the circuit has the edge, else 0"}),
        },
        coords={"edge": ("edge", names, {"long_name": "edge, as the files name it"})},
    )
