"""Export a planted circuit: a transformers checkpoint, its true edges and its prompts.

The folder holds ``config.json`` and ``model.safetensors``, which
``AutoModelForCausalLM.from_pretrained`` opens; ``TASK.jsonl`` for each task of the circuit, one
prompt per row as token ids, because the model has no tokenizer; and ``truth.json``, which is
written last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch

from cntbench.errors import CntbenchError, StorageError, in_file, unknown
from cntbench.exchange.eap_graph import eap_name
from cntbench.files.attributes import __version__
from cntbench.files.output import check_folder, is_folder
from cntbench.files.parsing import parse_json
from cntbench.models import named_weights
from cntbench.models.planted.circuit import Circuit
from cntbench.models.planted.spec import Difficulty
from cntbench.prompts import Language, Prompts, Tokens, lengths
from cntbench.results.storage import make_folder, write_atomically, write_text
from cntbench.runs.catalogue import KnownCircuit

#: The file with the truth, and what its key ``format`` says.
TRUTH: Final = "truth.json"
FORMAT: Final = "cntbench.truth"
#: Which edges are true, by purpose.
PURPOSES: Final = {
    "direct": "edges over which the source reaches the target itself",
    "total": "pairs where the source reaches the target, over other components too",
    "readout": "direct edges that lead on to the unembedding",
}


def save_circuit(
    known: KnownCircuit,
    folder: Path,
    *,
    difficulty: Difficulty | None = None,
    seed: int = 0,
    prompts: int = 64,
    force: bool = False,
) -> dict[str, Any]:
    """Write a circuit's model, prompts and true edges.

    Parameters
    ----------
    folder
        New, empty, or a folder with a circuit, which is replaced; any other only with ``force``.
    difficulty, seed
        Which of the circuit's models; by default that of its first difficulty. For a circuit with
        dynamics, the model at the end of training.
    prompts
        Number of prompts of each task; the first are those of ``cntbench compare``.

    Returns
    -------
    dict
        The content of ``truth.json``.

    Raises
    ------
    CntbenchError
        If the folder holds something else or cannot be written, or a task does not fit the model.
    """
    _check_folder(folder, force=force)
    circuit = known.circuit
    difficulty = difficulty or circuit.difficulties[0]
    if difficulty not in circuit.difficulties:
        where = f"planted circuit {circuit.name}"
        raise unknown("difficulty", difficulty, circuit.difficulties, where=where)
    config, tensors = circuit.build(difficulty, seed)
    size = circuit.spec.vocabulary
    language = Language(np.arange(size), size=size, context=circuit.spec.context)
    rows = {}
    for task in known.tasks:
        with in_file(f"task {task.name!r}"):
            rows[task.name] = prompt_rows(task.prompts(language, count=prompts, seed=0))
    truth = {
        **truth_of(circuit, seed),
        "difficulty": difficulty,
        "seed": seed,
        "revision": named_weights.revision(tensors),
        "prompts": {name: f"{name}.jsonl" for name in rows},
    }
    make_folder(folder)
    write_atomically(folder / "config.json", config.to_json_file)
    weights = safetensors.torch.save(tensors, {"format": "pt"})
    write_atomically(folder / "model.safetensors", lambda path: path.write_bytes(weights))
    for name, lines in rows.items():
        write_text(folder / f"{name}.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    write_text(folder / TRUTH, json.dumps(truth, indent=1) + "\n")
    return truth


def truth_of(circuit: Circuit, seed: int = 0) -> dict[str, Any]:
    """Return the true edges of a circuit as plain data.

    ``edges`` lists every edge that is true for some purpose, with its ``strength`` if the
    construction determines one (`Circuit.strengths`), else None.
    """
    truth, strengths = circuit.truth(), circuit.strengths(seed)
    names = [component.name for component in circuit.components]
    true_edges = {purpose: getattr(truth, purpose) for purpose in PURPOSES}
    edges = [
        {
            "source": names[source],
            "target": names[target],
            "purposes": [name for name, edges in true_edges.items() if edges[source, target]],
            "strength": strengths.get((names[source], names[target]))
            if truth.direct[source, target]
            else None,
        }
        for source, target in np.argwhere(np.any(list(true_edges.values()), axis=0))
    ]
    return {
        "format": FORMAT,
        "version": 1,
        "cntbench": __version__,
        "circuit": circuit.name,
        "circuit_version": circuit.spec.version,
        "summary": circuit.spec.summary,
        "components": {c.name: eap_name(c) for c in circuit.components},
        "feasible_edges": int(truth.feasible.sum()),
        "readout": list(circuit.blueprint.readout),
        "purposes": dict(PURPOSES),
        "edges": edges,
    }


def prompt_rows(prompts: Prompts) -> list[dict[str, Any]]:
    """Return prompts as rows of a file of prompts; see `cntbench.prompts.columns`.

    Sets of answers stand in rows without ``scored``, which have one answer, at the last position.
    Raises a `CntbenchError` for other sets, and for answers whose tokens are summed.
    """
    sets, counts = prompts.targets.ndim == 3, lengths(prompts.scored)
    last = prompts.scored[:, 0] == lengths(prompts.tokens) - 1
    if prompts.summed is not None or (sets and not (last & (counts == 1)).all()):
        raise CntbenchError(
            "its prompts have several scored positions for one answer, or sets of answers before "
            "the last position, which a file of prompts does not hold",
            hint="Score the last position, or one token at each of several.",
        )
    rows = []
    for i, scored in enumerate(counts):
        row = {"clean": _unpadded(prompts.tokens[i])}
        if prompts.reference is not None:
            row["corrupted"] = _unpadded(prompts.reference[i])
        if sets:
            row["answer"] = [[token] for token in _unpadded(prompts.targets[i, 0])]
            row["wrong"] = [[token] for token in _unpadded(prompts.decoys[i, 0])]
        else:
            row["scored"] = prompts.scored[i, :scored].tolist()
            row["answer"] = prompts.targets[i, :scored].tolist()
            row["wrong"] = prompts.decoys[i, :scored].tolist()
        rows.append(row)
    return rows


def _unpadded(tokens: Tokens) -> list[Any]:
    return tokens[: lengths(tokens)].tolist()


def _check_folder(folder: Path, *, force: bool) -> None:
    """Raise an error if a folder holds anything other than a circuit."""
    check_folder(folder)
    if force or not is_folder(folder) or not any(folder.iterdir()):
        return
    try:
        truth = parse_json((folder / TRUTH).read_bytes())
        is_circuit = truth["format"] == FORMAT
    except (OSError, ValueError, TypeError, KeyError):
        is_circuit = False
    if not is_circuit:
        raise StorageError(
            f"is not empty and holds no circuit: there is no {TRUTH} of cntbench",
            where=str(folder),
            hint="Name another folder, or write into it with --force (in Python, force=True).",
        )
