"""What workers hold in memory: none of the libraries that they do not use."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.contenders import ROOT
from benchmarks.memory import PRELOADED, peak
from cntbench.cli.options import MEASURING

#: What neither the engine, nor reading a model and writing its checkpoint file, needs.
UNUSED = {
    *("IPython", "accelerate", "dask.array", "distributed", "jax", "matplotlib", "mpmath"),
    *("networkx", "numba", "plotly", "scipy", "sklearn", "sympy", "tensorflow", "torchvision"),
    *("torch._dynamo", "torch._inductor", "torch.distributed.tensor"),
    *("transformers.modeling_utils", "transformers.generation.utils"),
}
#: What of these the comparison with transformers' own models imports, and null models.
OF_OTHER_WORK = {
    *("accelerate", "mpmath", "networkx", "scipy", "sympy"),
    *("torch._dynamo", "torch._inductor", "torch.distributed.tensor"),
    *("transformers.modeling_utils", "transformers.generation.utils"),
}


def imported(*modules: str, then: str = "") -> set[str]:
    """Return what is imported in a process that imports modules and then runs some code."""
    imports = "".join(f"import {module}\n" for module in modules)
    code = f"{imports}{then}\nimport sys\nprint(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    process = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(process.stdout.split())


def test_a_worker_of_the_engine_imports_no_library_that_it_does_not_use():
    engine = "from benchmarks.contenders import contender; contender('engine', 'tiny', 0, 1)()"
    modules = imported(*PRELOADED, then=engine)
    assert {"torch", "xarray", "transformers", "cntbench.engine.sweep"} <= modules
    assert not modules & UNUSED


def test_workers_of_a_run_import_no_library_that_they_do_not_use():
    modules = imported(*MEASURING, "cntbench.parallel._gc_freeze")
    assert modules >= {"torch", "xarray", "transformers.modeling_utils", "cntbench.runs.run"}
    assert not modules & (UNUSED - OF_OTHER_WORK)


def test_the_memory_of_a_race_is_that_of_its_processes():
    # No measurement is below the libraries' own memory, and nothing is counted twice.
    engine = peak("tiny", "engine", workers=1)
    assert 50 < engine < 1500
