"""Diagnostics: does an ablation see what a special circuit contains, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from cntbench.files.attributes import described


@dataclass(frozen=True)
class Diagnostic:
    """One expectation of a circuit, and whether an ablation meets it.

    Parameters
    ----------
    value, threshold
        The number that decides it, and the threshold.
    what
        The expectation in words.
    """

    circuit: str
    ablation: str
    passed: bool
    value: float
    threshold: float
    what: str


def diagnostics(records: Iterable[Diagnostic]) -> xr.Dataset:
    """Summarise diagnostics.

    Returns
    -------
    xarray.Dataset
        Dims ``circuit, ablation``: ``passed`` (1 if every expectation of the circuit is met, else
        0; NaN if there is none), and ``value``, ``threshold`` and ``what`` of the first unmet
        expectation, or else of the first one.
    """
    cells: dict[tuple[str, str], Diagnostic] = {}
    for record in records:
        shown = cells.setdefault((record.circuit, record.ablation), record)
        if shown.passed and not record.passed:
            cells[record.circuit, record.ablation] = record
    circuits = list(dict.fromkeys(circuit for circuit, _ in cells))
    ablations = list(dict.fromkeys(ablation for _, ablation in cells))
    dims, shape = ("circuit", "ablation"), (len(circuits), len(ablations))
    labels = {"circuit": np.array(circuits, str), "ablation": np.array(ablations, str)}
    dataset = xr.Dataset(coords=labels)
    for name, document in (
        ("passed", "1 if the ablation meets every expectation of the circuit, else 0"),
        ("value", "the number behind the verdict"),
        ("threshold", "what the number is compared with"),
    ):
        attributes = described(name, document, "1")
        dataset[name] = (dims, np.full(shape, np.nan), attributes)
    # An empty array of objects would be written as one of numbers.
    texts = np.full(shape, "", dtype=object if cells else str)
    dataset["what"] = (dims, texts, {"long_name": "expectation"})
    for (circuit, ablation), record in cells.items():
        at = {"circuit": circuit, "ablation": ablation}
        for name in ("passed", "value", "threshold", "what"):
            dataset[name].loc[at] = getattr(record, name)
    return dataset
