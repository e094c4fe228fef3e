"""Films in memory: joined, saved, selected from, sealed, reported."""

from __future__ import annotations

import json
import re
import runpy
import sys
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
import xarray as xr
from support.films import random_film
from support.models import decoder, random_model
from support.trajectories import run_cli

import cntbench
from cntbench.errors import CntbenchError, CntbenchWarning, StorageError
from cntbench.results import selection
from cntbench.results.schema import validate

NAMES = ("step0", "step8", "step100", "step120")


def few(film: xr.Dataset) -> xr.Dataset:
    """A film that says which seed it has, as measured films do."""
    return film.assign_attrs(seed=0, prompts=4, dtype="float32")


@pytest.fixture(scope="module")
def film() -> xr.Dataset:
    return few(random_film(names=NAMES, tasks=("induction", "bigram"), ablations=("zero", "mean")))


@pytest.fixture(scope="module")
def saved(film, tmp_path_factory) -> tuple[Path, xr.DataTree]:
    """A result with all groups, and its file."""
    path = tmp_path_factory.mktemp("saved") / "results.nc"
    cntbench.save_results(cntbench.claims(film, "three_phases", draws=19), path, draws=2)
    return path, cntbench.open_results(path)


@pytest.fixture(scope="module")
def measured() -> list[xr.Dataset]:
    """A model measured at step 0, one step later, and again unchanged."""
    model = random_model("gpt2")
    films = [cntbench.influence(model, "induction", "zero", prompts=2, step=0)]
    with torch.no_grad():
        model.get_output_embeddings().weight += 0.01
    for step in (np.int64(10), torch.tensor(20)):
        films.append(cntbench.influence(model, "induction", "zero", prompts=2, step=step))
    return films


def test_models_in_memory_become_a_film(measured):
    film = cntbench.film(measured)
    validate(film, where="the film")
    assert film["checkpoint"].values.tolist() == ["model", "step10", "step20"]
    assert film["step"].values.tolist() == [0, 10, 20]
    assert film["status"].values.ravel().tolist() == ["ok", "ok", "duplicate"]
    for part, name in zip(measured, film["checkpoint"].values, strict=True):
        np.testing.assert_array_equal(
            film["influence"].sel(checkpoint=name), part["influence"].isel(checkpoint=0)
        )
    assert [*json.loads(film.attrs["spec"])["checkpoints"]] == ["model", "step10", "step20"]


def test_decoders_whose_tensors_have_no_names_are_no_duplicates():
    model = decoder(random_model("gpt2"))
    parts = [cntbench.influence(model, "induction", "zero", prompts=2, step=s) for s in (1, 2)]
    assert (cntbench.film(parts)["status"] == "ok").all()


def test_a_film_taken_apart_and_joined_is_the_film(film):
    parts = [film.isel(checkpoint=0), film.isel(checkpoint=slice(1, 3)), film.isel(checkpoint=[3])]
    joined = cntbench.film(parts)
    xr.testing.assert_equal(joined, film)
    assert {n: v for n, v in joined.attrs.items() if n in film.attrs} == film.attrs
    marked = film.copy(deep=True)
    marked["status"][:, :, 1] = "duplicate"
    marked["status_reason"][:, :, 1] = "same weights as step0"
    alone = cntbench.film([marked.isel(checkpoint=[1, 2])])
    assert (alone["status"] == "ok").all()
    assert (alone["status_reason"] == "").all()


def test_what_is_kept_of_prompts_is_joined_and_selected():
    model = decoder(random_model("gpt2"))
    parts = [
        cntbench.influence(model, ablation="zero", prompts=2, step=step, keep=["prompts"])
        for step in (1, 2)
    ]
    film = cntbench.film(parts)
    by_prompt = film["influence_by_prompt"]
    assert by_prompt.sizes["prompt"] == 2
    np.testing.assert_allclose(by_prompt.mean("prompt"), film["influence"], rtol=1e-5)
    for part in (film.isel(task=0), film.isel(task=0, ablation=0)):
        again = cntbench.film([part])
        np.testing.assert_array_equal(again["influence_by_prompt"], by_prompt)
    with pytest.raises(CntbenchError, match="part 1: keeps other numbers of prompts"):
        cntbench.film([parts[0], parts[1].drop_vars("influence_by_prompt")])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda film: [], "no film to join"),
        (lambda film: [film, 1], "part 1: is not a film but a int"),
        (lambda film: [film, "step1"], "step1: no such file"),
        (lambda film: [film, film], "'step0' at step 0 comes after 'step120' at step 120"),
        (lambda film: [film.isel(checkpoint=[0])] * 2, "two checkpoints are at step 0"),
        (
            lambda film: [film.isel(checkpoint=[2]), film.isel(checkpoint=[1])],
            "Order the films by step",
        ),
        (
            lambda film: [
                film.isel(checkpoint=[0]),
                film.isel(checkpoint=[1]).assign_coords(checkpoint=["step0"]),
            ],
            "two checkpoints are named 'step0'",
        ),
        (
            lambda film: [film.isel(checkpoint=[0]), film.isel(checkpoint=[1], task=[0])],
            "part 1: 'task' differs from the first part: it lacks bigram",
        ),
        (
            lambda film: [film.isel(checkpoint=[0]), film.isel(checkpoint=[1], source=[0, 1])],
            "other sources than targets",
        ),
    ],
)
def test_parts_that_are_no_film_are_refused(film, parts, message):
    with pytest.raises(CntbenchError) as caught:
        cntbench.film(parts(film))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        *(("seed", 0, 1), ("prompts", 4, 5), ("dtype", "float32", "bfloat16")),
        *(("tasks", {"x": {}}, {"x": {"a": 1}}), ("ablations", {}, {"x": {}})),
        ("cntbench", "0.1.0", "0.2.0"),
        *(("tokenizer", "", "x"), ("plugins", {"a.py": "1"}, {"a.py": "2"})),
        *(("ablated", ["L0.H0"], ["L0.H1"]), ("watched", ["L0.H0"], ["L0.H1"])),
        *(("until_se", 0.1, 0.2), ("experts", True, None)),
        *((name, None, 1) for name in ("plugins", "ablated", "watched", "until_se", "experts")),
    ],
)
def test_parts_measured_in_another_way_are_refused(film, name, first, second):
    """A spec leaves out what is not used, which differs from any value."""
    spec = {"tasks": {}, "ablations": {}, "tokenizer": "", "prompts": 4, "seed": 0}

    def part(index, value):
        recorded = spec if value is None else {**spec, name: value}
        attributes = {name: value} if name in film.attrs else {"spec": json.dumps(recorded)}
        return film.isel(checkpoint=[index]).assign_attrs(attributes)

    for value in (first, second):
        cntbench.film([part(0, value), part(1, value)])
    with pytest.raises(CntbenchError, match=f"in another way than the first part: {name}\n"):
        cntbench.film([part(0, first), part(1, second)])


def test_a_saved_result_has_all_groups(saved, film):
    _, tree = saved
    assert {"metrics", "roles", "nulls", "claims", "phases"} <= {*tree.children}
    assert "unsealed" not in tree.attrs
    np.testing.assert_array_equal(tree["influence"], film["influence"])


def test_only_results_are_replaced(film, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="not a result of cntbench"):
        cntbench.save_results(film, tmp_path / "notes.txt", draws=0)
    with pytest.raises(StorageError, match="not a page of cntbench"):
        cntbench.report(film, tmp_path / "notes.txt", draws=0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


SELECTIONS = {
    "some checkpoints": lambda data: data.isel(checkpoint=slice(1, 3)),
    "one cell": lambda data: data.sel(task="bigram", ablation="mean"),
    "one moment": lambda data: data.sel(task="bigram").isel(checkpoint=2),
}


@pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)
@pytest.mark.parametrize("read", [xr.open_dataset, xr.open_datatree])
def test_what_xarray_writes_of_a_selection_opens(saved, select, read, tmp_path):
    path = tmp_path / "part.nc"
    with read(saved[0]) as whole:
        part = select(whole)
        part.to_netcdf(path)
        influence = part["influence"].values
    with pytest.warns(CntbenchWarning) as caught:
        opened = cntbench.open_results(path)
    unsealed, *others = [str(warning.message) for warning in caught]
    assert re.search("has no checksum.*`cntbench seal` gives it one", unsealed)
    assert all("is left out" in other for other in others)
    assert "unsealed" in opened.attrs
    validate(opened.to_dataset(inherit=False), where="the selection")
    np.testing.assert_array_equal(opened["influence"].values.squeeze(), influence.squeeze())


def test_a_selection_is_sealed(saved, tmp_path, monkeypatch, capsys):
    path = tmp_path / "part.nc"
    with xr.open_datatree(saved[0]) as whole:
        whole.isel(task=0, ablation=0, checkpoint=slice(1, 3)).to_netcdf(path)

    def seal():
        return run_cli(monkeypatch, capsys, "seal", path, "--draws", 0, "--jobs", 1)

    code, out, err = seal()
    assert code == 0
    assert "has its checksum" in out
    assert "has no checksum" in err
    sealed = cntbench.open_results(path)  # a warning would be an error
    assert "unsealed" not in sealed.attrs
    assert {*sealed.children} == {"metrics", "roles"}
    again = cntbench.film([saved[1].isel(task=[0], ablation=[0], checkpoint=slice(1, 3))])
    np.testing.assert_array_equal(sealed["influence"], again["influence"])
    np.testing.assert_array_equal(sealed["metrics/gini"], again.cnt.metric("gini"))
    code, _, err = seal()
    assert code == 2
    assert "is sealed already" in err


def test_a_changed_file_of_cntbench_is_damaged(saved, tmp_path):
    import netCDF4

    path = tmp_path / "changed.nc"
    path.write_bytes(saved[0].read_bytes())
    with netCDF4.Dataset(path, "a") as file:
        file["influence"][0, 0, 0, 0, 3] = 0.5
    with pytest.raises(StorageError, match="changed or damaged"):
        cntbench.open_results(path)


@pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)
def test_selections_are_taken_wherever_results_are(saved, select, capsys):
    part = select(saved[1])
    task, ablation, checkpoint = (
        str(np.atleast_1d(part[dim].values)[-1]) for dim in ("task", "ablation", "checkpoint")
    )
    cell = {"task": task, "ablation": ablation, "checkpoint": checkpoint}
    assert part.cnt.plot.heatmap(**cell).axes
    with warnings.catch_warnings():  # that groups of other checkpoints are left out
        warnings.simplefilter("ignore", CntbenchWarning)
        verdicts = cntbench.claims(part, "long_tailed_weights", draws=19)
        cntbench.show(part)
    assert {"task", "ablation", "claim"} <= {*verdicts["claims/verdict"].dims}
    assert "Strongest sources" in capsys.readouterr().out
    film = cntbench.film([part])
    written = film["influence"].sel(cell).values
    np.testing.assert_array_equal(written, saved[1]["influence"].sel(cell).values)


@pytest.mark.parametrize("named", ["8", "step8", "checkpoint-8"])
def test_commands_take_a_checkpoint_by_name_or_step(saved, named, tmp_path, monkeypatch, capsys):
    code, out, err = run_cli(monkeypatch, capsys, "show", saved[0], "--checkpoint", named)
    assert (code, err) == (0, "")
    assert "at step 8:" in " ".join(out.split())
    assert run_cli(monkeypatch, capsys, "show", saved[0], "--step", named) == (code, out, err)
    _, out, _ = run_cli(monkeypatch, capsys, "audit", saved[0], "--checkpoints", named)
    assert "1 checkpoint: 1 ok." in out
    assert "step8 " in out
    graph, cell = tmp_path / "g.graphml", ["--task", "bigram", "--ablation", "zero"]
    run_cli(monkeypatch, capsys, "export", saved[0], "-o", graph, *cell, "--checkpoint", named)
    assert nx.read_graphml(graph).graph["step"] == 8


def test_paths_of_results_are_taken_wherever_results_are(saved, tmp_path, capsys):
    path, tree = saved
    written = cntbench.save_results(str(path), tmp_path / "again.nc")
    assert written.identical(cntbench.open_results(path))
    assert cntbench.report(path, tmp_path / "page.html").stat().st_size > 0
    assert cntbench.film(path).sizes == cntbench.film([str(path)]).sizes == tree.sizes
    cntbench.show(path, checkpoint="checkpoint-8", task="bigram")
    assert "on bigram at step 8" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("function", ["save_results", "report", "show", "claims"])
def test_what_is_no_result_is_told(function, tmp_path):
    file = [tmp_path / "file"] if function in ("save_results", "report") else []
    with pytest.raises(CntbenchError, match="is not a result but a Tensor"):
        getattr(cntbench, function)(ODD, *file)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"step": "step8"}, 'step = "step8" is not allowed'),
        ({"checkpoint": 9}, "there is no checkpoint at step 9\nNearest: 0, 8."),
        ({"checkpoint": "step9"}, "unknown checkpoint 'step9'"),
        ({"checkpoint": 8, "step": 8}, "both named"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_told(film, named, says):
    with pytest.raises(CntbenchError) as caught:
        cntbench.show(film, **named)
    assert says in str(caught.value)


def test_every_group_is_drawn_over_steps(saved):
    """A line of each group, and the steps beside whatever has checkpoints."""
    drawn = set()
    for group in saved[1].subtree:
        for name, values in group.to_dataset(inherit=True).data_vars.items():
            if "checkpoint" not in values.dims:
                continue
            assert values["step"].dims == ("checkpoint",), (group.path, name)
            if group.path not in drawn and values.dtype.kind == "f":
                drawn.add(group.path)
                others = {dim: 0 for dim in values.dims if dim != "checkpoint"}
                [line] = values.isel(others).plot.line(x="step")
                assert line.axes.get_xlabel() == "training step"
                assert line.axes.get_ylabel().partition(" [")[0] == values.attrs["long_name"]
                line.figure.clf()
    assert drawn == {"/", "/metrics", "/nulls", "/roles", "/phases"}


def test_a_selection_is_saved_with_groups_of_its_own(saved, tmp_path):
    part = saved[1].isel(task=0, checkpoint=slice(1, 3))
    with pytest.warns(CntbenchWarning, match="verdicts are left out"):
        written = cntbench.save_results(part, tmp_path / "part.nc", draws=0)
    read = cntbench.open_results(tmp_path / "part.nc")
    assert {*read.children} == {*written.children} == {"metrics", "roles"}
    for name in ("metrics", "roles"):
        xr.testing.assert_equal(read[name].to_dataset(), written[name].to_dataset())


def test_groups_of_one_task_keep_their_numbers(saved):
    part = saved[1].sel(task="bigram")
    again = cntbench.claims(part, "three_phases", draws=19)
    for name in ("metrics/gini", "metrics/recurrence", "roles/spreader_rank", "nulls/gini"):
        whole = saved[1][name].sel(task=["bigram"])
        np.testing.assert_array_equal(again[name].transpose(*whole.dims), whole)


@pytest.mark.parametrize(
    "other",
    [
        lambda film: film.transpose(*reversed(film["influence"].dims), "readout"),
        lambda film: film.reset_index([*film.indexes]),
    ],
    ids=["dims in another order", "no indexes"],
)
def test_the_form_of_a_film_in_memory_does_not_matter(film, saved, other, tmp_path):
    formed = other(film)
    written = cntbench.save_results(formed, tmp_path / "results.nc", draws=2)
    for name in ("metrics", "roles", "nulls"):
        xr.testing.assert_allclose(written[name].to_dataset(), saved[1][name].to_dataset())
    xr.testing.assert_equal(cntbench.film(formed), cntbench.film(film))
    verdicts = cntbench.claims(formed, "three_phases", draws=19)["claims"]
    xr.testing.assert_equal(verdicts.to_dataset(), saved[1]["claims"].to_dataset())


CHANGES = {
    "edges": lambda tree: tree.assign(influence=tree["influence"] ** 2),
    "an edge": lambda tree: tree.assign(
        influence=tree["influence"].where(~(tree["influence"] == tree["influence"].max()), 0)
    ),
    "components": lambda tree: tree.isel(source=slice(-3), target=slice(-3)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_derived_from_other_influence_is_not_taken_for_the_films(saved, change, tmp_path):
    changed = CHANGES[change](saved[1])
    film = changed.to_dataset(inherit=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CntbenchWarning)
        tested = cntbench.claims(changed, "long_tailed_weights", draws=19)
        assert tested["claims"]["claim"].values.tolist() == ["long_tailed_weights"]
        assert not {"metrics", "roles", "nulls"} & {*tested.children}
        written = cntbench.save_results(changed, tmp_path / "changed.nc", draws=0)
        with pytest.raises(StorageError, match="has no group 'metrics'"):
            changed.cnt.plot.metrics(task="bigram", ablation="zero")
    texts = [str(warning.message) for warning in caught]
    assert any("other influence is left out: phases, claims, metrics" in line for line in texts)
    np.testing.assert_array_equal(written["metrics/gini"], film.cnt.metric("gini"))
    for name, values in film.cnt.roles().data_vars.items():
        np.testing.assert_array_equal(written["roles"][name], values)
        if change != "components":
            np.testing.assert_array_equal(changed.cnt.roles()[name], values)


def test_edges_that_no_architecture_has_are_no_zeros(film, tmp_path):
    """NaN filled with 0, of a moment, of some components, and of all."""
    filled = film.assign(influence=film["influence"].fillna(0))
    moment = {"task": "bigram", "ablation": "zero", "step": 8}
    for part in (filled, filled.isel(source=slice(2, 5), target=slice(2, 5))):
        for use in (
            lambda part=part: part.cnt.metric("betweenness"),
            lambda part=part: part.cnt.roles(),
            lambda part=part: part.cnt.feasible,
            lambda part=part: part.cnt.graph(**moment),
            lambda part=part: part.cnt.plot.heatmap(**moment),
            lambda part=part: cntbench.save_results(part, tmp_path / "filled.nc", draws=0),
        ):
            with pytest.raises(StorageError, match=r"where there is no edge: L0\.\w+ → L0\."):
                use()


def test_a_moment_keeps_what_is_not_derived_from_checkpoints(saved, film):
    models = film[["influence", "influence_se"]].isel(checkpoint=[0, 1])
    models = models.drop_vars(["step", "revision"], errors="ignore").rename(checkpoint="seed")
    tree = saved[1].copy()
    tree["untrained"] = xr.DataTree(models.assign_coords(seed=[0, 1]))
    for at in (-1, [-1]):
        moment = selection.whole_tree(tree.isel(checkpoint=at))
        assert "untrained" in moment.children
        xr.testing.assert_equal(
            moment["untrained/influence"].variable, tree["untrained/influence"].variable
        )


def test_an_empty_path_is_no_path(film):
    for call in (
        lambda: cntbench.open_results(""),
        lambda: cntbench.save_results(film, "", draws=0),
        lambda: cntbench.report(film, "", draws=0),
        lambda: cntbench.claims("", draws=19),
        lambda: cntbench.save_planted("chain", ""),
    ):
        with pytest.raises(CntbenchError, match=r'^"" is not a path'):
            call()


def test_a_report_of_a_film(film, tmp_path):
    path = cntbench.report(film, tmp_path / "page.html", title="mine", draws=0)
    text = path.read_text(encoding="utf-8")
    assert "mine" in text
    assert 'content="cntbench ' in text


@pytest.mark.parametrize(
    ("source", "words"),
    [("dir:/home/me/my-gpt", "Induction in my-gpt"), ("memory:GPT2", "Induction in GPT2")],
)
def test_the_page_is_titled_by_the_users_model(saved, source, words, tmp_path):
    tree = saved[1].copy()
    tree.attrs |= {"source": source, "study": "nano"}
    text = cntbench.report(tree, tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<title>{words} · cntbench</title>" in text


SECRET = 31.625
ODD = torch.full((2, 3), SECRET)


@pytest.mark.parametrize(
    "argument",
    ["model", "task", "ablation", "tokenizer", "prompts", "answer", "seed", "step", "dtype",
     "layers", "components", "targets", "keep", "device", "memory", "specs"],
)  # fmt: skip
def test_no_error_prints_a_tensor(argument):
    arguments = {"model": None, "prompts": 2, argument: ODD}
    if argument != "model":
        arguments["model"] = decoder(random_model("gpt2"))
    with pytest.raises(CntbenchError) as caught:
        cntbench.influence(**arguments)
    assert str(SECRET) not in str(caught.value)
    assert "tensor(" not in str(caught.value)


def test_torch_names_of_types_and_devices_are_taken():
    result = cntbench.influence(
        decoder(random_model("gpt2")), ablation="zero", prompts=2, step=7,
        dtype=torch.float64, device=torch.device("cpu"),
    )  # fmt: skip
    assert result.attrs["dtype"] == "float64"
    assert result["checkpoint"].values.tolist() == ["step7"]


@pytest.mark.parametrize("step", [-1, 1.5, True, "10"])
def test_a_step_is_a_whole_number(step):
    with pytest.raises(CntbenchError, match="the model's training step"):
        cntbench.influence(decoder(random_model("gpt2")), prompts=2, step=step)


def test_only_public_names_are_listed():
    assert dir(cntbench) == sorted([*cntbench.__all__, "__version__"])
    assert all(getattr(cntbench, name) for name in dir(cntbench))


def test_the_package_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cntbench", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("cntbench", run_name="__main__", alter_sys=True)
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out == f"cntbench {cntbench.__version__}\n"


def test_groups_that_do_not_follow_from_the_film_are_kept_where_others_are_made_again(
    film, saved, tmp_path
):
    tree = saved[1].copy(deep=False)
    seen = film["step"].rename("seen")
    tree["mine"] = xr.DataTree(xr.Dataset({"seen": seen}))
    tree["mine/nested"] = xr.DataTree(xr.Dataset({"more": seen + 1}))
    part = tree.isel(checkpoint=[0, 2])
    with pytest.warns(CntbenchWarning, match="verdicts are left out"):
        written = cntbench.save_results(part, tmp_path / "part.nc", draws=0)
    assert {"metrics", "roles", "mine"} <= {*written.children}
    assert written["mine"]["seen"].values.tolist() == [0, 100]
    assert written["mine/nested"]["more"].values.tolist() == [1, 101]
