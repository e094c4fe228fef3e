"""Time and memory of the export of a large film, which is written edge by edge.

The opponent builds the same elements with ElementTree and writes them at the end.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from benchmarks.resident import peak
from benchmarks.timing import ratio, turns
from cntbench.exchange.export import export
from cntbench.results.storage import write_results

#: Dynamic attributes of edges.
VARIABLES = ("influence", "influence_se", "edge_effect")


def film(layers: int, checkpoints: int) -> xr.DataTree:
    """Return a film of nine heads and an MLP in each layer."""
    names = [f"step{8 * i}" for i in range(checkpoints)]
    return xr.DataTree(random_film(names=names, ablations=("zero",), layers=layers, heads=9))


def opponent(tree: xr.DataTree, path: Path) -> None:
    """Write the film's edges with one element per value."""
    cell = tree.to_dataset(inherit=False).isel(task=0, ablation=0)
    root = ElementTree.Element("gexf")
    edges = ElementTree.SubElement(ElementTree.SubElement(root, "graph"), "edges")
    starts = [str(step) for step in cell["step"].values]
    numbers = {name: cell[name].transpose("source", "target", ...).values for name in VARIABLES}
    names = cell["source"].values
    for i, j in zip(*np.nonzero(~np.isnan(numbers["influence"]).all(axis=-1)), strict=True):
        edge = ElementTree.SubElement(edges, "edge", source=names[i], target=names[j])
        values = ElementTree.SubElement(edge, "attvalues")
        for name, number in numbers.items():
            for start, value in zip(starts, number[i, j].tolist(), strict=True):
                attributes = {"for": name, "value": str(value), "start": start}
                ElementTree.SubElement(values, "attvalue", attributes)
    ElementTree.ElementTree(root).write(path)


def test_a_film_for_gephi_is_written_fast_and_in_little_memory(tmp_path, record_property):
    tree = film(layers=6, checkpoints=16)
    ours, theirs = tmp_path / "film.gexf", tmp_path / "opponent.gexf"

    def write():
        export(tree, ours, None, force=True)

    write()
    contenders = {"ours": write, "opponent": lambda: opponent(tree, theirs)}
    seconds = turns(contenders, rounds=3, clock=time.process_time, least=2.8)
    faster = ratio(seconds["ours"], seconds["opponent"])
    tracemalloc.start()
    try:
        write()
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    record_property("race", f"GEXF: {faster:.1f} times as fast as ElementTree")
    assert theirs.read_text().count('for="influence"') == ours.read_text().count('for="weight"') > 0
    assert faster >= 2.8
    assert memory < ours.stat().st_size / 10


def test_the_film_of_a_large_model_takes_less_than_a_gigabyte(full, tmp_path, record_property):
    if not full:
        pytest.skip("the full mode only: pytest benchmarks/ --full")
    # The sizes of SmolLM2-135M at the checkpoints of Pythia.
    write_results(film(layers=30, checkpoints=143), tmp_path / "r.nc")
    command = ["export", str(tmp_path / "r.nc"), "-o", str(tmp_path / "film.gexf")]
    usage = peak([sys.executable, "-c", "from cntbench.cli.main import main; main()", *command])
    record_property("race", f"GEXF of 300 components × 143 checkpoints: {usage.total:.0f} MiB")
    assert usage.code == 0
    assert usage.total < 1e9 / 2**20
