"""``cntbench compare``: what users type and see."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray as xr
from support.runs import write_study
from support.trajectories import write_trajectory

from cntbench.comparison.agreement import rank_correlation
from cntbench.results.storage import open_results


@pytest.fixture
def trajectory(tmp_path, monkeypatch):
    """The options of a trajectory that takes a second, on which "tiny" is a study."""
    folder = write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", folder, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    return ["--trajectory", f"dir:{folder}", "--tasks", "induction", "--prompts", "4"]


def test_ablations_of_a_trajectory(cli, trajectory, tmp_path):
    names = ["mean", "zero", "noise", "optimal_constant"]
    command = ["compare", *trajectory, "--circuits", "", "--checkpoints", 2, "--ablations"]
    code, out, err = cli(*command, ",".join(names), "-o", "c.nc", "-j", 1)
    assert (code, err) == (0, "")
    assert "Rank correlation of edges between ablations on induction" in out
    assert "The dataset is in c.nc." in out
    with xr.open_dataset(tmp_path / "c.nc") as dataset:
        dataset.load()
    assert list(dataset["ablation"].values) == names
    assert list(dataset["checkpoint"].values) == ["step0", "step100"]
    assert dataset.attrs["seed"] == 0
    draws = dataset["over_draws"]
    assert np.isfinite(draws.sel(ablation="noise")).all()
    assert np.isnan(draws.drop_sel(ablation="noise")).all()
    for name in ("agreement", "split_half", "consensus_mean", "relative_seconds"):
        assert np.isfinite(dataset[name].isel(statistic=0, missing_dims="ignore")).all(), name
    cost = dataset["relative_token_layers"]
    assert cost.sel(ablation="zero") == 1
    assert cost.sel(ablation="optimal_constant") > 5
    # The same numbers on two processes, of fewer ablations, and as those of a run.
    assert cli(*command, "zero,noise", "-o", "again.nc", "-j", 2)[0] == 0
    with xr.open_dataset(tmp_path / "again.nc") as again:
        numbers = ["agreement", "split_half", "over_draws", "relative_token_layers"]
        some = {dim: ["zero", "noise"] for dim in ("ablation", "other_ablation")}
        xr.testing.assert_allclose(again[numbers].load(), dataset[numbers].sel(some))
    options = ["--ablations", "mean,zero", "-o", "run", "-j", 1]
    assert cli("run", "tiny", *trajectory, *options)[0] == 0
    film = open_results(tmp_path / "run" / "results.nc")["influence"].sel(task="induction")
    pair = [film.sel(ablation=name, checkpoint="step100").values for name in ("mean", "zero")]
    cell = dataset["agreement"].sel(ablation="mean", other_ablation="zero", checkpoint="step100")
    assert cell.sel(statistic="edge_rank").item() == pytest.approx(rank_correlation(*pair))


@pytest.mark.parametrize(("prompts", "halves"), [(3, False), (5, True)])
def test_halves_of_too_few_prompts_have_no_reliability(cli, trajectory, tmp_path, prompts, halves):
    names = ["mean", "resample_other_4"][: 1 + halves]  # that takes outputs from four others
    command = ["compare", *trajectory[:-1], prompts, "--circuits", "", "--checkpoints", 1]
    code, _, err = cli(*command, "--ablations", ",".join(["zero", *names]), "-o", "c.nc", "-j", 1)
    assert (code, err) == (0, "")
    with xr.open_dataset(tmp_path / "c.nc") as dataset:
        defined = dataset["split_half"].notnull().all(["task", "checkpoint"])
        expected = {"zero": True, "mean": halves, "resample_other_4": False}
        assert defined.values.tolist() == [expected[name] for name in ["zero", *names]]


def test_resamples_are_of_no_more_prompts_than_a_file_has(cli, trajectory, tmp_path):
    rows = [{"clean": [i, i + 1], "answer": [i + 2], "wrong": [i + 3]} for i in range(5)]
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [
        "compare",
        *trajectory[:2],
        "--tasks",
        "few.jsonl",
        "--prompts",
        32,
        "--circuits",
        "",
    ]
    code, _, err = cli(*command, "--checkpoints", 1, "--ablations", "zero", "-o", "c.nc", "-j", 1)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "c.nc") as dataset:
        assert dataset["prompts"].values.tolist() == [2, 4]
        assert dataset.attrs["prompts"] == 5


def test_a_single_prompt_has_no_resamples(cli, trajectory, tmp_path):
    """Its circuits agreed in full, and were said to settle at 1 prompt."""
    command = ["compare", *trajectory[:-1], 1, "--circuits", "", "--checkpoints", 1]
    code, out, err = cli(*command, "--ablations", "zero", "-o", "c.nc", "-j", 1)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "c.nc") as dataset:
        assert (
            dataset[["overlap_by_prompts", "circuit_overlap_mean", "settled_at"]]
            .isnull()
            .all()
            .to_array()
            .all()
        )
    assert re.search(r"^ zero *$", out, flags=re.MULTILINE)


def test_ablations_on_planted_circuits(cli, trajectory, tmp_path):
    names = ["zero", "mean", "zero_direct", "resample_eap"]
    circuits = ["random_dag_sparse", "constant"]
    options = ["--ablations", ",".join(names), "--circuits", ",".join(circuits), "-o", "c.nc"]
    code, out, err = cli("compare", *trajectory, *options, "--checkpoints", 1, "-j", 1)
    assert (code, err) == (0, "")
    with xr.open_dataset(tmp_path / "c.nc") as dataset:
        dataset.load()
    assert list(dataset["circuit"].values) == circuits
    assert list(dataset["special"].values) == ["constant"]
    dag = dataset["auroc"].sel(circuit="random_dag_sparse", difficulty="exact")
    assert dag.sel(truth="total", ablation="mean") == 1
    assert dag.sel(truth="direct", ablation="mean") < 1
    assert (dag.sel(truth="direct", ablation=["zero_direct", "resample_eap"]) == 1).all()
    assert (dataset["seeds"].sel(circuit="random_dag_sparse") == 3).all()
    passed = dataset["passed"].sel(special="constant")
    np.testing.assert_equal(passed.values, [0, 1, 0, np.nan])
    assert "Recovery of planted edges" in out
    assert "constant: L0.H0 → L1.MLP absent: What never varies tells nothing" in out
    assert re.search(r"\n zero: .*; fails constant; ", out)
    assert re.search(r"\n mean: .*; fails no diagnostic; ", out)


def test_trained_circuits_alone_are_compared(cli, trajectory, tmp_path):
    """They know no direct edges and no total influence, and rank methods for the others."""
    options = ["--ablations", "zero,resample_eap", "--circuits", "trained_xor", "-o", "c.nc"]
    code, out, err = cli("compare", *trajectory, *options, "--checkpoints", 1, "-j", 1)
    assert (code, err) == (0, "")
    assert "For direct edges no method was scored." in out
    assert re.search(r"For a circuit at a budget use \w+ \(CPR", out)
    code, out, err = cli("leaderboard", "c.nc", "-o", "c.md", "-o", "c.html")
    assert (code, err) == (0, "")


def test_result_files(cli, trajectory, tmp_path):
    for seed in (0, 1):
        options = ["--ablations", "zero,mean", "--seed", seed, "-o", f"run{seed}", "-j", 1]
        assert cli("run", "tiny", *trajectory, *options)[0] == 0
    code, out, err = cli("compare", "--results", "run0/results.nc")
    assert (code, err) == (0, "")
    assert "Rank correlation of edges between ablations" in out
    files = ["--results", "run0/results.nc", "--results", "run1/results.nc"]
    code, out, err = cli("compare", *files, "-o", "files.nc")
    assert (code, err) == (0, "")
    assert "Agreement with run1/results.nc" in out
    with xr.open_dataset(tmp_path / "files.nc") as dataset:
        assert dataset["agreement"].sizes["file"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ablations", "zer,mean"], ["unknown ablation 'zer'", "Did you mean 'zero'"]),
        (["--tasks", "inducton"], ["unknown task 'inducton'", "Did you mean 'induction'"]),
        (["--circuits", "chian"], ["unknown planted circuit 'chian'", "Did you mean 'chain'"]),
        (["--trajectory", "dir:nowhere"], ["nowhere: no such folder"]),
        (["--results", "none.nc"], ["none.nc: no such file"]),
        (["--results", "none.nc", "--prompts", "3"], ["--prompts would have no effect"]),
        (["--results", "none.nc", "--circuits", "chain"], ["--circuits would have no effect"]),
        (["--results", "none.nc", "--checkpoints", "2"], ["--checkpoints would have no effect"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(mistake, tmp_path, arguments, says):
    mistake("compare", *arguments, says=says)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(cli, trajectory):
    code, _, err = cli(
        "compare",
        *trajectory,
        "--ablations",
        "zero,mean",
        "--circuits",
        "",
        "--checkpoints",
        1,
        "-j",
        1,
        "-o",
        "no/where.nc",
    )
    assert code == 2
    assert "no/where.nc: cannot be written" in err
