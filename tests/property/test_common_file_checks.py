"""What every file of a plug-in has to hold to, whatever its kind."""

from __future__ import annotations

import pytest

from cntbench.plugins import find, room
from cntbench.testing import files_under_test

EVERY = pytest.mark.parametrize("file", files_under_test(), ids=lambda file: f"{file[0]} {file[1]}")


@EVERY
def test_it_can_be_used(file):
    kind, name = file
    if name in room(kind).broken:
        pytest.fail(str(room(kind).broken[name]), pytrace=False)
    if name in room(kind):
        assert find(kind, name) is room(kind)[name].module


@EVERY
def test_its_summary_is_one_line_of_a_listing(file):
    kind, stem = file
    for plugin in room(kind).values():
        if stem in (plugin.name, plugin.path.stem):
            assert 0 < len(plugin.summary) <= 100
