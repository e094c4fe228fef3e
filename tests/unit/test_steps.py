"""Which step a name tells, in folders, revisions and results: one rule, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.revisions import parse
from support.runs import plan_for, quiet, write_study
from support.trajectories import run_cli, write_trajectory

from cntbench.errors import CheckpointError, CntbenchNote, CntbenchWarning
from cntbench.models import checkpoint_files
from cntbench.models.origin import Folder
from cntbench.models.steps import LARGEST, named_step, step_number
from cntbench.models.trajectory import Checkpoint, open_trajectory
from cntbench.reporting.estimate import steps_line
from cntbench.results.failure import Failure
from cntbench.results.film import Axes, film, unmeasured
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.identity import identity

B = 10**9

#: Names, and the step and the tokens that they tell.
TOLD = [
    ("step500_loss3.31", 500, None),
    ("step1500_loss2.07", 1500, None),
    ("checkpoint-500-epoch-1", 500, None),
    ("epoch-1-checkpoint-500", 500, None),
    ("epoch=3-step=40", 40, None),
    ("stage1-step1000-tokens5B", 1000, 5 * B),
    ("stage2-ingredient1-step30-tokens_300M", 30, 300 * 10**6),
    ("step1000-tokens1.5T", 1000, 1500 * B),
    ("step8-tokens4096", 8, 4096),
    ("step8-tokens4K_seed1", 8, 4000),
    ("step8-tokens4.2e9", 8, None),
    ("step8-tokens1_000_000", 8, None),
    ("step8-tokens1,000B", 8, None),
    ("step8-tokens1B-tokens2B", 8, None),
    ("step0-tokens0B", 0, 0),
    ("global_step1000", 1000, None),
    ("global-step_8", 8, None),
    ("ckpt_000", 0, None),
    ("iter_0000010", 10, None),
    ("iteration7", 7, None),
    ("Step-12", 12, None),
    ("steps_12", 12, None),
    ("checkpoint-500_step500", 500, None),
    ("step1000_2024-11-28", 1000, None),
    ("step1000_seed2", 1000, None),
    ("1000", 1000, None),
    ("0001000", 1000, None),
    (f"step{LARGEST}", LARGEST, None),
]
#: Names that have a number and tell no step for sure, and what the refusal names.
REFUSED = [
    ("best-3", "no word marks it as the step"),
    ("v7", "no word marks it as the step"),
    ("1000steps", "no word marks it as the step"),
    ("mystep5", "no word marks it as the step"),
    ("checkpoint-2-step500", "'checkpoint-2' and 'step500'"),
    ("iter10_ckpt2", "'iter10' and 'ckpt2'"),
    ("step50K", "50, or 50K"),
    ("step-50K-105b", "50, or 50K"),
    ("step0.5", "0, or 0.5"),
    ("step1e3", "1, or 1e3"),
    ("step_1_000", "1, or 1_000"),
    (f"step{LARGEST + 1}", f"step {LARGEST + 1} is too large"),
    ("9" * 5000, "is too large"),
]
SILENT = ["final", "runs", "stage", "step", "checkpoint-best", "step-final"]


@pytest.mark.parametrize(("name", "step", "tokens"), TOLD)
def test_a_name_tells_its_step_and_tokens(name, step, tokens):
    named = named_step(name, where="here")
    assert (named.step, named.tokens_seen) == (step, tokens)
    assert f"{named.before}{named.digits}{named.after}" == name


@pytest.mark.parametrize(("name", "says"), REFUSED)
def test_what_does_not_tell_one_step_for_sure_is_refused(name, says):
    with pytest.raises(CheckpointError) as caught:
        named_step(name, where="here")
    assert str(caught.value).startswith("here: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("name", SILENT)
def test_a_name_without_a_number_tells_no_step(name):
    assert named_step(name, where="here") is None


words = st.sampled_from(["step", "steps", "checkpoint", "ckpt", "iter", "iteration", "global_step"])
#: What other numbers stand beside: none of these words is one that a step stands after.
others = st.tuples(
    st.sampled_from(["loss", "epoch", "stage", "seed", "lr", "acc"]),
    st.sampled_from(["", "-", "_"]),
    st.decimals(0, 1000, places=2).map(str) | st.integers(0, 10**6).map(str),
).map("".join)


@given(
    before=st.lists(others, max_size=2),
    word=words,
    separator=st.sampled_from(["", "-", "_", "="]),
    zeros=st.integers(0, 6),
    step=st.integers(0, LARGEST),
    after=st.lists(others, max_size=2),
    joint=st.sampled_from(["-", "_"]),
)
def test_whatever_stands_beside_the_step_is_not_taken_for_it(
    before, word, separator, zeros, step, after, joint
):
    name = joint.join([*before, f"{word}{separator}{'0' * zeros}{step}", *after])
    assert named_step(name, where="here").step == step


@given(name=st.text(alphabet="stepckiraglob_-=.0123456789KM", max_size=24))
def test_any_name_tells_a_step_none_or_is_refused(name):
    try:
        named = named_step(name, where="here")
    except CheckpointError:
        return
    assert (named is None) == (not any(letter.isdigit() for letter in name))
    assert named is None or int(named.digits) == named.step


@given(step=st.integers(LARGEST + 1, 10**40))
def test_no_step_is_beyond_64_bits(step):
    with pytest.raises(CheckpointError, match="is too large"):
        step_number(str(step), where="here")


@pytest.fixture
def rename(tmp_path):
    """Write checkpoints under names of their own."""

    def written(*names: str):
        write_trajectory(tmp_path / "run", steps=tuple(range(len(names))))
        for index, name in enumerate(names):
            (tmp_path / "run" / f"step{index}").rename(tmp_path / "run" / name)
        return tmp_path / "run"

    return written


def test_folders_and_revisions_follow_the_same_rule(rename):
    names = ("step1500_loss2.07", "step500_loss3.31", "checkpoint-40-epoch-9")
    folder = rename(*names)
    steps = [(c.name, c.step) for c in open_trajectory(f"dir:{folder}", quiet).checkpoints]
    assert steps == [(names[2], 40), (names[1], 500), (names[0], 1500)]
    assert [revision[:2] for revision in parse(",".join(names), where="")] == steps


@pytest.mark.parametrize(("name", "says"), REFUSED[:-1])
def test_both_refuse_the_same(rename, name, says):
    with pytest.raises(CheckpointError) as revision:
        parse(f"step0,{name}", where="hub:lab/tiny")
    with pytest.raises(CheckpointError) as folder:
        open_trajectory(f"dir:{rename('step0', name)}", quiet)
    for caught in (revision, folder):
        assert says in str(caught.value)


def test_a_folder_may_be_named_from_home(rename, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rename("checkpoint-500") == tmp_path / "run"
    assert open_trajectory("dir:~/run", quiet).identity == f"dir:{tmp_path.resolve()}/run"
    with pytest.raises(CheckpointError, match="no such folder"):
        open_trajectory("dir:~nobody-of-this-name/run", quiet)
    with pytest.raises(CheckpointError, match=f"Did you mean dir:{tmp_path}/run"):
        open_trajectory(f"dir:{tmp_path}/runs", quiet)


def test_tokens_are_kept_where_every_name_tells_them(rename):
    trajectory = open_trajectory(f"dir:{rename('step0-tokens0B', 'step10-tokens2B')}", quiet)
    nodes = trajectory.shape.components

    def tokens(*others: Checkpoint):
        parts = [
            unmeasured(checkpoint, Axes(nodes, ["induction"], ["zero"]), Failure("failed", "none"))
            for checkpoint in (*trajectory.checkpoints, *others)
        ]
        return film(parts, {}).coords.get("tokens_seen")

    assert tokens().values.tolist() == [0, 2 * B]
    assert tokens(replace(trajectory.checkpoints[0], name="step20", tokens_seen=None)) is None


def trainer_output(folder):
    """Turn a folder of checkpoints into what transformers' Trainer leaves."""
    (folder / "runs" / "Nov28_12-00").mkdir(parents=True)
    (folder / "logs-2024").mkdir()
    (folder / ".cache3").mkdir()
    (folder / "trainer_state.json").write_text("{}")
    (folder / "config.json").write_text("{}")
    write_trajectory(folder / "models", steps=(9,))
    (folder / "models" / "step9").rename(folder / "final")
    return folder


SKIPPED = (
    "skipped logs-2024, models and runs (no checkpoint); final (no step in the name); "
    "trainer_state.json (files)."
)


def test_what_lies_beside_the_checkpoints_is_skipped_and_named_once(rename):
    folder = trainer_output(rename("checkpoint-500", "checkpoint-1000"))
    with pytest.warns(CntbenchWarning) as caught:
        trajectory = open_trajectory(f"dir:{folder}", quiet)
    assert [c.step for c in trajectory.checkpoints] == [500, 1000]
    assert [str(warning.message) for warning in caught] == [f"{folder}: {SKIPPED}"]


@pytest.mark.parametrize("command", ["plan", "run", "audit"])
def test_every_command_says_once_what_it_skips(rename, command, tmp_path, monkeypatch, capsys):
    folder = trainer_output(rename("checkpoint-500", "checkpoint-1000"))
    write_study(tmp_path / "specs", "quick", folder, untrained=0)
    monkeypatch.setenv("CNTBENCH_SPECS", str(tmp_path / "specs"))
    options = [f"dir:{folder}"] if command == "audit" else ["quick", "-j", 1]
    options += ["-o", tmp_path / "out"] if command == "run" else []
    code, out, err = run_cli(monkeypatch, capsys, command, *options)
    assert code == 0
    assert err == f"note: {folder}: {SKIPPED}\n"
    if command == "plan":
        assert "Steps: checkpoint-500 → 500, checkpoint-1000 → 1000." in out


def test_the_steps_of_many_checkpoints_are_printed_in_short():
    checkpoints = [Checkpoint(f"step{i}", i, "", Folder(Path())) for i in range(1000, 144000, 1000)]
    assert str(steps_line(checkpoints)) == (
        "Steps: step1000 → 1000, step2000 → 2000, step3000 → 3000, step4000 → 4000, "
        "step5000 → 5000, …, step143000 → 143000."
    )


def test_a_folder_of_a_step_without_a_checkpoint_fails_alone(rename):
    folder = rename("step0", "step8")
    (folder / "step4").mkdir()
    trajectory = open_trajectory(f"dir:{folder}", quiet)
    assert [(c.step, bool(c.revision)) for c in trajectory.checkpoints] == [
        (0, True),
        (4, False),
        (8, True),
    ]


def test_a_checkpoint_in_place_of_the_folder_above_it_is_told(rename):
    folder = rename("step0")
    with pytest.raises(CheckpointError, match=f"use the folder above it, dir:{folder}"):
        open_trajectory(f"dir:{folder / 'step0'}", quiet)


@pytest.mark.parametrize("name", ["checkpoint-500", "step_500", "iter-500", "global_step500"])
def test_the_usual_names_of_checkpoints_are_taken(rename, name):
    trajectory = open_trajectory(f"dir:{rename(name)}", quiet)
    assert [(c.name, c.step) for c in trajectory.checkpoints] == [(name, 500)]


@pytest.fixture(scope="module")
def one_file_each(tmp_path_factory):
    """The same checkpoints as folders, and as one file each beside one config."""
    folders, root = tmp_path_factory.mktemp("folders"), tmp_path_factory.mktemp("files")
    write_trajectory(folders, steps=(0, 8))
    shutil.copy(folders / "step0" / "config.json", root)
    for step in (0, 8):
        shutil.copy(
            folders / f"step{step}" / "model.safetensors", root / f"s-step-{step}.safetensors"
        )
    (root / "optimizer.pt").write_bytes(b"")
    return folders, root


def test_one_file_for_each_step_is_taken_like_one_folder(one_file_each, monkeypatch, tmp_path):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))
    folders, root = one_file_each
    with pytest.warns(CntbenchNote, match=r"skipped optimizer.pt \(files\)"):
        files = open_trajectory(f"dir:{root}", quiet)
    expected = open_trajectory(f"dir:{folders}", quiet)
    assert [(c.name, c.step) for c in files.checkpoints] == [("s-step-0", 0), ("s-step-8", 8)]
    assert [c.revision for c in files.checkpoints] == [c.revision for c in expected.checkpoints]
    checkpoint = files.checkpoints[1]
    linked = checkpoint.origin.fetch(tmp_path / "room")
    verified, _, held = files.verified(checkpoint, linked)
    assert verified.revision == checkpoint.revision
    assert held.problem == ""


def test_a_linked_file_of_weights_has_the_config_beside_the_link(
    one_file_each, tmp_path, monkeypatch
):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    _, store = one_file_each
    blob = Path(shutil.copy(store / "s-step-8.safetensors", tmp_path / "blob"))
    config = json.loads((store / "config.json").read_text())
    for name, eps in (("first", 0.1), ("second", 0.2)):
        (root := tmp_path / name).mkdir()
        (root / "config.json").write_text(json.dumps(config | {"layer_norm_eps": eps}))
        (root / "step8.safetensors").symlink_to(blob)
        [checkpoint] = open_trajectory(f"dir:{root}", quiet).checkpoints
        for room in (None, tmp_path / f"room of {name}"):
            taken = json.loads((checkpoint.origin.fetch(room) / "config.json").read_text())
            assert taken["layer_norm_eps"] == eps


def test_another_config_beside_files_of_weights_is_another_model(
    one_file_each, tmp_path, monkeypatch
):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    ignored = shutil.ignore_patterns("*.pt")
    root = Path(shutil.copytree(one_file_each[1], tmp_path / "files", ignore=ignored))

    def known():
        plan = plan_for(root)
        return identity(plan, SourceBlock(plan.subjects[0]))

    before, path = known(), root / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"transformers_version": "0"}))
    assert known() == before
    path.write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
    assert known() != before


@pytest.mark.parametrize(
    ("name", "says"),
    [("step-50K.safetensors", "ambiguous"), ("step_0.safetensors", "has step 0, as s-step-0")],
)
def test_a_file_of_an_unclear_step_is_refused(one_file_each, tmp_path, monkeypatch, name, says):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    ignored = shutil.ignore_patterns("*.pt")
    root = Path(shutil.copytree(one_file_each[1], tmp_path / "files", ignore=ignored))
    shutil.copy(root / "s-step-0.safetensors", root / name)
    with pytest.raises(CheckpointError, match=says) as caught:
        open_trajectory(f"dir:{root}", quiet)
    assert caught.value.where == str(root / name)


def test_a_damaged_file_is_told_by_its_name_and_costs_no_other(
    one_file_each, tmp_path, monkeypatch
):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    ignored = shutil.ignore_patterns("*.pt")
    root = Path(shutil.copytree(one_file_each[1], tmp_path / "files", ignore=ignored))
    (root / "s-step-0.safetensors").write_bytes(b"short")
    trajectory = open_trajectory(f"dir:{root}", quiet)
    assert [bool(c.revision) for c in trajectory.checkpoints] == [False, True]
    (root / "s-step-8.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError) as caught:
        open_trajectory(f"dir:{root}", quiet)
    assert caught.value.where == str(root / "s-step-0.safetensors")


@pytest.mark.parametrize("choice", ["8", "step8", "checkpoint-8", "5:"])
def test_only_the_chosen_checkpoints_of_a_folder_are_read(one_file_each, choice, monkeypatch):
    read = []
    shape = checkpoint_files.read_shape
    monkeypatch.setattr(
        checkpoint_files, "read_shape", lambda folder: (read.append(folder.name), shape(folder))[1]
    )
    trajectory = open_trajectory(f"dir:{one_file_each[0]}", quiet, checkpoints=choice)
    assert [c.step for c in trajectory.checkpoints] == [8]
    assert read == ["step8"]
