"""A pytest plug-in that runs the checks of the shipped plug-ins on users' plug-ins.

``pytest -p cntbench.testing --cntbench-specs my-specs`` runs the common checks of cntbench on the
plug-ins and specs of a folder. It needs pytest and hypothesis.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from cntbench.errors import CntbenchError
from cntbench.plugins import ROOMS, Plugin, room
from cntbench.plugins.folders import SUBFOLDERS, folders_in_use, using

#: The file of checks for the files of each sub-folder.
CHECKS = {
    "property/test_common_file_checks.py": tuple(SUBFOLDERS.values()),
    "property/test_generators.py": ("generators",),
    "property/test_common_readout_checks.py": ("readouts",),
    "property/test_common_ablation_checks.py": ("replacements", "measures", "ablations"),
    "property/test_common_estimator_checks.py": ("estimators",),
    "unit/test_measures.py": ("measures",),
    "property/test_common_metric_checks.py": ("metrics",),
    "property/test_backbones.py": ("backbones",),
    "property/test_common_null_checks.py": ("nulls",),
    "unit/test_statistics.py": ("statistics", "claims"),
}

_folders: list[Path] = []


def folders_under_test() -> tuple[Path, ...]:
    """Return the users' folders that are checked; without any, what is shipped is checked."""
    return tuple(_folders)


def is_under_test(path: Path) -> bool:
    """Return whether the plug-in or spec of a file is checked."""
    return not _folders or any(folder in path.parents for folder in _folders)


def under_test(kind: str) -> dict[str, Plugin]:
    """Return the plug-ins of a kind, a key of `cntbench.plugins.ROOMS`, that are checked."""
    return {name: p for name, p in room(kind).items() if is_under_test(p.path)}


def files_under_test() -> list[tuple[str, str]]:
    """Return kind and name of every file that is checked, whether it can be loaded or not."""
    if not _folders:
        return [(kind, name) for kind in ROOMS for name in room(kind)]
    tested = [folder for folder in folders_in_use() if folder.path in _folders]
    return [
        (kind, stem)
        for kind, (place, _) in ROOMS.items()
        for folder in tested
        for stem in folder.stems(place)
    ]


def checks_folder() -> Path:
    """Return the folder of the checks, in the installed package or in a checkout."""
    package = Path(__file__).parent
    installed = package / "checks"
    return installed if installed.is_dir() else package.parent / "tests"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--cntbench-specs``."""
    parser.getgroup("cntbench").addoption(
        "--cntbench-specs",
        action="append",
        default=[],
        metavar="FOLDER",
        help="Run cntbench's common checks on the plug-ins of a folder; may be repeated.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Use the folders, and collect the checks of their files."""
    chosen = [Path(folder) for folder in config.getoption("--cntbench-specs")]
    if not chosen:
        return
    if importlib.util.find_spec("hypothesis") is None:
        raise pytest.UsageError("the checks of cntbench need hypothesis: pip install hypothesis")
    stack = ExitStack()
    config.add_cleanup(stack.close)
    try:
        stack.enter_context(using(chosen))
        _folders[:] = chosen
        stack.callback(_folders.clear)
    except CntbenchError as error:
        raise pytest.UsageError(str(error)) from None
    _settle()
    checks = checks_folder()
    sys.path.insert(0, str(checks))
    stack.callback(sys.path.remove, str(checks))
    if not hasattr(config, "workerinput"):  # xdist hands the arguments on
        files = [str(checks / name) for name, at in CHECKS.items() if _holds(chosen, at)]
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        config.args[:] = [*(config.args if named else ()), *files]


def _settle() -> None:
    """Compute on one thread, and let hypothesis take its time."""
    import torch  # noqa: F401  so that its threads are set
    from hypothesis import HealthCheck, settings

    from cntbench.parallel.processes import use_one_thread

    use_one_thread()
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "cntbench", deadline=None, print_blob=True, suppress_health_check=slow
    )
    settings.load_profile("cntbench")


def _holds(folders: Sequence[Path], names: tuple[str, ...]) -> bool:
    return any(
        next((folder / name).glob(pattern), None)
        for folder in folders
        for name in names
        for pattern in ("*.py", "*.toml")
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect checks of anything that is not in the folders."""
    if not _folders:
        return
    at = checks_folder()
    kept = [item for item in items if at not in item.path.parents or _is_about_them(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


#: Parameters of checks that are plug-ins or specs, or their names.
_SUBJECTS = ("plugin", "name", "names", "measure", "entry", "statistic", "file")


def _is_about_them(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    values = [parameters[key] for key in _SUBJECTS if key in parameters]
    return any(
        not isinstance(value, FunctionType | ModuleType) and type(value).__name__ != "NotSetType"
        for value in values
    )
