"""Result files side by side: what is aligned, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from cntbench.comparison.agreement import STATISTICS, agreement
from cntbench.comparison.files import compare_files, refuse_beside_results
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.results.storage import write_results


@pytest.fixture
def write(tmp_path):
    """Write a random film and return its path."""

    def written(name, change=lambda film: film, **options):
        path = tmp_path / name
        write_results(xr.DataTree(change(random_film(**options))), path)
        return path

    return written


def influence(film, **at):
    return film["influence"].sel(**at).values.astype(np.float64)


def test_the_ablations_of_one_file(write):
    film = random_film()
    agreements = compare_files([write("one.nc")])
    at = {"task": "induction", "checkpoint": "step8"}
    pair = [influence(film, **at, ablation=name) for name in ("zero", "mean")]
    cell = agreements["agreement"].sel(**at, ablation="zero", other_ablation="mean")
    np.testing.assert_allclose(cell, agreement(*pair, film["source_layer"].values))
    assert list(agreements["statistic"].values) == list(STATISTICS)
    assert list(agreements["step"].values) == [0, 8, 100]


def test_several_files_are_held_against_the_first_where_they_meet(write):
    options = {"ablations": ("mean", "noise", "zero"), "names": ("step8", "step100", "step200")}
    paths = [write("one.nc"), write("two.nc", seed=1, **options), write("three.nc", seed=2)]
    agreements = compare_files(paths)
    assert list(agreements["file"].values) == [str(path) for path in paths[1:]]
    assert list(agreements["ablation"].values) == ["zero", "mean"]
    assert list(agreements["checkpoint"].values) == ["step8", "step100"]
    at = {"task": "induction", "checkpoint": "step8", "ablation": "zero"}
    films = random_film(), random_film(seed=1, **options)
    expected = agreement(*(influence(f, **at) for f in films), films[0]["source_layer"].values)
    cell = agreements["agreement"].sel(**at, file=str(paths[1]))
    np.testing.assert_allclose(cell, expected)


def test_a_file_agrees_with_itself(write):
    agreements = compare_files([write("one.nc"), write("same.nc")])["agreement"]
    np.testing.assert_allclose(agreements.dropna("statistic"), 1)


def test_the_order_of_tasks_does_not_matter(write):
    tasks = ("induction", "bigram")
    paths = [write("one.nc", tasks=tasks), write("two.nc", tasks=tasks, seed=1)]
    turned = write("turned.nc", lambda film: film.isel(task=[1, 0]), tasks=tasks)
    actual, expected = (
        compare_files([*paths, path]) for path in (turned, write("three.nc", tasks=tasks))
    )
    np.testing.assert_array_equal(actual["agreement"], expected["agreement"])


def test_checkpoints_that_repeat_others_are_left_out(write):
    revisions = ["0" * 64, "0" * 64, "1" * 64]
    agreements = compare_files([write("one.nc", revisions=revisions)])
    assert list(agreements["checkpoint"].values) == ["step0", "step100"]


def without_last_component(film):
    return film.isel(source=slice(-1), target=slice(-1))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"change": without_last_component},
            "its components differ from those of .*: it lacks L1.MLP",
        ),
        ({"tasks": ("induction", "bigram")}, "its tasks differ from those of .*: it adds bigram"),
        (
            {"tasks": ("bigram",)},
            "its tasks differ from those of .*: it lacks induction and adds bigram",
        ),
        ({"ablations": ("noise",)}, "no ablation in common"),
        ({"names": ("step3",)}, "no checkpoint in common"),
    ],
)
def test_files_that_do_not_fit_are_refused_saying_what_differs(write, options, says):
    with pytest.raises(CntbenchError, match=says):
        compare_files([write("one.nc"), write("two.nc", **options)])


def test_tasks_and_ablations_of_one_name_that_are_not_the_same_are_told(write):
    """Other prompts in a file of that name, or an earlier version of an ablation."""

    def recorded(prompts, version):
        ablations = {"zero": {"version": version}, "mean": {"version": 1}}
        tasks = {"induction": {"file": prompts}}
        spec = {"prompts": 2, "seed": 0, "tokenizer": "", "tasks": tasks, "ablations": ablations}
        return lambda film: film.assign_attrs(spec=json.dumps(spec))

    case, same = (write(name, recorded("a", 1)) for name in ("one.nc", "same.nc"))
    compare_files([case, same, write("unknown.nc")])  # no warning, which would be an error
    two = write("two.nc", recorded("b", 2))
    with pytest.warns(CntbenchWarning) as told:
        compare_files([case, two])
    assert [str(warning.message) for warning in told] == [
        f"{two}: task induction and ablation zero are defined otherwise than in {case}"
    ]


def test_what_each_file_has_is_listed_if_nothing_is_common(write):
    paths = [write("one.nc"), write("two.nc", ablations=("noise",))]
    with pytest.raises(CntbenchError) as caught:
        compare_files(paths)
    assert caught.value.hint == f"{paths[0]}: zero, mean; {paths[1]}: noise"


def test_one_file_with_one_ablation_is_refused(write):
    with pytest.raises(CntbenchError, match="only one ablation"):
        compare_files([write("one.nc", ablations=("zero",))])


def failed(film):
    film["status"][:] = "failed"
    return film


def test_a_file_without_measured_checkpoints_is_refused(write):
    with pytest.raises(CntbenchError, match=r"two\.nc: has no checkpoint that was measured"):
        compare_files([write("one.nc"), write("two.nc", failed)])


def test_options_that_files_leave_no_use_for_are_refused():
    refuse_beside_results([])
    with pytest.raises(CntbenchError, match=r"--tasks, --seed would have no effect"):
        refuse_beside_results(["tasks", "seed"])
