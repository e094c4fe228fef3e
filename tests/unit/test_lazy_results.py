"""Results that are not in memory: what is asked of them is what is asked of those that are."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from matplotlib.layout_engine import ConstrainedLayoutEngine
from support.results import (
    circuits_dataset,
    comparison_dataset,
    film_with_gaps,
    whole_result,
)

import cntbench
from cntbench import figures
from cntbench.accessor.cnt import Cnt
from cntbench.results.storage import write_results
from cntbench.results.tree import content_checksum

CELL = {"task": "induction", "ablation": "zero"}
#: By member of the accessor, what is asked of it; pictures and the film have tests of their own.
ASKED = {
    "feasible": lambda cnt: cnt.feasible,
    "graph": lambda cnt: cnt.graph(**CELL, step=8),
    "metric": lambda cnt: cnt.metric("gini"),
    "backbone": lambda cnt: cnt.backbone("disparity"),
    "roles": lambda cnt: cnt.roles(),
    "readout": lambda cnt: cnt.readout("cross_entropy"),
    "plot": None,
    "film": None,
}
#: How a file is opened that is not read.
OPENED = {"dask": {"chunks": {}}, "lazily": {}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tree = whole_result(film_with_gaps(), metrics=["gini", "recurrence"])
    tree["comparison"] = xr.DataTree(comparison_dataset())
    tree["faithfulness"] = xr.DataTree(circuits_dataset(tree.to_dataset()))
    path = tmp_path_factory.mktemp("results") / "results.nc"
    write_results(tree, path)
    return path


@pytest.fixture(scope="module")
def whole(path) -> xr.DataTree:
    """The same result in memory."""
    return cntbench.open_results(path)


@pytest.fixture(scope="module", params=OPENED)
def unread(path, request) -> Iterator[xr.DataTree]:
    """The same result of which nothing is kept that was read."""
    with xr.open_datatree(path, cache=False, **OPENED[request.param]) as tree:
        yield tree


@pytest.fixture
def opened(unread) -> xr.DataTree:
    assert not unread["influence"].variable._in_memory
    return unread


def test_every_member_of_the_accessor_is_asked():
    assert set(ASKED) == {name for name in vars(Cnt) if not name.startswith("_")}


@pytest.mark.parametrize("member", [name for name, ask in ASKED.items() if ask])
def test_the_accessor_answers_as_in_memory(whole, opened, member):
    for data, lazy in ((whole, opened), (whole.to_dataset(), opened.to_dataset())):
        expected, actual = ASKED[member](data.cnt), ASKED[member](lazy.cnt)
        if isinstance(expected, nx.DiGraph):
            assert nx.utils.graphs_equal(expected, actual)
            continue
        xr.testing.assert_equal(expected, actual)
        parts = actual.data_vars.values() if isinstance(actual, xr.Dataset) else [actual]
        assert all(isinstance(part.variable._data, np.ndarray) for part in parts)


def test_a_graph_reads_no_more_than_its_cell(path, monkeypatch):
    """A film that is larger than the memory is looked at moment by moment."""
    with xr.open_dataset(path, chunks={"checkpoint": 1}) as film:
        lengths = []
        monkeypatch.setattr(
            xr.Dataset, "compute", lambda part: lengths.append(part.sizes) or part.load()
        )
        film.cnt.graph(**CELL, step=8)
    assert not {"checkpoint", "task", "ablation"} & lengths[0].keys()


def test_the_film_is_shown(whole, opened):
    assert opened.cnt.film()._repr_html_() == whole.cnt.film()._repr_html_()


@pytest.mark.parametrize("picture", sorted(set(figures.__all__) - {"save"}))
def test_every_picture_is_drawn(opened, picture, monkeypatch):
    """Those of films are drawn of a dataset by the accessor where Dask reads it.

    They are not laid out, which reads nothing: test_figures.py does that.
    """
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda layout, figure: None)
    arguments = (
        {}
        if picture in ("claims", "comparison", "faithfulness", "pareto", "readouts")
        else dict(CELL)
    )
    if picture in ("agreement", "circuit", "effects", "scores"):
        del arguments["ablation"]
    if picture == "metrics":
        arguments["names"] = ["gini"]
    of_films = ("agreement", "circuit", "effects", "film", "heatmap", "readouts", "scores")
    if picture in of_films and opened["influence"].chunks:  # others are drawn of groups
        assert getattr(opened.to_dataset().cnt.plot, picture)(**arguments).axes
    else:
        assert getattr(figures, picture)(opened, **arguments).axes


def test_claims_are_tested(whole, opened):
    options = {"draws": 19, "progress": False}
    for data, lazy in ((whole, opened), (whole.to_dataset(), opened.to_dataset())):
        expected = cntbench.claims(data, "three_phases", **options)
        verdicts = cntbench.claims(lazy, "three_phases", **options)
        xr.testing.assert_equal(expected["claims"].to_dataset(), verdicts["claims"].to_dataset())


def test_what_was_opened_lazily_can_be_written_again(path, whole, tmp_path):
    with xr.open_datatree(path) as opened:
        write_results(opened, tmp_path / "again.nc")
    again = cntbench.open_results(tmp_path / "again.nc")
    assert content_checksum(again) == content_checksum(whole)
