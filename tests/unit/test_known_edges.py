"""A run's ablations are held against known edges: measured once, kept, never in a run's way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import netCDF4
import pytest
import xarray as xr
from support.runs import plan_for, quiet
from support.trajectories import write_trajectory

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.results.storage import open_results
from cntbench.runs import known_edges as kept
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.known_circuits import measure_planted, planted_plan
from cntbench.runs.known_edges import known_edges
from cntbench.runs.plan import make_plan
from cntbench.runs.run import run
from cntbench.runs.tasks import task_of_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Zero ablation, two circuits."""
    folder = write_trajectory(tmp_path_factory.mktemp("trajectory") / "checkpoints")
    circuits = load_catalogue().known_circuits(["constant", "random_dag_sparse"])
    return replace(plan_for(folder), circuits=circuits)


@pytest.fixture(scope="module")
def first(plan, tmp_path_factory):
    """The known edges of the plan measured in an empty cache, that cache, and what was measured."""
    folder = tmp_path_factory.mktemp("measured") / "cache"
    numbers = []

    def measured(*given, **options):
        numbers.append(measure_planted(*given, **options))
        return numbers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNTBENCH_CACHE", str(folder))
        patch.setattr(kept, "measure_planted", measured)
        edges = known_edges(plan, jobs=1, progress=quiet)
    [pair] = numbers
    return edges, folder, pair


@pytest.fixture
def measured(first, cache):
    """The known edges of the plan, which are in the cache."""
    edges, folder, _ = first
    shutil.copytree(folder, cache)
    return edges


@pytest.fixture
def remembered(plan, first, monkeypatch):
    """Calls of `measure_planted`, which answer as it did for the plan."""
    calls = []

    def answer(models, **options):
        calls.append(models)
        return first[2]

    monkeypatch.setattr(kept, "planted_models", lambda *given: given)
    monkeypatch.setattr(kept, "measure_planted", answer)
    yield calls
    [(study, ablations, circuits)] = calls
    assert study == plan.study
    assert tuple(ablations) == plan.ablations
    assert tuple(circuits) == plan.circuits


def with_ablations(plan, *names):
    catalogue = load_catalogue()
    return replace(plan, ablations=tuple(catalogue.ablations[name] for name in names))


def unmeasured(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(kept, "measure_planted", refuse)


def test_the_numbers_are_those_of_the_comparison(first):
    actual, _, (recovered, diagnosed) = first
    for name, expected in recovery(recovered).items():
        xr.testing.assert_equal(actual[name], expected)
    expected = diagnostics(diagnosed).rename(circuit="special")
    for name in expected:
        xr.testing.assert_equal(actual[name], expected[name])
    assert actual["passed"].sel(special="constant", ablation="zero") == 0


def test_they_are_measured_once(plan, measured, monkeypatch):
    unmeasured(monkeypatch)
    again = known_edges(plan, jobs=1, progress=quiet)
    xr.testing.assert_identical(again, measured)


@pytest.mark.parametrize("change", ["seed", "ablation", "circuits"])
@pytest.mark.usefixtures("measured")
def test_others_are_measured_anew(plan, monkeypatch, change):
    unmeasured(monkeypatch)
    if change == "seed":
        plan = replace(plan, study=replace(plan.study, spec=replace(plan.study.spec, seed=7)))
    elif change == "ablation":
        plan = with_ablations(plan, "mean")
    else:
        plan = replace(plan, circuits=plan.circuits[:1])
    with pytest.raises(AssertionError, match="measured again"):
        known_edges(plan, jobs=1, progress=quiet)


def test_other_prompts_in_the_same_file_are_measured_anew(plan, first, cache, monkeypatch):
    path = cache.with_name("own.jsonl")
    monkeypatch.setattr(kept, "measure_planted", lambda *given, **options: first[2])
    for files, token in ((1, 3), (1, 3), (2, 4)):
        path.write_text(json.dumps({"clean": [1, 2], "answer": [token], "wrong": [5]}))
        circuit = replace(plan.circuits[0], tasks=(task_of_file(path),))
        known_edges(replace(plan, circuits=(circuit,)), jobs=1, progress=quiet)
        assert len([*cache.glob("known-edges-*.nc")]) == files


@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.usefixtures("remembered")
def test_a_damaged_file_is_measured_anew(plan, measured, cache, damage):
    (file,) = cache.glob("known-edges-*.nc")
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        with netCDF4.Dataset(file, "r+") as opened:
            value = opened["auroc"][:].flat[-1]
            opened["auroc"][-1, -1, -1, -1] = 1 - value + 0.125
        assert file.read_bytes() != data
    xr.testing.assert_identical(known_edges(plan, jobs=1, progress=quiet), measured)


@pytest.mark.usefixtures("remembered")
def test_a_cache_that_cannot_be_written_is_no_obstacle(plan, cache):
    cache.write_text("a file")
    assert known_edges(plan, jobs=1, progress=quiet) is not None


def test_an_ablation_that_cannot_be_measured_is_left_out_with_the_reason(plan):
    many = load_catalogue().ablations["resample_other"]
    many = replace(many, name="many", method=replace(many.method, draws=20))
    plan = replace(plan, ablations=(*plan.ablations, many))
    edges = known_edges(plan, jobs=1, progress=quiet)
    assert list(edges["ablation"].values) == ["zero", "many"]
    assert "draws 20 times from other prompts" in json.loads(edges.attrs["left_out"])["many"]
    assert edges["auroc"].sel(ablation="many").isnull().all()
    assert edges["auroc"].sel(ablation="zero", circuit="random_dag_sparse").notnull().all()
    assert known_edges(replace(plan, ablations=(many,)), jobs=1, progress=quiet) is None


def test_without_circuits_there_is_nothing(plan):
    assert known_edges(replace(plan, circuits=()), jobs=1, progress=quiet) is None


def test_edges_on_the_readout_have_no_diagnostics(plan, tmp_path):
    plan = with_ablations(plan, "resample_readout")
    result = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    group = open_results(result.path)["comparison"]
    assert group.sizes["special"] == 0
    assert group["auroc"].sel(circuit="random_dag_sparse").notnull().all()


@pytest.mark.usefixtures("remembered")
def test_a_run_keeps_them_with_its_result(plan, first, tmp_path):
    outcome = run(plan, tmp_path / "run", jobs=1, progress=quiet)
    group = open_results(outcome.path)["comparison"].to_dataset()
    for name, expected in first[0].items():
        xr.testing.assert_equal(group[name].reset_coords(drop=True), expected)


def test_a_study_asks_for_all_circuits_without_dynamics_unless_it_says_no(tmp_path):
    write_trajectory(tmp_path / "checkpoints")
    catalogue = load_catalogue()
    named = {}
    for planted in (True, False):
        changes = {"trajectory": f"dir:{tmp_path / 'checkpoints'}", "planted": planted}
        plan = make_plan(catalogue, catalogue.amend(catalogue.study("nano"), changes), quiet)
        named[planted] = {known.circuit.name for known in plan.circuits}
    assert named[False] == set()
    assert {"random_dag_dense", "or_gate"} <= named[True]
    assert not {"emergence", "drift"} & named[True]


def test_circuits_are_measured_whole_whatever_a_study_leaves_out(plan):
    some = {"components": ("L9.H9",), "targets": ("L8",), "layers": "8:", "keep": ("prompts",)}
    study = replace(plan.study, spec=replace(plan.study.spec, **some, until_se=0.1))
    on_circuit = planted_plan(study, plan.ablations, plan.circuits[0])
    assert on_circuit.measures_all
    assert (
        on_circuit.study.spec
        == planted_plan(plan.study, plan.ablations, plan.circuits[0]).study.spec
    )
