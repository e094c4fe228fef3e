"""Discovery by file name, on a room made for the test and on the real ones."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path
from types import ModuleType

import pytest

import cntbench
from cntbench.errors import SpecError
from cntbench.plugins import ROOMS, discover, find
from cntbench.plugins import room as plugins_of

NUMBER = itertools.count()


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A function that makes a room out of files and returns its name."""

    def make(**files: str) -> str:
        name = f"room{next(NUMBER)}"
        folder = tmp_path / name
        folder.mkdir()
        for stem, text in files.items():
            (folder / f"{stem}.py").write_text(text)
        package = ModuleType(f"cntbench.{name}")
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, package.__name__, package)
        importlib.invalidate_caches()
        return name

    yield make
    for name in [name for name in sys.modules if name.startswith("cntbench.room")]:
        del sys.modules[name]


def test_each_file_is_a_plugin_under_its_own_name(room, tmp_path):
    name = room(
        one='"""First line.\n\nMore."""\nThing = 1\n',
        two='"""\nSecond, after a line break.\n"""\nThing = 2\n',
        _base='"""Shared, no plugin."""\n',
    )
    plugins = discover(name, required=("Thing",))
    assert {key: (p.name, p.summary) for key, p in plugins.items()} == {
        "one": ("one", "First line."),
        "two": ("two", "Second, after a line break."),
    }
    assert plugins["two"].module.Thing == 2
    assert plugins["one"].path == tmp_path / name / "one.py"


VARIANTS = '''"""Cut or kept.

>>> thing(1)
"""
from cntbench.plugins import Variant
LIMIT = 1
VARIANTS = {
    "kept": Variant("Kept.", {"factor": 1}),
    "cut": Variant("Cut.", {"factor": 0}, {"LIMIT": 2}),
}
def thing(x, *, factor):
    return _times(x, factor)
def _times(x, factor):
    return x * factor
'''


def test_variants_of_a_file_are_plugins_under_their_own_names(room):
    name = room(both=VARIANTS, after='"""Another."""\nthing, LIMIT = len, 3\n')
    plugins = discover(name, required=("thing", "LIMIT"))
    assert [(key, p.name, p.summary, p.path.stem) for key, p in plugins.items()] == [
        ("after", "after", "Another.", "after"),
        ("cut", "cut", "Cut.", "both"),
        ("kept", "kept", "Kept.", "both"),
    ]
    cut, kept = plugins["cut"].module, plugins["kept"].module
    assert (cut.thing(7), cut.LIMIT, kept.thing(7), kept.LIMIT) == (0, 2, 7, 1)
    assert cut.__doc__ == "Cut.\n\n>>> thing(1)"


KEPT = '"""Again."""\nthing, LIMIT = len, 1\n'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"both": VARIANTS.replace("LIMIT = 1", "")}, "both.py: lacks LIMIT"),
        (
            {"both": VARIANTS, "kept": '"""Again."""\nthing, LIMIT = len, 1\n'},
            r"defines kept, as .*both\.py",
        ),
    ],
)
def test_a_variant_is_held_to_what_files_of_its_room_define(room, files, message):
    with pytest.raises(SpecError, match=message):
        discover(room(**files), required=("thing", "LIMIT"))


@pytest.mark.parametrize("kind", ROOMS)
def test_no_two_files_of_a_room_are_nearly_the_same(kind):
    folder = Path(cntbench.__path__[0]) / ROOMS[kind][0].replace(".", "/")
    lines = {path.name: path.read_text("utf-8").splitlines() for path in folder.glob("*.py")}
    alike = {
        (one, other): SequenceMatcher(None, lines[one], lines[other], autojunk=False).ratio()
        for one, other in itertools.combinations(sorted(lines), 2)
    }
    assert not {pair: ratio for pair, ratio in alike.items() if ratio > 0.8}


def test_a_file_that_lacks_something_stops_discovery(room):
    name = room(good='"""Good."""\nThing = Other = 1\n', bad='"""Bad."""\nThing = 1\n')
    with pytest.raises(SpecError) as caught:
        discover(name, required=("Thing", "Other"))
    assert "bad.py: lacks Other\n" in str(caught.value)
    assert f"cntbench/{name}/ defines Thing, Other" in str(caught.value)


def test_an_error_gives_the_path_of_a_room_within_a_room():
    with pytest.raises(SpecError, match="file of cntbench/prompts/generators/ defines Nothing;"):
        discover("prompts.generators", required=("Nothing",))


@pytest.mark.parametrize("text", ["Thing = 1\n", '""""""\nThing = 1\n'])
def test_a_file_without_docstring_stops_discovery(room, text):
    with pytest.raises(SpecError, match=r"silent\.py: lacks a docstring"):
        discover(room(silent=text), required=("Thing",))


def test_python_without_docstrings_is_told_so():
    command = [sys.executable, "-OO", "-m", "cntbench", "list", "tasks"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    first, then = ended.stderr.splitlines()[:2]
    assert first == "error: cntbench reads docstrings, which Python drops"
    assert then.startswith("Run Python")


def test_find_names_the_nearest_match():
    from cntbench.ablations.replacements import zero

    assert find("replacement", "zero") is zero
    with pytest.raises(SpecError) as caught:
        find("replacement", "zeroo", where="a.toml")
    assert str(caught.value).startswith(
        "a.toml: replacement: unknown replacement 'zeroo'\nDid you mean 'zero'? Allowed: mean, "
    )


@pytest.mark.parametrize("kind", ROOMS)
def test_every_file_of_a_room_is_found(kind):
    folder = Path(cntbench.__path__[0]) / ROOMS[kind][0].replace(".", "/")
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    plugins = plugins_of(kind)
    assert {plugin.path.stem for plugin in plugins.values()} == files
    assert list(plugins) == sorted(plugins)
    assert files
    for plugin in plugins.values():
        assert len(plugin.summary) <= 100, "the summary is one line of a listing"
        assert plugin.path.parent == folder
