"""``cntbench circuit``: the faithfulness of circuits, with the weights and prompts of a result."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.torch import load_file, save_file
from support.eap import graph, write_graph
from support.models import random_model
from support.runs import plan_for, quiet
from support.trajectories import write_trajectory

import cntbench
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.reporting.page.circuits import circuits_section
from cntbench.results.storage import open_results, read_netcdf
from cntbench.runs.run import run

METHODS = ("resample_eap", "zero")


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A folder with checkpoints and a result of them, over two tasks."""
    folder = tmp_path_factory.mktemp("circuits")
    write_trajectory(folder / "checkpoints", steps=(0, 8), vocabulary=60)
    tasks = ("induction", "counterfactual_repeat")
    plan = plan_for(folder / "checkpoints", tasks=tasks, ablations=METHODS, prompts=3)
    shutil.copy(run(plan, folder / "run", jobs=1, progress=quiet).path, folder / "r.nc")
    return folder


@pytest.fixture
def cli(cli, monkeypatch, tmp_path, measured):
    """Run a command line beside a copy of the result."""
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copy(measured / "r.nc", tmp_path)
    return cli


def test_a_run_keeps_what_was_added_to_a_film_that_it_has(cli, measured, tmp_path):
    shutil.copytree(measured / "run", tmp_path / "run")
    options = ["run/results.nc", "--budgets", "50", "--draws", "1", "--add"]
    assert cli("circuit", *options)[0] == 0
    path = tmp_path / "run" / "results.nc"
    tree = open_results(path)
    tree["of/mine"] = xr.DataTree(
        xr.Dataset({"total": tree["influence"].sum(["source", "target"])})
    )
    tree["words"] = xr.DataTree(xr.Dataset(attrs={"told": "twice"}))
    cntbench.save_results(tree, path, force=True)
    before = open_results(path)

    def again(checkpoints=""):
        tasks = ("induction", "counterfactual_repeat")
        keys = {"tasks": tasks, "ablations": METHODS, "prompts": 3, "checkpoints": checkpoints}
        plan = plan_for(measured / "checkpoints", **keys)
        return open_results(run(plan, tmp_path / "run", jobs=1, progress=quiet).path)

    xr.testing.assert_identical(again(), before)
    with pytest.warns(CntbenchWarning, match="now results-1.nc: group") as told:
        result = again("step0")
    assert [str(warning.message).split("'")[1] for warning in told] == ["of/mine", "faithfulness"]
    names = ("faithfulness", "of/mine", "words")
    assert [f"/{name}" in result.groups for name in names] == [False, False, True]
    assert result["words"].attrs == {"told": "twice"}
    xr.testing.assert_identical(open_results(path.with_name("results-1.nc")), before)


def test_circuits_are_added_to_those_of_the_same_choice(cli, tmp_path):
    def add(*words, budgets="50"):
        code, out, _ = cli("circuit", "r.nc", "--budgets", budgets, "--draws", "1", "--add", *words)
        assert code == 0
        return open_results(tmp_path / "r.nc")["faithfulness"].to_dataset(), out.splitlines()[-1]

    circuit, told = add("--task", "induction")
    assert told == "r.nc has the group faithfulness."
    both, told = add("--task", "counterfactual_repeat", "--ablation", METHODS[0])
    assert told == "r.nc has the group faithfulness."
    xr.testing.assert_identical(both.sel(task="induction"), circuit.sel(task="induction"))
    new = both.sel(task="counterfactual_repeat")
    assert new["cpr"].notnull().all("ranking").values.tolist() == [True, False]
    assert (new["observed_readout"] == circuit["observed_readout"].sel(task="induction")).all()
    again, told = add("--task", "counterfactual_repeat", budgets="10")
    assert told == "r.nc has the group faithfulness, in place of circuits of another choice."
    assert again["cpr"].sel(task="induction").isnull().all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["--budgets", "50"], ["--budgets", "50", "--readout", "accuracy"]),
        (
            ["--ranking", "signed", "--threshold", "0"],
            ["--ranking", "signed", "--threshold", "1e-9"],
        ),
    ],
)
def test_circuits_of_another_readout_or_threshold_are_of_another_choice(
    cli, tmp_path, first, second
):
    """Beside those of another ablation, the readout of one would be said of both."""
    words = ["--task", "induction", "--draws", "1", "--add", "--ablation"]
    assert cli("circuit", "r.nc", *words, METHODS[0], *first)[0] == 0
    code, out, _ = cli("circuit", "r.nc", *words, METHODS[1], *second)
    assert (code, "another choice" in out) == (0, True)
    ranking = open_results(tmp_path / "r.nc")["faithfulness"].sel(task="induction")
    assert (ranking["scored_edges"] > 0).values.tolist() == [False, True]


def test_a_circuit_of_all_edges_has_no_area(cli):
    """A single budget of 100 % spans nothing: the best circuit there is had a CPR of 0."""
    code, out, _ = cli("circuit", "r.nc", "--budgets", "100", "--draws", "1", "-o", "c.nc")
    assert (code, "CPR" in out) == (0, False)
    result = read_netcdf(Path("c.nc"))[0]["/"]
    for name in ("cpr", "cpr_lower", "random_cpr", "cmd", "cmd_upper", "random_cmd"):
        assert result[name].isnull().all()
    assert (result["faithfulness"] == 1).any()


def test_a_threshold_is_printed(cli):
    code, out, _ = cli("circuit", "r.nc", "--threshold", "1e-9", "--ranking", "absolute")
    assert code == 0
    assert "Selection: scores of at least 1e-09." in " ".join(out.split())


def test_each_task_says_what_patches_its_edges_and_keeps_its_circuits(cli, measured, tmp_path):
    rows = [{"clean": [i, 2 + i, 3, 9], "answer": 7, "wrong": 8} for i in range(3)]  # without twins
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--trajectory", f"dir:{measured / 'checkpoints'}", "--tasks", "induction,own.jsonl"]
    choice = ["--prompts", "5", "--ablations", "zero", "--checkpoints", "step8"]
    assert cli("run", *words, *choice, "-o", "run")[0] == 0
    shutil.copy("run/results.nc", "two.nc")
    options = ["--budgets", "50", "--draws", "1", "--add"]
    code, out, _ = cli("circuit", "two.nc", "--task", "induction,own", *options)
    assert code == 0
    assert re.findall(r"Patched by (\w+)\.", " ".join(out.split())) == ["resample", "mean"]
    together = open_results(tmp_path / "two.nc")["faithfulness"].to_dataset()
    assert together["prompt_count"].values.tolist() == [5, 3]
    assert (together.attrs["patched_by"], together.attrs["prompts"]) == ("resample and mean", 5)
    section = circuits_section(open_results(tmp_path / "two.nc"))
    assert section["patched_by"] == "resample on induction and mean on own"
    for task in ("induction", "own"):  # one after the other
        code, out, _ = cli("circuit", "run/results.nc", "--task", task, *options)
        assert (code, "another choice" in out) == (0, False)
    added = open_results(tmp_path / "run" / "results.nc")["faithfulness"].to_dataset()
    xr.testing.assert_identical(added, together)
    out = cli("circuit", "run/results.nc", "--task", "own", "--patch", "zero", *options)[1]
    assert "another choice" in out


def test_circuits_are_printed_and_written(cli, tmp_path):
    words = ["r.nc", "--budgets", "10,50", "--draws", "2"]
    code, out, err = cli("circuit", *words, "-o", "c.nc", "--add")
    assert (code, err) == (0, "")
    assert "CPR" in out
    assert "10 %   50 %" in out
    assert "Patched by resample." in out
    written = read_netcdf(tmp_path / "c.nc")[0]["/"]
    assert written.sizes == {"task": 1, "ablation": 2, "ranking": 2, "budget": 2, "draw": 2}
    assert written.attrs["checkpoint"] == "step8"
    added = open_results(tmp_path / "r.nc")["faithfulness"]
    assert added.sizes["task"] == 2
    xr.testing.assert_equal(
        added["faithfulness"].sel(task="induction", drop=True),
        written["faithfulness"].sel(task="induction", drop=True),
    )
    assert np.isnan(added["faithfulness"].sel(task="counterfactual_repeat")).all()


def test_an_input_and_files_of_other_kinds_are_not_written_over(cli, tmp_path):
    before = (tmp_path / "r.nc").read_bytes()
    (tmp_path / "notes").write_text("my notes of ten years")
    for name, says in (("r.nc", "is an input and would be lost"), ("notes", "exists already")):
        code, _, err = cli("circuit", "r.nc", "-o", name)
        assert code == 2
        assert f"{name}: {says}" in err
    assert (tmp_path / "r.nc").read_bytes() == before
    assert (tmp_path / "notes").read_text() == "my notes of ten years"


def test_python_gives_what_the_command_writes(cli, measured, tmp_path):
    code, _, _ = cli("circuit", "r.nc", "--ablation", "zero", "--draws", "1", "-o", "c.nc")
    assert code == 0
    dataset = cntbench.circuit(open_results(measured / "r.nc"), ablation="zero", draws=1)
    xr.testing.assert_allclose(dataset, read_netcdf(tmp_path / "c.nc")[0]["/"])


def test_a_model_in_memory_takes_the_place_of_the_trajectory():
    model = random_model("gpt2", vocabulary=60)
    film = cntbench.influence(model, ablation=["resample_eap"], prompts=2)
    dataset = cntbench.circuit(film, model=model, draws=1)
    assert np.isfinite(dataset["cpr"]).all()
    with pytest.raises(CntbenchError, match="does not say where its weights are"):
        cntbench.circuit(film)
    with pytest.raises(CntbenchError, match="are not those that the result measured"):
        cntbench.circuit(film, model=random_model("gpt2", vocabulary=60, seed=1))


def test_circuits_in_a_model_in_memory_are_of_the_step_of_the_film():
    model = random_model("gpt2", vocabulary=60)
    film = cntbench.influence(model, ablation="zero", prompts=2, step=100)
    dataset = cntbench.circuit(film, model=model, draws=1)
    assert (dataset.attrs["checkpoint"], dataset.attrs["step"]) == ("step100", 100)


@pytest.mark.parametrize("place", [{"trajectory": "nano"}, {"checkpoint": "step5"}])
def test_a_model_in_memory_and_another_place_of_its_weights_are_refused(tmp_path, place):
    """The graph was evaluated in the model, whatever the trajectory or checkpoint."""
    write_graph(tmp_path / "g.json", graph())
    model = random_model("gpt2", vocabulary=60)
    with pytest.raises(CntbenchError, match=f"{next(iter(place))}: would have no effect beside"):
        cntbench.circuit(tmp_path / "g.json", "induction", model=model, **place)


def test_own_prompts_are_given_again():
    model, rng = random_model("gpt2", vocabulary=60), np.random.default_rng(0)
    rows = {
        "clean": rng.integers(0, 60, (3, 5)).tolist(),
        "corrupted": rng.integers(0, 60, (3, 5)).tolist(),
        "answer": [1, 2, 3],
        "wrong": [4, 5, 6],
    }
    film = cntbench.influence(model, ablation="resample_eap", prompts=rows)
    assert cntbench.circuit(film, model=model, prompts=rows, draws=1).sizes["task"] == 1
    rows["answer"] = [7, 8, 9]
    with pytest.raises(
        CntbenchError, match=r"task 'prompts' in .* differs from the one that the result measured"
    ):
        cntbench.circuit(film, model=model, prompts=rows)


def test_without_twins_the_mean_patches():
    """Prompts of one's own that have no twins; zero needs none."""
    model, rng = random_model("gpt2", vocabulary=60), np.random.default_rng(0)
    rows = {"clean": rng.integers(0, 60, (3, 5)).tolist(), "answer": [1, 2, 3], "wrong": [4, 5, 6]}
    film = cntbench.influence(model, ablation="zero_direct", prompts=rows)
    dataset = cntbench.circuit(film, model=model, prompts=rows, draws=1)
    assert dataset.attrs["patched_by"] == "mean"
    with pytest.raises(CntbenchError, match="needs reference prompts"):
        cntbench.circuit(film, model=model, prompts=rows, patch="resample")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--budgets", "0"], "--budgets: a budget of 0 % of the edges is not allowed"),
        (["--budgets", "0.1"], "a budget of 0.1 % of 15 edges holds no edge"),
        (["--budgets", "150"], "--budgets: a budget of 150 % of the edges is not allowed"),
        (["--budgets", "many"], "--budgets: 'many' is not a list of percentages"),
        (["--ranking", "sigend"], "--ranking: unknown ranking 'sigend' Did you mean 'signed'?"),
        (["--select", "greddy"], "--select: unknown selection 'greddy' Did you mean 'greedy'?"),
        (["--ablation", "zeor"], "Did you mean 'zero'?"),
        (["--task", "inducton"], "Did you mean 'induction'?"),
        (["--patch", "resampel"], "--patch: unknown ablation 'resampel' Did you mean 'resample'?"),
        (["--readout", "acuracy"], "--readout: unknown readout 'acuracy' Did you mean 'accuracy'?"),
        (["--checkpoint", "step9"], "r.nc: unknown checkpoint 'step9'"),
        (["--seed", "-3"], "--seed: -3 is not allowed It must be 0 or more."),
        (["--in-graph"], "--in-graph: only the graphs of EAP-IG and MIB have circuits"),
        (["--ranking", "signed,signed"], "--ranking: ranking 'signed' appears twice"),
        (["--ranking", ""], "--ranking: no ranking is named"),
        (["--ablation", ""], "--ablation: no ablation is named"),
        (["--task", ","], "--task: no task is named"),
        (["--threshold", "1"], "--threshold: a threshold takes one ranking and no budgets"),
        (
            ["--threshold", "1", "--ranking", "signed", "--select", "greedy"],
            "--threshold: a threshold takes all edges of at least that score: select would have no",
        ),
        (["--trajectory", "dir:elsewhere"], "elsewhere"),
    ],
)
def test_mistakes_are_named(cli, tmp_path, words, part):
    code, out, err = cli("circuit", "r.nc", "-o", "c.nc", *words)
    assert (code, out) == (2, "")
    assert part in " ".join(err.split())
    assert "cntbench.circuit" not in err, "that is the function of Python"
    assert not (tmp_path / "c.nc").exists()


def test_other_weights_are_refused(cli, measured, tmp_path):
    """Those of another trajectory, and those that have changed in their place."""
    write_trajectory(tmp_path / "other", steps=(0, 8), first_seed=5, vocabulary=60)
    code, _, err = cli("circuit", "r.nc", "--trajectory", "dir:other")
    assert (code, "their hashes differ" in " ".join(err.split())) == (2, True)
    moved = tmp_path / "moved"
    shutil.copytree(measured / "checkpoints", moved)
    assert cli("circuit", "r.nc", "--trajectory", f"dir:{moved}", "--draws", "0")[0] == 0
    weights = moved / "step8" / "model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).add_(1)
    save_file(tensors, weights, {"format": "pt"})
    code, _, err = cli("circuit", "r.nc", "--trajectory", f"dir:{moved}")
    assert (code, "their hashes differ" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize("prompts", [[{"clean": [1], "answer": 2}], 0, 2.5])
def test_prompts_of_graphs_are_a_number(tmp_path, prompts):
    write_graph(tmp_path / "g.json", graph())
    with pytest.raises(CntbenchError, match=r"cntbench\.circuit: prompts: .* is not allowed"):
        cntbench.circuit(
            tmp_path / "g.json", "induction", trajectory="planted:chain", prompts=prompts
        )


def test_graphs_of_eap_are_put_to_work(cli, measured, tmp_path):
    """The scores of a result, exported: q, k and v have edges, and so has the embedding."""
    model = ["--trajectory", f"dir:{measured / 'checkpoints'}", "--task", "induction"]
    few = [*model, "--prompts", "2", "--draws", "1"]
    options = ["--task", "induction", "--ablation", "resample_eap", "--checkpoint", "8"]
    assert cli("export", "r.nc", "-o", "g.json", *options)[0] == 0
    code, out, err = cli("circuit", "g.json", *few, "-o", "c.nc")
    assert (code, err) == (0, "")
    assert "42 edges are scored" in out
    content = json.loads((tmp_path / "g.json").read_text())
    for number, edge in enumerate(content["edges"].values()):
        del edge["score"]
        edge["in_graph"] = number % 3 > 0
    write_graph(tmp_path / "member.json", content)
    code, out, err = cli("circuit", "g.json", "member.json", *few, "--in-graph", "-o", "d.nc")
    assert (code, err) == (0, "")
    own = read_netcdf(tmp_path / "d.nc")[0]["/"].squeeze("task", drop=True)
    assert own["ablation"].values.tolist() == ["g", "member"]
    assert own["faithfulness"].sel(ablation="g").item() == pytest.approx(1)
    assert own["circuit_edges"].sel(ablation="member").item() < 42


@pytest.mark.parametrize(
    ("content", "words", "part"),
    [
        (graph(), [], "a graph does not say what it was measured on"),
        (graph(), ["MODEL"], "is of 2 layers of 2 heads in sequential blocks, and dir:"),
        (graph(3, 2, parallel=True), ["MODEL"], "is of 3 layers of 2 heads in parallel blocks"),
        (graph(parallel=True), ["MODEL", "--task", "inducton"], "Did you mean 'induction'?"),
        (graph(parallel=True), ["--trajectory", "nanp"], "--trajectory: unknown trajectory source"),
        (graph(parallel=True), ["MODEL", "--checkpoint", "9x"], "--checkpoint: there is no"),
        (graph(parallel=True), ["MODEL", "--add"], "--add needs one result"),
        (graph(parallel=True), ["MODEL", "--ablation", "zero"], "--ablation: a graph has no"),
        (graph(parallel=True), ["MODEL", "--task", "bigram,bigram"], "task 'bigram' appears twice"),
        *(
            (graph(parallel=True), ["MODEL", "--in-graph", *words], "would have no effect")
            for words in (
                ("--budgets", "50"),
                ("--ranking", "signed"),
                ("--select", "greedy"),
                ("--ranking", "signed", "--threshold", "1"),
            )
        ),
        (graph(parallel=True), ["r.nc"], "expected one result, or graphs of EAP-IG"),
        (
            {
                **graph(parallel=True),
                "nodes": {"a0.h0": {"in_graph": True, "neurons": [True, False]}},
            },
            ["MODEL"],
            "is a circuit of neurons",
        ),
        (
            {**graph(parallel=True), "edges": {"m0->m1": {"score": 1.0, "in_graph": False}}},
            ["MODEL", "--in-graph"],
            "g.json: edges: has no edge in its circuit",
        ),
        (
            {
                **graph(parallel=True),
                "edges": {"input->logits": {"in_graph": True}, "m0->m1": {"in_graph": False}},
            },
            ["MODEL"],
            "has a circuit but no scores",
        ),
    ],
)
def test_graphs_that_do_not_fit_are_named(cli, measured, tmp_path, content, words, part):
    write_graph(tmp_path / "g.json", content)
    model = ["--trajectory", f"dir:{measured / 'checkpoints'}"]
    words = [each for word in words for each in (model if word == "MODEL" else [word])]
    code, out, err = cli(
        "circuit", "g.json", *([] if "--task" in words else ["--task", "induction"]), *words
    )
    assert (code, out) == (2, "")
    assert part in " ".join(err.split())
