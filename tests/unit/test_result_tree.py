"""Groups of a result have the film's coordinates and labels that plots can use."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.metrics._film import film_metrics
from cntbench.results.film import untrained_group, usable
from cntbench.results.schema import VARIABLES, validate
from cntbench.results.storage import open_results, write_results
from cntbench.results.tree import result_tree

mpl.use("Agg")

NAMES = ["step0", "step8", "step64"]
#: One for each kind of dims: graphs, sources, components, pairs of checkpoints.
METRICS = ["gini", "out_strength", "betweenness", "recurrence"]
#: A label longer than this does not fit beside an axis.
SHORT = 60


@pytest.fixture(scope="module")
def film() -> xr.Dataset:
    return random_film(names=NAMES, ablations=("zero", "mean"))


@pytest.fixture(scope="module")
def groups(film) -> dict[str, xr.Dataset]:
    metrics = film_metrics(film["influence"], usable(film), METRICS)
    return {
        "/": film,
        "metrics": metrics,
        "untrained": untrained_group({5: film.isel(checkpoint=[0])}),
    }


@pytest.fixture(scope="module")
def path(groups, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("result") / "results.nc"
    write_results(xr.DataTree.from_dict(groups), path)
    return path


@pytest.fixture(scope="module")
def trees(groups, path) -> dict[str, xr.DataTree]:
    """A result in memory, and as cntbench and xarray read it."""
    with xr.open_datatree(path) as lazy:
        return {
            "memory": result_tree(groups),
            "cntbench": open_results(path),
            "xarray": lazy.load(),
        }


def test_metrics_have_steps_and_components(trees, film):
    for tree in trees.values():
        strength = tree["metrics/out_strength"]
        for name in ("step", "source_layer", "source_kind", "source_head"):
            np.testing.assert_array_equal(strength[name], film[name])
        between = tree["metrics/betweenness"]
        np.testing.assert_array_equal(between["component_layer"], film["source_layer"])
        np.testing.assert_array_equal(tree["metrics/recurrence"]["other_step"], film["step"])
        assert "source_kind" in tree["untrained/influence"].coords
        assert "revision" not in strength.coords, "it is long, and the film has it"


def test_a_group_that_is_read_alone_has_labels(path, film):
    with xr.open_dataset(path, group="metrics") as metrics:
        chosen = metrics["gini"].sel(task="induction", ablation="mean", checkpoint="step8")
        assert chosen["step"] == 8
        np.testing.assert_array_equal(metrics["source"], film["source"])


def test_a_metric_is_drawn_over_steps(trees):
    for tree in trees.values():
        several = tree["metrics/gini"].sel(task="induction").plot.line(x="step", hue="ablation")
        assert len(several) == 2
        lines = tree["metrics/gini"].sel(task="induction", ablation="mean").plot.line(x="step")
        np.testing.assert_array_equal(lines[0].get_xdata(), [0, 8, 64])
        assert lines[0].axes.get_xlabel() == "training step"
        assert lines[0].axes.get_ylabel() == "gini [1]"
        lines[0].figure.clf()


def test_another_step_than_the_films_is_seen(groups, tmp_path):
    odd = groups["metrics"].assign_coords(step=("checkpoint", [0, 8, 65]))
    path = tmp_path / "odd.nc"
    groups["/"].to_netcdf(path)
    odd.to_netcdf(path, group="metrics", mode="a")
    with pytest.warns(CntbenchWarning) as caught:
        assert "metrics" not in open_results(path).children
    assert any("has another step than the film" in str(warning.message) for warning in caught)


def test_labels_are_short_and_comments_explain(trees):
    for group in trees["cntbench"].subtree:
        for name, variable in group.variables.items():
            label = variable.attrs.get("long_name", "")
            assert 0 < len(label) < SHORT, (group.path, name)
    for name, variable in VARIABLES.items():
        assert trees["cntbench"][name].attrs["comment"] == variable.doc


def test_readouts_have_no_common_unit(film):
    for name in ("readout_value", "readout_se", "readout_effect", "edge_effect"):
        assert "units" not in film[name].attrs, name
    values = film.cnt.readout("cross_entropy")
    assert values.dims == ("task", "checkpoint")
    np.testing.assert_array_equal(values, film["readout_value"].sel(readout="cross_entropy"))
    [line] = values.sel(task="induction").plot.line(x="step")
    assert line.axes.get_ylabel() == "cross entropy [nat]"
    line.figure.clf()
    with pytest.raises(CntbenchError, match="Did you mean 'accuracy'"):
        film.cnt.readout("acuracy")


def test_units_of_earlier_versions_are_read(film):
    earlier = film.copy()
    earlier["readout_value"] = film["readout_value"].assign_attrs(units="1")
    validate(earlier, where="earlier")
