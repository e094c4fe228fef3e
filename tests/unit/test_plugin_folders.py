"""Folders of plug-ins: what is loaded from where, what is broken, what two of a name are."""

from __future__ import annotations

import importlib.metadata
import pickle
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cntbench.analysis.reuse import made_of
from cntbench.errors import CntbenchError, CntbenchWarning, PluginError, SpecError
from cntbench.metrics.backbones._base import backbone
from cntbench.parallel.processes import _Numbered
from cntbench.plugins import discover, find, own_sources, room, usable
from cntbench.plugins import folders as plugin_folders
from cntbench.plugins.folders import PluginFolder, folders_in_use, using
from cntbench.readouts import STANDARD, known_readouts
from cntbench.runs.catalogue import load_catalogue

MEASURE = '"""One of mine."""\nRANGE = (0, {})\ndef measure(clean, ablated):\n    return {}\n'
SHIPPED = sorted(room("measure"))


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file of a folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_measure(folder: Path, name: str = "mine", value: object = 1) -> Path:
    """Write a measure, a plug-in that needs little."""
    return write(folder, f"measures/{name}.py", MEASURE.format(value, value))


def test_files_of_a_folder_are_plugins_while_it_is_in_use(tmp_path):
    path = write_measure(tmp_path)
    with using([tmp_path]):
        assert sorted(room("measure")) == sorted([*SHIPPED, "mine"])
        plugin = room("measure")["mine"]
        assert (plugin.path, plugin.summary) == (path, "One of mine.")
        assert plugin.module.RANGE[1] == 1
    assert sorted(room("measure")) == SHIPPED
    with pytest.raises(SpecError, match="unknown measure 'mine'"):
        find("measure", "mine")
    assert sorted(file.name for file in path.parent.iterdir()) == ["mine.py"], "no bytecode"


def test_the_environment_names_folders_too(tmp_path, monkeypatch):
    write_measure(tmp_path)
    monkeypatch.setenv(plugin_folders.SPECS_VARIABLE, str(tmp_path))
    assert "mine" in room("measure")
    with using([tmp_path]):  # named twice, it is one
        assert len(folders_in_use()) == 1


def test_a_readout_is_known_in_its_folder_only(tmp_path):
    text = '"""Mine."""\nUNIT, BETTER, READS = "nat", 1, ()\nvalue = reference = len\n'
    write(tmp_path, "readouts/mine.py", text)
    with using([tmp_path]):
        assert "mine" in known_readouts()[len(STANDARD) :]
    assert "mine" not in known_readouts()


def test_a_changed_file_is_loaded_anew_and_others_are_not_touched_by_it(tmp_path):
    write_measure(tmp_path, value=1)
    with using([tmp_path]):
        write_measure(tmp_path, value=2)
        assert find("measure", "mine").RANGE[1] == 1, "as it was when it was taken into use"
    with using([tmp_path]):
        assert find("measure", "mine").RANGE[1] == 2


def test_two_threads_may_use_two_folders(tmp_path):
    for value in (1, 2):
        write_measure(tmp_path / str(value), value=value)
    both, outcomes = threading.Barrier(2), {}

    def measure(value):
        with using([tmp_path / str(value)]):
            both.wait()
            outcomes[value] = find("measure", "mine").RANGE[1]
            both.wait()

    threads = [threading.Thread(target=measure, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {1: 1, 2: 2}


BROKEN = {
    "def measure(:\n": ("SyntaxError: ", 2),
    "import no_such_package\n": ("ModuleNotFoundError: No module named 'no_such_package'", 2),
    "\nx = nothing\n": ("NameError: name 'nothing' is not defined", 3),
    "raise SystemExit(3)\n": ("SystemExit: 3", 2),
    "measure = len\n": ("lacks RANGE", None),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_file_stops_what_uses_it_and_nothing_else(tmp_path, text, reason):
    what, line = reason
    path = write(tmp_path, "measures/mine.py", '"""Mine."""\n' + text)
    write_measure(tmp_path, "good")
    toml = 'version = 1\nsummary = "x"\nreplacement = "zero"\nmeasure = "{}"\n'
    write(tmp_path, "ablations/theirs.toml", toml.format("mine"))
    write(tmp_path, "ablations/whole.toml", toml.format("good"))
    study = 'version = 1\nsummary = "x"\ntrajectory = "nano"\ntasks = ["induction"]\n'
    write(tmp_path, "studies/with_it.toml", study + 'ablations = ["theirs"]\n')
    place = f"{path}, line {line}" if line else str(path)
    with using([tmp_path]):
        assert find("measure", "good").RANGE[1] == 1
        with pytest.raises(PluginError) as caught:
            find("measure", "mine", where="a.toml")
        assert str(caught.value).startswith(
            f"a.toml: measure: measure 'mine' cannot be used: {place}: {what}"
        )
        with pytest.warns(CntbenchWarning, match=r"mine\.py.*: left out: "):
            usable("measure")
        catalogue = load_catalogue([tmp_path])
        assert catalogue.ablations["whole"].spec.measure == "good"
        assert catalogue.study("nano").name == "nano"
        with pytest.raises(PluginError, match=r"study 'with_it' cannot be used: .*mine\.py"):
            catalogue.study("with_it")


def test_a_name_that_a_broken_file_may_define_is_answered_with_it(tmp_path):
    write(tmp_path, "measures/variants.py", "oops")
    with using([tmp_path]), pytest.raises(PluginError, match=r"unknown measure 'x': .*variants.py"):
        find("measure", "x")


def test_a_name_that_two_files_define_is_an_error_that_names_both(tmp_path):
    one, two = write_measure(tmp_path / "a"), write_measure(tmp_path / "b")
    with using([tmp_path / "a", tmp_path / "b"]):
        with pytest.raises(SpecError) as caught:
            room("measure")
        assert str(caught.value).startswith(f"{two}: defines mine, as {one} does")
        assert room("readout"), "others are not concerned"
    for text in (MEASURE.format(1, 1), "broken("):
        path = write(tmp_path / "c", "measures/cosine.py", text)
        with using([tmp_path / "c"]), pytest.raises(SpecError) as caught:
            room("measure")
        assert str(caught.value).startswith(f"{path}: defines cosine, as ")
        assert "cntbench/ablations/measures/cosine.py does" in str(caught.value)


def test_what_is_missing_or_misspelt(tmp_path):
    with (
        pytest.raises(SpecError, match="none: is not a folder of specs"),
        using([tmp_path / "none"]),
    ):
        pass
    write(tmp_path, "measure/mine.py", MEASURE.format(1, 1))
    warned = pytest.warns(CntbenchWarning, match="measure: its Python files .*mean 'measures'")
    with warned, using([tmp_path]):
        assert sorted(room("measure")) == SHIPPED


@pytest.mark.parametrize("mark", ["study.json", "results.nc", "golden.json"])
def test_code_is_never_loaded_from_results(tmp_path, mark):
    write_measure(tmp_path)
    write(tmp_path, mark, "{}")
    with pytest.raises(SpecError, match="from which code is never loaded"), using([tmp_path]):
        pass


SHARED = '"""Mine."""\nfrom ._shared import RANGE, measure\n'


def test_files_share_what_begins_with_an_underscore(tmp_path):
    write(tmp_path, "measures/mine.py", SHARED)
    shared = write(tmp_path, "measures/_shared.py", "from .._top import RANGE\nmeasure = len\n")
    write(tmp_path, "_top.py", "RANGE = (0, 1)\n")
    hashes = []
    for text in (None, "RANGE = (0, 2)\n"):
        if text:
            write(tmp_path, "_top.py", text)
        with using([tmp_path]):
            assert sorted(room("measure")) == sorted([*SHIPPED, "mine"])
            hashes.append(own_sources({"measure": ["mine", "cosine"]}))
    assert [list(result) for result in hashes] == [["measures/mine.py"]] * 2
    assert hashes[0] != hashes[1], "a changed file that it imports is another source"
    write_measure(tmp_path, "other")
    with using([tmp_path]):
        assert own_sources({"measure": ["mine"]}) == hashes[1], "a file beside it is not"
        assert own_sources({"measure": ["cosine"]}) == {}
    assert shared.is_file()


def test_what_is_reused_depends_on_the_files_of_its_rooms(tmp_path):
    before = made_of([], ["ablations"]), made_of([], ["metrics"])
    write_measure(tmp_path)
    with using([tmp_path]):
        assert made_of([], ["ablations"]) != before[0]
        assert made_of([], ["metrics"]) == before[1]
    write(tmp_path, "backbones/mine.py", '"""A rule that metrics select edges by."""\n')
    with using([tmp_path]):
        assert made_of([], ["metrics"]) != before[1]
    assert made_of([], ["ablations"]) == before[0]


def forget(monkeypatch):
    """Forget all that was loaded: what is unpickled then is as in another process."""
    monkeypatch.setattr(plugin_folders, "_FOLDERS", {})
    for name in [name for name in sys.modules if name.startswith(f"{plugin_folders.PACKAGE}.")]:
        del sys.modules[name]
    discover.cache_clear()


def test_another_process_unpickles_what_a_folder_defines_without_the_file(tmp_path, monkeypatch):
    path = write(tmp_path, "measures/mine.py", MEASURE.format(1, 1) + "class Thing: pass\n")
    with using([tmp_path]):
        thing = find("measure", "mine").Thing()
        pickled = pickle.dumps((folders_in_use(), thing))
    path.unlink()
    forget(monkeypatch)
    [folder], again = pickle.loads(pickled)
    assert type(again) is not type(thing)
    assert type(again).__qualname__ == "Thing"
    with plugin_folders.using_exactly((folder,)):
        assert find("measure", "mine").Thing is type(again)


@pytest.fixture
def announced(tmp_path, monkeypatch):
    """Announce modules as installed packages do."""

    def announce(*values: str) -> None:
        points = [
            SimpleNamespace(name=f"point{i}", value=value, dist=None)
            for i, value in enumerate(values)
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points)
        plugin_folders._of_packages.cache_clear()
        plugin_folders._of_environment.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield announce
    monkeypatch.undo()
    plugin_folders._of_packages.cache_clear()
    plugin_folders._of_environment.cache_clear()


def test_packages_announce_theirs(tmp_path, announced):
    write(tmp_path, "a_package/__init__.py", "")
    write(tmp_path, "a_package/common.py", "RANGE = (0, 3)\n")
    text = MEASURE.format(1, 1).replace("RANGE = (0, 1)", "from a_package.common import RANGE")
    path = write(tmp_path, "a_package/measures/mine.py", text)
    toml = 'version = 1\nsummary = "x"\nreplacement = "zero"\nmeasure = "mine"\n'
    write(tmp_path, "a_package/ablations/by_a_package.toml", toml)
    write(tmp_path, "a_package/not/a_spec.toml", toml)
    announced("a_package")
    assert room("measure")["mine"].path == path
    assert room("measure")["mine"].module.__name__ == "a_package.measures.mine"
    assert room("measure")["mine"].module.RANGE == (0, 3)
    assert load_catalogue().ablations["by_a_package"].spec.measure == "mine"
    assert list(own_sources({"measure": ["mine"]})) == ["measures/mine.py"]


def test_a_failure_in_a_package_s_file_is_told_with_its_line(tmp_path, announced):
    write(tmp_path, "b_package/__init__.py", "")
    path = write(tmp_path, "b_package/measures/mine.py", MEASURE.format(1, "0 / 0"))
    announced("b_package")
    with pytest.raises(ZeroDivisionError) as caught:
        room("measure")["mine"].module.measure((), ())
    error = plugin_folders.failure_in_plugin(caught.value)
    assert str(error) == f"{path}, line 4: ZeroDivisionError: division by zero"


def test_a_package_that_is_not_there_is_left_out(announced):
    announced("no_such_package", "json.decoder")
    with pytest.warns(CntbenchWarning, match="left out") as warned:
        assert sorted(room("measure")) == SHIPPED
    assert "there is no such module" in str(warned[0].message)
    assert "it is not a package" in str(warned[1].message)


@pytest.mark.parametrize("name", ["results.nc", "measures/folder.py/x"])
def test_a_package_whose_folder_cannot_be_used_is_left_out(tmp_path, announced, name):
    """It stops no command: nobody has named it."""
    write(tmp_path, "c_package/__init__.py", "")
    write(tmp_path, "c_package/measures/mine.py", MEASURE.format(1, 1))
    write(tmp_path, f"c_package/{name}", "")
    announced("c_package")
    with pytest.warns(CntbenchWarning, match="of a package are left out: point0 = ") as warnings:
        assert sorted(room("measure")) == SHIPPED
    assert str(tmp_path / "c_package") in str(warnings[0].message)


def test_hidden_files_are_no_plugins_and_no_specs(tmp_path):
    """Editors leave links that lead nowhere, other systems files of their own."""
    write(tmp_path, "measures/mine.py", MEASURE.format(1, 1))
    (tmp_path / "measures/.#mine.py").symlink_to("nowhere")
    write(tmp_path, "measures/._mine.py", "\0")
    write(tmp_path, ".ipynb_checkpoints/mine.toml", "")
    for folder in ("", "ablations", "backbones", "planted", "controls"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / ".#mine.toml").symlink_to("nowhere")
    with using([tmp_path]):
        assert sorted(room("measure")) == sorted([*SHIPPED, "mine"])
        assert not room("measure").broken
        catalogue = load_catalogue([tmp_path])
        assert backbone("top_k").name == "top_k"
    assert not any(getattr(catalogue, kind).broken for kind in ("tasks", "ablations", "planted"))


def test_an_error_in_a_plugin_is_told_from_a_defect(tmp_path):
    text = MEASURE.format(1, "clean / ablated")
    path = write(tmp_path, "measures/mine.py", text)
    with using([tmp_path]):
        with pytest.raises(ZeroDivisionError) as caught:
            find("measure", "mine").measure(1, 0)
        told = plugin_folders.failure_in_plugin(caught.value)
    assert isinstance(told, CntbenchError)
    assert str(told) == f"{path}, line 4: ZeroDivisionError: division by zero"
    assert plugin_folders.failure_in_plugin(ValueError()) is None


def test_an_error_in_a_plugin_is_told_by_another_process_too(tmp_path):
    path = write(tmp_path, "measures/mine.py", MEASURE.format(1, "clean / ablated"))
    with using([tmp_path]), pytest.raises(PluginError, match="line 4: ZeroDivisionError") as caught:
        _Numbered(partial(find("measure", "mine").measure, 1))((0, 0))
    assert str(path) in str(caught.value)


def test_what_has_to_be_a_function_is_one(tmp_path):
    write(tmp_path, "measures/mine.py", '"""Mine."""\nRANGE = (0, 1)\nmeasure = 3\n')
    with using([tmp_path]), pytest.raises(PluginError, match=r"mine\.py: measure cannot be called"):
        find("measure", "mine")


def test_a_backbone_of_the_folder_is_found_for_its_metrics(tmp_path):
    toml = 'version = 1\nsummary = "x"\nrule = "top_k"\n[parameters]\nk = 1\nof = "graph"\n'
    write(tmp_path, "backbones/mine.toml", toml)
    write_measure(tmp_path)
    with using([tmp_path]):
        assert backbone("mine").rule.k == 1
    with pytest.raises(SpecError, match="unknown backbone 'mine'"):
        backbone("mine")


def test_a_folder_is_equal_to_itself_read_again(tmp_path):
    write_measure(tmp_path)
    assert PluginFolder.read(tmp_path) == PluginFolder.read(tmp_path)
    first = PluginFolder.read(tmp_path)
    write_measure(tmp_path, "another")
    assert PluginFolder.read(tmp_path) != first
