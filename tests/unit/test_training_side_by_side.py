"""The embedded model is measured while it is trained, with the same bytes as afterwards."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
from support.runs import quiet

from cntbench.errors import CheckpointError
from cntbench.models.cache import cache_folder
from cntbench.models.nano_training import Recipe
from cntbench.models.origin import Folder
from cntbench.models.sources import nano
from cntbench.models.trajectory import open_trajectory
from cntbench.parallel.processes import parallel_map
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.run import run

SMALL = {"layers": 2, "hidden": 16, "heads": 2, "mlp": 16, "batch": 128, "length": 24, "last": 24}


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """The embedded model is smaller, and is not in the cache.

    The cache is changed after the start of the server that forks workers, whose environment stays.
    """
    assert list(parallel_map(abs, [-1, -2], jobs=2)) == [1, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "Recipe", partial(Recipe, **SMALL))
        patch.setenv("CNTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def begun(small, tmp_path_factory):
    """A plan of a model in training."""
    return plan(early=True)


def plan(**options: bool) -> Plan:
    catalogue = load_catalogue()
    changes = {
        **{"tasks": ("bigram",), "ablations": ("zero",), "prompts": 2, "untrained": 1},
        **{"null_draws": 0, "planted": False, "checkpoints": "0,8:"},
    }
    return make_plan(catalogue, catalogue.amend(catalogue.study("nano"), changes), quiet, **options)


@pytest.fixture(scope="module")
def side_by_side(begun, tmp_path_factory):
    return run(begun, tmp_path_factory.mktemp("early"), jobs=2, progress=quiet)


def test_checkpoints_are_unknown_until_they_are_trained(begun):
    trajectory = begun.trajectory
    assert [checkpoint.name for checkpoint in trajectory.checkpoints] == [
        "step0",
        "step8",
        "step16",
        "step24",
    ]
    assert {checkpoint.revision for checkpoint in trajectory.checkpoints} == {""}
    for checkpoint in trajectory.checkpoints:
        folder = checkpoint.origin.fetch()
        assert trajectory.read(checkpoint, folder)[0].revision


def test_the_bytes_are_those_of_a_run_after_the_training(side_by_side, tmp_path):
    after = run(plan(), tmp_path / "after", jobs=2, progress=quiet)
    assert side_by_side.failed == after.failed == {}
    assert side_by_side.path.read_bytes() == after.path.read_bytes()
    for name in ("study.json", "request.json", "checkpoints/step8.nc"):
        early, late = (outcome.path.parent / name for outcome in (side_by_side, after))
        assert early.read_bytes() == late.read_bytes()


def test_a_run_that_was_begun_during_training_goes_on_afterwards(side_by_side):
    again = run(plan(), side_by_side.path.parent, jobs=1, progress=quiet)
    assert (again.measured, again.reused) == (0, 4)


def test_a_model_in_the_cache_is_not_trained_again(side_by_side):
    trajectory = open_trajectory("nano", quiet, early=True)
    assert trajectory.finish is None
    assert {type(checkpoint.origin) for checkpoint in trajectory.checkpoints} == {Folder}


def test_a_training_that_has_ended_early_is_no_wait(tmp_path):
    folder = tmp_path / "nano-0"
    (folder / "step0").mkdir(parents=True)
    origin = nano.CheckpointInTraining(folder / "step8")
    with pytest.raises(
        CheckpointError, match="the training of the embedded model has ended before"
    ):
        origin.fetch()


def test_what_an_interrupted_training_has_left_is_trained_again(side_by_side):
    folder = nano._folder(nano.Recipe(seed=0))
    whole = (folder / nano.MANIFEST).read_bytes()
    (folder / nano.MANIFEST).unlink()
    shutil.rmtree(folder / "step16")
    (folder / "step8" / "model.safetensors").write_bytes(b"half")
    trajectory = open_trajectory("nano", quiet, early=True).finished()
    assert (folder / nano.MANIFEST).read_bytes() == whole
    assert trajectory.load(trajectory.checkpoints[-1])
    assert {path.name for path in cache_folder().iterdir()} == {folder.name, f"{folder.name}.lock"}
