"""Makes ready what every worker needs, in the server that forks workers, which imports this last.

Libraries do some work when they are first used: xarray looks for the arrays that it can hold, and
transformers compiles some thousand regular expressions. Each worker would repeat that, which takes
longer than measuring a small model. Dask's arrays are hidden from xarray: workers hold none, and
importing them takes 15 MiB.

All existing objects are then exempt from garbage collection. Otherwise, garbage collection in a
worker would write to the memory pages of all imported objects, and each worker would get its own
copy of them.
"""

import gc
import sys
from contextlib import suppress

try:
    import netCDF4  # noqa: F401 - xarray imports it when the first file is written
    import xarray as xr

    is_hidden = sys.modules.setdefault("dask.array", None) is None  # type: ignore[arg-type]
    try:
        xr.Dataset({"x": ("x", [0.0])})
    finally:
        if is_hidden:
            del sys.modules["dask.array"]

    if "transformers.modeling_utils" in sys.modules:
        with suppress(ImportError):  # a function of transformers' own, which it may rename
            from transformers.conversion_mapping import get_checkpoint_conversion_mapping

            get_checkpoint_conversion_mapping("")
finally:  # the server ignores what cannot be imported; workers search for garbage all the same
    gc.freeze()
    gc.enable()
