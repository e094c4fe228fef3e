"""Time and memory of the export of a large film, which is written edge by edge."""

from __future__ import annotations

import resource
import sys
from typing import NamedTuple

import xarray as xr
from support.films import random_film

from benchmarks.resident import peak
from cntbench.results.storage import write_results


class Size(NamedTuple):
    """A film, and the limits of its export to GEXF: memory [MiB] and processor time [s]."""

    layers: int
    heads: int
    checkpoints: int
    memory: float
    seconds: float


QUICK = Size(layers=10, heads=9, checkpoints=36, memory=450, seconds=12)
#: The sizes of SmolLM2-135M at the checkpoints of Pythia.
FULL = Size(layers=30, heads=9, checkpoints=143, memory=1e9 / 2**20, seconds=40)


def test_a_large_film_for_gephi_takes_little_memory(full, tmp_path, record_property):
    size = FULL if full else QUICK
    film = random_film(
        names=[f"step{8 * i}" for i in range(size.checkpoints)],
        ablations=("zero",),
        layers=size.layers,
        heads=size.heads,
    )
    write_results(xr.DataTree(film), tmp_path / "r.nc")
    del film
    export = ["export", str(tmp_path / "r.nc"), "-o", str(tmp_path / "film.gexf")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage = peak([sys.executable, "-c", "from cntbench.cli.main import main; main()", *export])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    dims = f"{size.layers * (size.heads + 1)} components × {size.checkpoints} checkpoints"
    record_property("race", f"GEXF of {dims}: {seconds:.1f} s, {usage.total:.0f} MiB")
    assert usage.code == 0
    assert usage.total < size.memory
    assert seconds < size.seconds
