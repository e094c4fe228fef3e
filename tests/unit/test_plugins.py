"""Discovery by file name, on a room made for the test and on the real ones."""

from __future__ import annotations

import importlib
import itertools
import sys
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
    found = discover(name, required=("Thing",))
    assert {key: (p.name, p.summary) for key, p in found.items()} == {
        "one": ("one", "First line."),
        "two": ("two", "Second, after a line break."),
    }
    assert found["two"].module.Thing == 2
    assert found["one"].path == tmp_path / name / "one.py"


def test_a_file_that_lacks_something_stops_discovery(room):
    name = room(good='"""Good."""\nThing = Other = 1\n', bad='"""Bad."""\nThing = 1\n')
    with pytest.raises(SpecError) as caught:
        discover(name, required=("Thing", "Other"))
    assert "bad.py: lacks Other\n" in str(caught.value)
    assert f"cntbench/{name}/ defines Thing, Other" in str(caught.value)


@pytest.mark.parametrize("text", ["Thing = 1\n", '""""""\nThing = 1\n'])
def test_a_file_without_docstring_stops_discovery(room, text):
    with pytest.raises(SpecError, match=r"silent\.py: lacks a docstring"):
        discover(room(silent=text), required=("Thing",))


def test_find_names_the_nearest_match():
    from cntbench.replacements import zero

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
    found = plugins_of(kind)
    assert set(found) == files
    assert files
    for plugin in found.values():
        assert len(plugin.summary) <= 100, "the summary is one line of a listing"
        assert plugin.path.parent == folder
