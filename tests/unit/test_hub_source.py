"""hub: trajectories, on a hub of our own: what is asked of it, what is kept, what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download
from support.runs import quiet
from support.text import write_tokenizer
from support.trajectories import Trap, as_pickle, in_parts, write_trajectory

from cntbench.errors import CheckpointError, CntbenchNote, MissingCheckpointError
from cntbench.models import checkpoint_files, named_weights
from cntbench.models.hub import client
from cntbench.models.hub.origin import to_download
from cntbench.models.trajectory import open_trajectory, outline_trajectory

ALL = "hub:lab/tiny@step0,step8,step100"


def local(hub, name: str) -> str:
    return named_weights.revision(checkpoint_files.read_tensors(hub.folder / name))


def fill_cache(name: str, *files: str) -> None:
    """Put files into the hub cache, as ``hf download`` does."""
    wanted = files or ("config.json", "tokenizer.json", "model.safetensors")
    snapshot_download("lab/tiny", revision=name, allow_patterns=list(wanted))


@pytest.fixture
def offline(monkeypatch):
    """Go offline as huggingface_hub does by HF_HUB_OFFLINE."""
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def no_network(hub, monkeypatch):
    """Lose the network: nobody listens any more where the hub was."""

    def lose():
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        url = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)

    return lose


def test_opening_resolves_commits_and_reads_one_config(hub):
    trajectory = open_trajectory("hub:lab/tiny@step8,step0..step100:100", quiet)
    assert trajectory.identity == "hub:lab/tiny"
    assert [c.name for c in trajectory.checkpoints] == ["step0", "step8", "step100"]
    assert [c.identity for c in trajectory.checkpoints] == [
        hub.commit(name) for name in ("step0", "step8", "step100")
    ]
    assert [c.revision for c in trajectory.checkpoints] == ["", "", ""]
    assert len(trajectory.shape.components) == 6
    assert checkpoint_files.read_shape(trajectory.config) == trajectory.shape
    assert set(hub.requests) == {
        ("GET", "", "refs"), ("HEAD", "step0", "config.json"), ("GET", "step0", "config.json"),
        ("HEAD", "step0", "tokenizer.json"),
    }  # fmt: skip


def test_branches_that_are_not_asked_for_tell_how_stages_count(hub):
    for old, new in (("0", "stage1-step8"), ("8", "stage1-step40"), ("100", "stage2-step20")):
        (hub.folder / f"step{old}").rename(hub.folder / new)
    with pytest.warns(CntbenchNote, match="steps of stage 2 count on from 8"):
        trajectory = open_trajectory("hub:lab/tiny@stage1-step8,stage2-step20", quiet)
    assert [checkpoint.step for checkpoint in trajectory.checkpoints] == [8, 28]


def test_a_checkpoint_has_the_revision_of_the_same_files_in_a_folder(hub, tmp_path):
    trajectory = open_trajectory(ALL, quiet)
    for checkpoint in trajectory.checkpoints:
        folder = checkpoint.origin.fetch(tmp_path / "rooms" / checkpoint.name)
        assert folder == tmp_path / "rooms" / checkpoint.name
        read, model = trajectory.read(checkpoint, folder)
        assert read.revision == local(hub, checkpoint.name)
        assert read.identity == checkpoint.identity
        assert model.components == trajectory.shape.components


@pytest.mark.parametrize("other", [lambda folder: None, in_parts, as_pickle])
def test_only_files_that_are_needed_are_asked_for(hub, tmp_path, other):
    folder = hub.folder / "step0"
    before = local(hub, "step0")
    other(folder)
    needed = {path.name for path in folder.iterdir()} - {"generation_config.json"}
    for name in ("README.md", "vocab.json", "evil.py", "optimizer.pt", "flax_model.msgpack"):
        (folder / name).write_text("x")
    if (folder / "model.safetensors").exists():
        shutil.copy(folder / "config.json", folder / "pytorch_model.bin")
    trajectory = open_trajectory("hub:lab/tiny@step0", quiet)
    (checkpoint,) = trajectory.checkpoints
    read, _ = trajectory.read(checkpoint, checkpoint.origin.fetch(tmp_path / "room"))
    assert read.revision == before
    assert {file for method, _, file in hub.requests if method == "GET"} == {"refs", *needed}


def test_a_pickle_that_runs_code_is_refused_and_runs_none(hub, tmp_path):
    import torch

    path, canary = as_pickle(hub.folder / "step8"), tmp_path / "canary"
    torch.save({"trap": Trap(canary)}, path)
    trajectory = open_trajectory(ALL, quiet)
    with pytest.raises(CheckpointError, match="never executes"):
        trajectory.load(trajectory.checkpoints[1])
    assert not canary.exists()


def test_code_that_a_config_names_is_neither_asked_for_nor_run(hub, tmp_path):
    canary = tmp_path / "canary"
    for name in hub.revisions():
        folder = hub.folder / name
        (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n")
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
        (folder / "config.json").write_text(json.dumps(config))
    message = (
        r"^hub:lab/tiny: the model's own code \(evil\.Evil\) is never .* measured as 'gpt_neox' of"
    )
    with pytest.warns(CntbenchNote, match=message) as notes:
        trajectory = open_trajectory(ALL, quiet)
    assert len(notes) == 1
    trajectory.load(trajectory.checkpoints[0])
    trajectory.read(trajectory.untrained(1)[0], trajectory.config)
    assert not canary.exists()
    assert "evil.py" not in {file for _, _, file in hub.requests}


def test_what_lies_in_the_hub_cache_is_not_asked_for_and_stays(hub, tmp_path):
    fill_cache("step8")
    hub.requests.clear()
    trajectory = open_trajectory(ALL, quiet)
    folder = trajectory.checkpoints[1].origin.fetch(tmp_path / "room")
    assert Path(constants.HF_HUB_CACHE) in folder.parents
    assert not (tmp_path / "room").exists()
    assert not hub.asked("model.safetensors")
    assert trajectory.read(trajectory.checkpoints[1], folder)[0].revision == local(hub, "step8")


def test_a_hub_cache_that_has_only_some_of_the_files_is_no_checkpoint(hub, tmp_path):
    in_parts(hub.folder / "step8")
    fill_cache("step8", "config.json", "model.safetensors.index.json")
    trajectory = open_trajectory(ALL, quiet)
    folder = trajectory.checkpoints[1].origin.fetch(tmp_path / "room")
    assert folder == tmp_path / "room"
    assert trajectory.read(trajectory.checkpoints[1], folder)[0].revision == local(hub, "step8")


def test_without_a_room_a_checkpoint_goes_into_the_hub_cache(hub):
    trajectory = open_trajectory(ALL, quiet)
    trajectory.load(trajectory.checkpoints[1])
    hub.requests.clear()
    trajectory.load(trajectory.checkpoints[1])
    assert not hub.requests


def test_a_whole_room_is_used_again_and_a_broken_one_is_not(hub, tmp_path):
    room = tmp_path / "room"
    origin = open_trajectory(ALL, quiet).checkpoints[0].origin
    origin.fetch(room)
    hub.requests.clear()
    origin.fetch(room)
    assert not hub.requests
    (room / ".whole").unlink()
    (room / "model.safetensors").write_bytes(b"half")
    origin.fetch(room)
    assert hub.asked() == ["step0"]
    hub.moved.add("step0")
    other = open_trajectory(ALL, quiet).checkpoints[0].origin
    assert other.identity != origin.identity
    hub.requests.clear()
    other.fetch(room)
    assert hub.asked() == ["step0"]


def test_a_revision_that_does_not_exist_is_a_gap(hub, tmp_path):
    trajectory = open_trajectory("hub:lab/tiny@step0,step4,step100", quiet)
    gap = trajectory.checkpoints[1]
    assert (gap.name, gap.step, gap.identity) == ("step4", 4, "")
    with pytest.raises(MissingCheckpointError, match="step4: the repository has no such revision"):
        gap.origin.fetch(tmp_path)


def test_a_gap_is_no_download(hub):
    names = "hub:lab/tiny@step0,step4,step100"
    trajectory = outline_trajectory(names, quiet, tokenizer=False)
    download = to_download(trajectory.outline, trajectory.checkpoints)
    assert download is not None
    assert download.count == 2


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_revision_without_its_files_is_a_gap(hub, tmp_path, file):
    (hub.folder / "step8" / file).unlink()
    trajectory = open_trajectory(ALL, quiet)
    with pytest.raises(MissingCheckpointError, match=rf"step8: the revision has no .*{file}"):
        trajectory.checkpoints[1].origin.fetch(tmp_path / "room")


def test_the_shape_is_that_of_the_first_revision_with_a_config(hub):
    (hub.folder / "step0" / "config.json").unlink()
    assert hub.commit("step8") in str(open_trajectory(ALL, quiet).config)


def remove_configs(hub):
    for name in hub.revisions():
        (hub.folder / name / "config.json").unlink()


@pytest.mark.parametrize(
    ("text", "prepare", "says"),
    [
        ("lab/tiny", None, ["needs revisions", "hub:ORG/NAME@step1000..step143000:1000"]),
        ("lab/tiny@step1", None, ["no revision 'step1'", "Did you mean 'step0'?", "step100"]),
        ("lab/tiny@step90,step70", None, ["nor any of the other 1", "Did you mean 'step100'?"]),
        ("lab/tinny@step0", None, ["no repository 'lab/tinny'", "Check the name"]),
        ("lab//tiny@step0", None, ["'lab//tiny' is not the name of a repository"]),
        ("@step0", None, ["'' is not the name of a repository"]),
        ("lab/tiny@step0", lambda hub: setattr(hub, "gated", True),
         ["is gated", "Accept its terms at http", "hf auth login"]),
        ("lab/tiny@step0", lambda hub: hub.break_("", "refs", "status", status=403),
         ["access is refused: the hub answers 403", "HF_TOKEN"]),
        ("lab/tiny@step0", lambda hub: hub.break_("", "refs", "status", status=500),
         ["step0: could not be downloaded: the hub answers 500", "hf download lab/tiny"]),
        ("lab/tiny@step0", lambda hub: hub.break_("", "refs", "hang"),
         ["could not be downloaded: the hub cannot be reached", "hf download lab/tiny"]),
        ("lab/tiny@step0", lambda hub: hub.break_("", "refs", "short", size=5),
         ["step0: could not be downloaded: the server is not a hub: it lists no revisions"]),
        ("lab/tiny@step0,step8,step100", remove_configs, ["none of the revisions has a config"]),
    ],
)  # fmt: skip
def test_a_trajectory_that_cannot_be_opened_is_explained(hub, text, prepare, says):
    if prepare:
        prepare(hub)
    with pytest.raises(CheckpointError) as caught:
        open_trajectory(f"hub:{text}", quiet)
    for part in says:
        assert part in str(caught.value)


def test_many_revisions_are_not_all_listed(hub):
    for step in range(200, 230):
        shutil.copytree(hub.folder / "step0", hub.folder / f"step{step}")
    with pytest.raises(CheckpointError) as caught:
        open_trajectory("hub:lab/tiny@step300", quiet)
    hint = "Did you mean 'step229'? 33 revisions have a step: step0, step8, step100, step200"
    assert hint in str(caught.value)
    assert "…, step229." in str(caught.value)
    assert "step215" not in str(caught.value)


def test_a_hub_that_is_busy_is_asked_again_when_it_says(hub):
    hub.break_("", "refs", "status", times=1, status=429, headers={"Retry-After": "7"})
    assert len(open_trajectory(ALL, quiet).checkpoints) == 3
    assert 8.0 in hub.slept  # a second more, for rounding


def test_offline_the_same_trajectory_opens_with_the_same_commits(hub, offline, tmp_path):
    online = open_trajectory(ALL, quiet)
    fill_cache("step8")
    offline()
    hub.requests.clear()
    trajectory = open_trajectory(ALL, quiet)
    assert [c.identity for c in trajectory.checkpoints] == [c.identity for c in online.checkpoints]
    assert trajectory.shape == online.shape
    trajectory.load(trajectory.checkpoints[1])
    with pytest.raises(CheckpointError) as caught:
        trajectory.checkpoints[2].origin.fetch(tmp_path / "room")
    assert "hub:lab/tiny@step100: could not be downloaded: HF_HUB_OFFLINE is set" in str(
        caught.value
    )
    assert "hf download lab/tiny config.json tokenizer.json model" in str(caught.value)
    assert not hub.requests


def test_offline_a_branch_that_has_moved_is_the_one_whose_files_are_here(hub, offline):
    open_trajectory(ALL, quiet)
    hub.moved |= {"step8", "step100"}
    fill_cache("step8")
    offline()
    trajectory = open_trajectory(ALL, quiet)
    was = {name: hub.commit(name, moved=False) for name in ("step0", "step100")}
    commits = {checkpoint.name: checkpoint.identity for checkpoint in trajectory.checkpoints}
    assert commits == {**was, "step8": hub.commit("step8")}
    trajectory.load(trajectory.checkpoints[1])


def test_the_tokenizer_of_the_first_revision_is_kept_and_counts(hub, offline):
    write_tokenizer(hub.folder / "step0", ["a text of some words"], size=300)
    served = (hub.folder / "step0" / "tokenizer.json").read_bytes()
    online = open_trajectory(ALL, quiet)
    assert online.tokenizer.path.read_bytes() == served
    assert 0 not in online.language.vocabulary, "the first token is special"
    hub.requests.clear()
    offline()
    trajectory = open_trajectory(ALL, quiet)
    assert trajectory.tokenizer.identity == online.tokenizer.identity
    assert not hub.requests


def test_offline_a_tokenizer_of_which_nothing_is_known_is_not_taken_for_none(hub, offline):
    for file in ("config.json", "model.safetensors"):
        hf_hub_download("lab/tiny", file, revision="step0")
    offline()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json could not be downloaded: HF_HUB_"):
        open_trajectory(ALL, quiet)


def test_offline_the_hub_cache_tells_commits_if_nothing_else_does(hub, offline):
    for name in ("step0", "step8"):
        fill_cache(name)
    offline()
    trajectory = open_trajectory(ALL, quiet)
    assert [c.identity for c in trajectory.checkpoints] == [
        hub.commit("step0"), hub.commit("step8"), "",
    ]  # fmt: skip
    with pytest.raises(
        CheckpointError, match="step100: could not be downloaded: HF_HUB_OFFLINE"
    ) as caught:
        trajectory.load(trajectory.checkpoints[2])
    assert not isinstance(caught.value, MissingCheckpointError), "nobody knows whether it is there"


@pytest.mark.filterwarnings("ignore::cntbench.errors.CntbenchNote")
def test_offline_a_stage_0_is_a_stage_too(hub, offline):
    shutil.copytree(hub.folder / "step0", hub.folder / "stage0-step8")
    fill_cache("stage0-step8")
    offline()
    with pytest.warns(CntbenchNote, match="revisions are not known here"):
        open_trajectory("hub:lab/tiny@stage0-step8", quiet)


@pytest.mark.filterwarnings("ignore::cntbench.errors.CntbenchNote")
def test_offline_patterns_and_stages_go_by_all_revisions_of_the_hub_cache(hub, offline):
    names = ["stage1-step8", "stage1-step16", "stage2-step4", "stage2-step12"]
    for name in names:
        shutil.copytree(hub.folder / "step0", hub.folder / name)
        fill_cache(name)
    shutil.rmtree(hub.folder / "step0")
    text = "hub:lab/tiny@stage1-step8,stage2-step12"
    with pytest.warns(CntbenchNote, match="count on from 8"):
        steps = [checkpoint.step for checkpoint in open_trajectory(text, quiet).checkpoints]
    shutil.rmtree(client.cache_folder() / "hub")
    offline()
    known = "its revisions are not known here, only those in the hub cache"
    with pytest.warns(CntbenchNote, match=f"hub:lab/tiny: {known}"):
        assert (
            [checkpoint.step for checkpoint in open_trajectory(text, quiet).checkpoints]
            == steps
            == [8, 20]
        )
    with pytest.warns(CntbenchNote, match=known):
        result = open_trajectory("hub:lab/tiny@stage1-*", quiet).checkpoints
    assert [checkpoint.name for checkpoint in result] == names[:2]


def test_offline_a_pattern_is_not_said_to_match_nothing(hub, offline):
    offline()
    with pytest.raises(
        CheckpointError, match=r"lab/tiny@step\*: could not be .*HF_HUB_OFFLINE is set"
    ):
        open_trajectory("hub:lab/tiny@step*", quiet)


def test_without_a_network_nothing_is_waited_for(hub, no_network, tmp_path):
    open_trajectory(ALL, quiet)
    no_network()
    with pytest.raises(CheckpointError) as caught:  # the record is another endpoint's
        open_trajectory("hub:lab/tiny@step0", quiet)
    assert "hub:lab/tiny@step0: could not be downloaded: the hub cannot be reached" in str(
        caught.value
    )
    fill = Path(constants.HF_HUB_CACHE)
    assert fill.is_dir()
    hub.slept.clear()
    client._record("lab/tiny", {name: hub.commit(name) for name in hub.revisions()})
    trajectory = open_trajectory(ALL, quiet)
    waited = len(hub.slept)
    with pytest.raises(CheckpointError, match="step100: could not be downloaded: the hub cannot"):
        trajectory.checkpoints[2].origin.fetch(tmp_path / "room")
    assert len(hub.slept) == waited


def test_a_hub_that_is_down_for_its_revisions_may_still_have_files(hub, tmp_path):
    open_trajectory(ALL, quiet)
    hub.break_("", "refs", "status", status=503)
    trajectory = open_trajectory(ALL, quiet)
    assert trajectory.checkpoints[2].origin.fetch(tmp_path / "room") == tmp_path / "room"


def test_a_record_that_cannot_be_moved_into_place_leaves_no_file(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError

    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "replace", full)
    client._record("lab/tiny", {"main": "0"})
    assert [*(tmp_path / "hub").iterdir()] == []


def test_a_record_that_is_damaged_or_cannot_be_written_is_none(hub, offline, monkeypatch, tmp_path):
    open_trajectory(ALL, quiet)
    (path,) = (tmp_path / "home" / "cntbench" / "hub").glob("*.json")
    path.write_text("[]")
    assert client._recorded("lab/tiny") == {}
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "file"))
    assert len(open_trajectory(ALL, quiet).checkpoints) == 3


FAULTS = [
    ("a busy hub says when", {"kind": "status", "status": 429, "times": 1,
                              "headers": {"Retry-After": "3"}}, None),
    ("errors that pass", {"kind": "status", "status": 500, "times": 2, "method": "GET"}, None),
    ("errors of HEAD that pass", {"kind": "status", "status": 500, "times": 2}, None),
    ("errors that stay", {"kind": "status", "status": 500}, "the hub answers 500"),
    ("a body that ends too early", {"kind": "cut", "times": 1, "method": "GET"}, None),
    ("a file that is cut short", {"kind": "short", "method": "GET"}, "the download is incomplete"),
    ("a hub that hangs for a while", {"kind": "hang", "times": 2}, None),
    ("a hub that hangs", {"kind": "hang", "method": "GET"}, "the hub cannot be reached"),
    ("a file that is refused", {"kind": "status", "status": 403}, "access is refused"),
    ("a file that is gone", {"kind": "status", "status": 404}, "cannot find its files"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fault", "says"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_download_goes_on_or_says_why_not(hub, tmp_path, name, fault, says):
    trajectory = open_trajectory(ALL, quiet)
    hub.break_("step8", "model.safetensors", **fault)
    checkpoint = trajectory.checkpoints[1]
    if says is None:
        folder = checkpoint.origin.fetch(tmp_path / "room")
        assert trajectory.read(checkpoint, folder)[0].revision == local(hub, "step8")
        return
    with pytest.raises(CheckpointError, match=says) as caught:
        checkpoint.origin.fetch(tmp_path / "room")
    assert str(caught.value).startswith("hub:lab/tiny@step8: ")
    assert isinstance(caught.value, MissingCheckpointError) == (fault.get("status") == 404)


def test_a_file_that_is_cut_short_on_the_hub_is_told_by_its_reader(hub, tmp_path):
    trajectory = open_trajectory(ALL, quiet)
    hub.break_("step8", "model.safetensors", "short")
    folder = trajectory.checkpoints[1].origin.fetch(tmp_path / "room")
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        trajectory.read(trajectory.checkpoints[1], folder)


def test_another_architecture_is_told_before_anything_is_downloaded(hub):
    for name in hub.revisions():
        path = hub.folder / name / "config.json"
        path.write_text(path.read_text().replace("gpt_neox", "gpt_nex"))
    with pytest.raises(CheckpointError, match="'gpt_nex' is not supported"):
        open_trajectory(ALL, quiet)
    assert not hub.asked("model.safetensors")


def test_a_full_disk_is_told(hub, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    trajectory = open_trajectory(ALL, quiet)
    monkeypatch.setattr(client, "hf_hub_download", full)
    with pytest.raises(CheckpointError, match="could not be stored: No space left"):
        trajectory.checkpoints[0].origin.fetch(tmp_path / "room")


def test_a_mistake_of_the_program_is_not_called_the_hubs(hub, tmp_path, monkeypatch):
    def wrong(*_: object, **__: object) -> None:
        raise TypeError("unexpected")

    trajectory = open_trajectory(ALL, quiet)
    monkeypatch.setattr(client, "hf_hub_download", wrong)
    with pytest.raises(TypeError):
        trajectory.checkpoints[0].origin.fetch(tmp_path / "room")
    monkeypatch.setattr(client, "http_backoff", wrong)
    with pytest.raises(TypeError):
        open_trajectory(ALL, quiet)


def test_a_trajectory_of_other_shape_is_told_of_the_checkpoint(hub, tmp_path):
    write_trajectory(tmp_path / "other", steps=(8,), heads=1)
    shutil.rmtree(hub.folder / "step8")
    shutil.move(tmp_path / "other" / "step8", hub.folder / "step8")
    trajectory = open_trajectory(ALL, quiet)
    with pytest.raises(CheckpointError, match="differs from the rest"):
        trajectory.load(trajectory.checkpoints[1])


@pytest.mark.parametrize("bad", [1, 3])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_bad_file_of_the_first_revision_costs_no_other(hub, name, bad):
    steps = ("step0", "step8", "step100")
    for step in steps:
        write_tokenizer(hub.folder / step, ["a b c"])
    for step in steps[:bad]:
        (hub.folder / step / name).write_text("[" * 100_000)
    if bad < len(steps):
        trajectory = open_trajectory(ALL, quiet)
        assert trajectory.tokenizer.path.parent.name == hub.commit("step8")
        assert len(trajectory.checkpoints) == 3
    else:
        with pytest.raises(CheckpointError, match=name):
            open_trajectory(ALL, quiet)


def test_tags_are_revisions_and_a_branch_of_the_same_name_comes_first():
    tags, branches = (
        [{"name": name, "targetCommit": commit * 40} for name, commit in named.items()]
        for named in ({"step0": "a", "step8": "b"}, {"step8": "c", "main": "d"})
    )
    commits = client._commits(json.dumps({"tags": tags, "branches": branches}))
    assert commits == {"step0": "a" * 40, "step8": "c" * 40, "main": "d" * 40}
