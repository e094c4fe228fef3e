"""Arguments of the functions for Python users: of any other type, the error names the argument."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import xarray as xr
from support.films import random_film
from support.models import random_model

import cntbench
from cntbench.errors import CntbenchError
from cntbench.runs.arguments import checked_arguments

#: Arguments that functions check by themselves, since they are of many types.
OWN = {
    "ablation", "ablations", "answer", "budgets", "checkpoints", "circuits", "claims", "components",
    "device", "dtype", "files", "graphs", "keep", "layers", "model", "on", "parts", "prompts",
    "ranking", "results", "specs", "step", "targets", "task", "tokenizer",
}  # fmt: skip


@pytest.mark.parametrize("name", cntbench.__all__)
def test_an_argument_of_another_type_is_named(name):
    function = getattr(cntbench, name)
    parameters = inspect.signature(function).parameters
    required = {key: "x" for key, p in parameters.items() if p.default is p.empty and p.kind < 4}
    refused = set()
    for key in parameters:
        with pytest.raises(CntbenchError) as caught:
            function(**{**required, key: object()})
        if caught.value.what == f"{key} = <object> is not allowed":
            assert caught.value.where == f"cntbench.{name}"
            refused.add(key)
    assert {*parameters} - refused <= OWN | {"changes"}


@checked_arguments
def example(
    jobs: int = 1,
    memory: float = 1.0,
    label: str | None = None,
    data: xr.Dataset | None = None,
    names: list[str] | None = None,
    *,
    force: bool = False,
):
    return jobs, memory, label, data, names, force


def test_numbers_of_other_libraries_are_those_of_python():
    step = random_film()["step"][0]
    given = example(np.int64(2), np.float32(0.5), xr.DataArray("a"), force=np.bool_(True))
    assert given == (2, 0.5, "a", None, None, True)
    assert [type(value) for value in given[:3]] == [int, float, str]
    assert example(torch.tensor(3))[0] == 3
    assert type(example(step + 1)[0]) is int
    assert example(memory=2)[1] == 2, "a whole number is a number"
    assert example(names=5)[4] == 5, "what is not plain is left to the function"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ({"jobs": "2"}, 'jobs = "2" is not allowed\nIt must be a whole number.'),
        ({"jobs": True}, "It must be a whole number."),
        ({"jobs": 0}, "It must be a whole number, at least 1."),
        ({"memory": None}, "It must be a number."),
        ({"label": 5}, "It must be text or None."),
        ({"data": "c.nc"}, "It must be a dataset of xarray or None."),
        ({"force": "yes"}, "It must be True or False."),
        ({"jobs": np.array([1])}, "jobs = <ndarray of shape (1,)> is not allowed"),
    ],
)
def test_the_error_says_what_is_allowed(argument, says):
    with pytest.raises(CntbenchError) as caught:
        example(**argument)
    assert "cntbench.example: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cntbench.circuit([]), "expected one result"),
        (lambda: cntbench.leaderboard([]), "no comparison is given"),
        (lambda: cntbench.leaderboard(5), "5 is not a path"),
        (lambda: cntbench.run(specs=None), "None is not a path"),
        (lambda: cntbench.run(tasks=5), "tasks: 5 is not a name"),
        (lambda: cntbench.run(tasks=[None]), "tasks: [None] is not a name"),
        (lambda: cntbench.run(tasks="a,b"), "Write several names as a list: tasks=['a', 'b']."),
        (lambda: cntbench.run(keep="a, b"), "Write several names as a list: keep=['a', 'b']."),
        (lambda: cntbench.run(components="L0,L1"), "a list: components=['L0', 'L1']."),
        (lambda: cntbench.compare(circuits="a,b"), "a list: circuits=['a', 'b']."),
        (lambda: cntbench.influence(None, ablation="a,b"), "a list: ablation=['a', 'b']."),
        (lambda: cntbench.run(experts=1), "experts = 1 is not allowed\nIt must be True or False."),
        (lambda: cntbench.run(prompts=True), "prompts = True is not allowed"),
        (lambda: cntbench.run(seeds=range(0)), "seeds: there is no seed"),
        (lambda: cntbench.run(seeds=np.array([])), "seeds: there is no seed"),
        (lambda: cntbench.run(checkpoints=[]), "checkpoints = [] is not allowed\nIt must not be e"),
        (
            lambda: cntbench.run(layers=range(0)),
            "layers = <range> is not allowed\nIt must not be e",
        ),
        (lambda: cntbench.compare([]), "cntbench.compare: results: there is no file"),
        (lambda: cntbench.influence(None, task=5), "cntbench.influence: task: 5 is not a name"),
        (lambda: cntbench.influence(None, ""), "unknown task ''"),
        (lambda: cntbench.circuit("x.nc", budgets=0.1), "budgets: 0.1 is not a list of numbers"),
        (lambda: cntbench.circuit("x.nc", budgets=["a"]), 'budgets: ["a"] is not a list of num'),
        (lambda: cntbench.open_results(""), '"" is not a path'),
    ],
)
def test_arguments_of_many_types_are_checked_by_the_functions(call, says):
    with pytest.raises(CntbenchError) as caught:
        call()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: cntbench.compare("x.nc", trajectory="nano", circuits="chain"),
            "results= compares files that are already measured: trajectory=, circuits= would have",
        ),
        (lambda: cntbench.run("planted:chain"), 'write trajectory="planted:chain". Allowed: '),
        (lambda: cntbench.run("x.toml"), 'a folder: specs="FOLDER". Allowed: '),
        (lambda: cntbench.run(trajectory="planted:chain", output="file"), "a folder with output=."),
        (lambda: cntbench.circuit("g.json"), 'trajectory="nano" and task="induction".'),
        (lambda: cntbench.save_planted("chain", "."), "write into it with force=True."),
        (lambda: cntbench.leaderboard("file"), "Make one: cntbench compare -o FILE."),
    ],
)
def test_errors_name_arguments_not_options(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not of cntbench")
    with pytest.raises(CntbenchError) as caught:
        call()
    assert says in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_model_is_measured_with_numbers_of_other_libraries():
    model = random_model("gpt2", vocabulary=40)
    numbers = {"prompts": 2, "seed": 3, "step": 5}
    plain = cntbench.influence(model, ablation="zero", **numbers)
    given = {key: np.int64(number) for key, number in numbers.items()}
    xr.testing.assert_identical(cntbench.influence(model, ablation="zero", **given), plain)


def test_a_gpu_that_is_not_there_is_the_argument(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CntbenchError) as caught:
        cntbench.run(device="cuda")
    assert str(caught.value).startswith("cntbench.run: device: torch finds no GPU")
