"""The comparison as a dataset, and as tables."""

from __future__ import annotations

import re

import netCDF4
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from cntbench.analysis.diagnostics import Diagnostic, diagnostics
from cntbench.analysis.recovery import Recovery, recovery
from cntbench.comparison.agreement import STATISTICS
from cntbench.comparison.files import COMPARISON, open_comparison
from cntbench.comparison.table import comparison
from cntbench.comparison.trained import spread_out
from cntbench.components import components, feasible
from cntbench.errors import StorageError
from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint
from cntbench.reporting.comparison import comparison_tables
from cntbench.results.storage import RESULT, write_dataset

NODES = components(3, 2, parallel=True)
EDGES = feasible(NODES)


def trained(ablations=("mean", "zero", "noise"), tasks=("induction",), checkpoints=4):
    """What `measure_trained` gives, with random numbers."""
    rng = np.random.default_rng(0)
    names = [node.name for node in NODES]
    cell = (len(tasks), len(ablations), checkpoints)
    dims = ("task", "ablation", "checkpoint")
    layers = [node.layer for node in NODES]

    def variable(dims, values, name):
        return dims, values, {"units": "1", "long_name": name}

    film = np.where(EDGES, rng.random((*cell, *EDGES.shape)), np.nan)
    return xr.Dataset(
        {
            "influence": variable((*dims, "source", "target"), film, "influence"),
            "split_half": variable(dims, rng.random(cell), "split half"),
            "over_draws": variable(dims, np.full(cell, np.nan), "over draws"),
            "seconds": variable(dims, 1 + rng.random(cell), "seconds"),
            "token_layers": variable(dims[:2], 1 + rng.random(cell[:2]), "token-layers"),
        },
        coords={
            "task": list(tasks),
            "ablation": list(ablations),
            "checkpoint": [f"step{i}" for i in range(checkpoints)],
            "step": ("checkpoint", np.arange(checkpoints)),
            "source": names,
            "target": names,
            "source_layer": ("source", layers),
            "target_layer": ("target", layers),
        },
    )


def recovered(ablations=("zero", "mine")):
    rng = np.random.default_rng(1)
    truth = EDGES & (rng.random(EDGES.shape) < 0.3)
    return recovery(
        Recovery(
            circuit,
            difficulty,
            seed,
            name,
            np.where(EDGES, rng.random(EDGES.shape), np.nan),
            truth,
            truth,
        )
        for circuit in ("chain", "random_dag")
        for difficulty in ("exact", "realistic")
        for seed in range(3)
        for name in ablations
    )


def diagnosed(ablations=("zero", "mine")):
    circuits = ("constant", "or_gate", "backup", "cancel", "chain", "null")
    return diagnostics(
        Diagnostic(circuit, name, name == "mine", 0.123, 1e-6, "nothing there")
        for circuit in circuits
        for name in ablations
    )


def test_each_ablation_is_held_against_the_mean_of_the_others():
    table = comparison(trained())
    values = table["agreement"].sel(task="induction", ablation="zero")
    others = values.sel(other_ablation=["mean", "noise"]).mean("other_ablation")
    mean = table["consensus_mean"].sel(ablation="zero")
    np.testing.assert_allclose(mean, others.mean("checkpoint"))
    assert table["consensus_low"].isnull().all()  # too few checkpoints


def test_stability_and_reliability_are_means_over_tasks_and_checkpoints():
    made = trained(tasks=("induction", "bigram"))
    overlaps = np.random.default_rng(3).random((*made["split_half"].shape, 2)) / 4
    overlaps[:, 0, 1:, 1] += 1  # zero settles at its second number of prompts, if not at first
    dims = (*made["split_half"].dims, "prompts")
    about = {"units": "1", "long_name": "overlap"}
    made = made.assign(overlap_by_prompts=(dims, overlaps, about)).assign_coords(prompts=[2, 4])
    table = comparison(made)
    for name, values in (("circuit_overlap", overlaps[..., 1]), ("split_half", made["split_half"])):
        np.testing.assert_allclose(table[f"{name}_mean"], np.mean(values, axis=(0, 2)))
    np.testing.assert_array_equal(table["settled_at"], [4, np.nan, np.nan])


def test_costs_are_relative_to_zero():
    made = trained(tasks=("induction", "bigram"))
    table = comparison(made)
    for name in ("seconds", "token_layers"):
        total = made[name].sum([dim for dim in made[name].dims if dim != "ablation"])
        np.testing.assert_allclose(
            table[f"relative_{name}"], total / total.sel(ablation="zero").item()
        )
    alone = comparison(made.sel(ablation=["mean", "noise"]))
    assert np.isnan(alone["relative_seconds"]).all()


def test_parts_share_one_coordinate_of_ablations():
    table = comparison(trained(), recovered(), diagnosed())
    assert list(table["ablation"].values) == ["mean", "zero", "noise", "mine"]
    assert np.isnan(table["auroc"].sel(ablation="noise")).all()
    assert (table["seeds"].sel(ablation="noise") == 0).all()
    assert (table["what"].sel(ablation="noise") == "").all()
    xr.testing.assert_equal(
        table["auroc"].sel(ablation=["zero", "mine"]).drop_attrs(),
        recovered()["auroc"].drop_attrs(),
    )
    assert table["passed"].dims == ("special", "ablation")
    for name, variable in table.data_vars.items():
        assert variable.attrs.get("long_name"), name
        assert name == "what" or variable.attrs["units"] in ("1", "s"), name


@pytest.mark.parametrize("parts", [(trained(),), (None, recovered()), (None, None, diagnosed())])
def test_a_comparison_can_be_written(parts, tmp_path):
    written = comparison(*parts)
    write_dataset(written, tmp_path / "x.nc", COMPARISON)
    read = open_comparison(tmp_path / "x.nc")
    xr.testing.assert_allclose(read, written)
    assert read.attrs == written.attrs


def test_a_comparison_that_was_changed_is_refused_and_is_not_taken_for_a_result(tmp_path):
    path = tmp_path / "x.nc"
    write_dataset(comparison(None, recovered()), path, COMPARISON)
    assert COMPARISON.recognises(path)
    assert not RESULT.recognises(path)
    with netCDF4.Dataset(path, "r+") as file:
        file["ap"][0, 0, 0, 0] = 0.123
    with pytest.raises(StorageError, match="does not match its checksum"):
        open_comparison(path)


def printed(dataset):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_tables(dataset))
    return console.export_text()


LONG = ("zero", "mean", "mean_overall", "mean_reference_by_position", "optimal_constant")
MANY = (*LONG, *(f"another_ablation_{i}" for i in range(9)))


def test_tables_show_the_numbers_within_100_columns():
    table = comparison(trained(MANY), recovered(LONG), diagnosed(LONG))
    text = printed(table)
    assert "…" not in text
    for name in MANY:
        assert len(re.findall(rf"\b{name}\b", text)) >= 2
    first, second = LONG[:2]
    value = table["agreement_mean"].sel(
        statistic="edge_rank", task="induction", ablation=first, other_ablation=second
    )
    assert re.search(rf"1 {first} +· +{value.item():.2f} ", text)
    half = table["split_half_mean"].sel(ablation="mean_overall").item()
    assert re.search(rf"mean_overall .*{half:.2f} ", text)
    zero = table["auroc"].sel(circuit="random_dag", ablation="zero")
    auroc = zero.sel(difficulty="exact", truth="direct").item()
    assert re.search(rf"zero +{auroc:.2f} / ", text)
    assert re.search(r"random scores +0\.50 / ", text)
    assert re.search(r"zero +0 of 6 +constant, or_gate, backup, cancel, chain, null *\n", text)
    assert f"Not tested: {MANY[5]}, " in text
    assert re.search(r"constant: nothing there\n +zero 0\.12, mean 0\.12, ", text)
    verdict = re.search(r"\n zero: (.*?)\n mean:", text, re.DOTALL)[1].replace("\n", " ")
    assert f"exact AUROC {auroc:.2f} direct" in verdict
    assert "fails constant, or_gate, backup, cancel, chain, null;" in verdict
    assert "1× the time of zero ablation" in verdict


def test_only_what_there_is_is_shown():
    assert "Recovery" not in printed(comparison(trained()))
    only = printed(comparison(None, recovered()))
    assert "Recovery" in only
    assert "Agreement" not in only
    assert "Diagnostics" not in only


def test_every_statistic_is_named():
    named = comparison(trained())["statistic"]
    assert list(named.values) == list(STATISTICS)
    assert all(name in named.attrs["comment"] for name in STATISTICS)


def test_checkpoints_are_spread_and_no_weights_stand_twice(tmp_path):
    revisions = ["a", "a", "b", "c", "d", "a", "e", "f"]
    checkpoints = [Checkpoint(f"step{i}", i, r, Folder(tmp_path)) for i, r in enumerate(revisions)]
    assert [c.step for c in spread_out(checkpoints, 3)] == [0, 3, 7]
    assert [c.step for c in spread_out(checkpoints, 99)] == [0, 2, 3, 4, 6, 7]
    assert [c.step for c in spread_out(checkpoints, 1)] == [0]
