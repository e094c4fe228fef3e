"""Known circuits for the authors of other tools: ``save_planted`` and ``score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from numpy.typing import ArrayLike

from cntbench.errors import CntbenchError
from cntbench.exchange.known_circuits import save_circuit
from cntbench.exchange.scores import candidate_array, score_files, scored
from cntbench.files.output import Folders, path_tuple
from cntbench.models.planted.spec import Difficulty
from cntbench.plugins.folders import with_specs
from cntbench.runs.arguments import checked_arguments
from cntbench.runs.catalogue import load_catalogue


@checked_arguments
@with_specs
def save_planted(
    name: str,
    folder: str | Path,
    *,
    difficulty: Difficulty | None = None,
    seed: int = 0,
    prompts: int = 64,
    specs: Folders = (),
    force: bool = False,
) -> dict[str, Any]:
    """Write a planted circuit's model for transformers, its true edges, and its prompts.

    Parameters
    ----------
    name
        A planted circuit; ``cntbench list planted`` lists them.
    folder
        New, empty, or a folder with a circuit, which is replaced; any other only with ``force``.
        ``AutoModelForCausalLM.from_pretrained`` opens it.
    difficulty, seed
        ``"exact"`` (the default) or ``"realistic"``, or ``"trained"`` for a trained circuit; the
        seed of whatever the circuit does not fix.
    prompts
        Number of prompts of each task, at least 2: rows of ``TASK.jsonl``, as token ids.
    specs
        Folders of your own specs, in addition to the shipped ones.
    force
        Whether to write into a folder that holds something else.

    Returns
    -------
    dict
        The truth, as in ``truth.json``: ``edges``, each with its purposes and strength.

    Raises
    ------
    CntbenchError
        If there is no such circuit, or the folder cannot be written.
    """
    where = "cntbench.save_planted"
    for key, value, least in (("seed", seed, 0), ("prompts", prompts, 2)):
        if type(value) is not int or value < least:
            raise CntbenchError(
                f"{key} = {value!r} is not allowed",
                where=where,
                hint=f"Allowed: a whole number, at least {least}.",
            )
    (known,) = load_catalogue(path_tuple(specs)).known_circuits([name])
    return save_circuit(
        known, *path_tuple(folder), difficulty=difficulty, seed=seed, prompts=prompts, force=force
    )


@checked_arguments
@with_specs
def score(
    graphs: str | Path | Sequence[str | Path] | Mapping[str, ArrayLike],
    on: str,
    *,
    circuit: bool = False,
    specs: Folders = (),
) -> xr.Dataset:
    """Score graphs of other tools on a circuit whose edges are known.

    Parameters
    ----------
    graphs
        Files of EAP-IG or MIB. Or arrays of scores by label, dims ``source, target``, with
        components in causal order (``components`` of ``truth.json``).
    on
        The planted circuit whose model was analysed.
    circuit
        Whether scores of edges outside a graph's circuit count as 0; for files only.
    specs
        Folders of your own specs, in addition to the shipped ones.

    Returns
    -------
    xarray.Dataset
        Dims ``graph, purpose``: AUROC, average precision, average precision of random scores, and
        precision at k, where k is the number of true edges. Purposes are ``direct`` edges,
        ``total`` influence, and edges that lead to the ``readout``.

    Raises
    ------
    CntbenchError
        If the circuit does not exist, or a graph does not fit its model.
    """
    (known,) = load_catalogue(path_tuple(specs)).known_circuits([on])
    if isinstance(graphs, Mapping):
        candidates = {
            str(label): candidate_array(array, known.circuit, f"graphs[{label!r}]")
            for label, array in graphs.items()
        }
        return scored(candidates, known.circuit)
    return score_files(path_tuple(graphs), known.circuit, in_graph=circuit)
