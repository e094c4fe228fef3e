"""Audits: shards that repeat another step's, breaks of the lineage, and a hub read by ranges."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.runs import quiet
from support.trajectories import as_pickle, edit_tensors, in_parts, write_trajectory

from cntbench.errors import CheckpointError
from cntbench.models import weight_samples
from cntbench.models.hub.origin import HubRevision
from cntbench.models.trajectory import Checkpoint, Trajectory, open_trajectory
from cntbench.models.weight_samples import WeightSample, sample_safetensors, sample_tensors
from cntbench.runs.audit import AuditedWeights, audit_trajectory, checked
from cntbench.runs.lineage import lineage_breaks

STEPS = (0, 10, 20, 30, 40, 50)
NAMES = ",".join(f"step{step}" for step in STEPS)
FIRST = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trajectory whose weights go on a path, as training makes them."""
    folder = write_trajectory(tmp_path_factory.mktemp("trained"), steps=STEPS[:1])
    generator = torch.Generator().manual_seed(1)
    tensors = load_file(folder / "step0" / "model.safetensors")
    for step in STEPS[1:]:
        tensors = {
            name: tensor + 0.01 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in tensors.items()
        }
        shutil.copytree(folder / "step0", folder / f"step{step}")
        save_file(tensors, folder / f"step{step}" / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def hub(hub, trained):
    """A hub that serves it."""
    shutil.rmtree(hub.folder)
    shutil.copytree(trained, hub.folder)
    return hub


def audited(text: str, **options: object) -> dict[str, tuple[str, str]]:
    rows = audit_trajectory(open_trajectory(text, quiet), quiet, **options)
    return {row.checkpoint: (row.status, row.reason) for row in rows}


def problems(text: str, **options: object) -> dict[str, tuple[str, str]]:
    return {name: told for name, told in audited(text, **options).items() if told[0] != "ok"}


def by_hub(hub) -> str:
    return f"hub:lab/tiny@{NAMES}"


def by_folder(hub) -> str:
    return f"dir:{hub.folder}"


SOURCES = pytest.mark.parametrize("source", [by_hub, by_folder])


@SOURCES
def test_a_shard_that_repeats_another_steps_is_told(hub, source):
    for step in STEPS:
        in_parts(hub.folder / f"step{step}")
    assert problems(source(hub)) == {}
    shutil.copy(hub.folder / "step20" / FIRST, hub.folder / "step40" / FIRST)
    status, reason = problems(source(hub))["step40"]
    assert status == "suspect"
    assert reason.startswith(f"{FIRST} is that of step20")


@SOURCES
def test_a_checkpoint_of_another_training_is_told(hub, source, tmp_path):
    write_trajectory(tmp_path, steps=(30,), first_seed=7)
    shutil.copy(tmp_path / "step30" / "model.safetensors", hub.folder / "step30")
    reports = problems(source(hub))
    assert list(reports) == ["step30"]
    assert reports["step30"][0] == "suspect"
    assert "times as far from its neighbours as these from each other" in reports["step30"][1]


def test_a_training_that_goes_on_from_other_weights_is_told(hub):
    for step in STEPS[3:]:
        edit_tensors(
            hub.folder / f"step{step}", lambda tensors: {n: t.flip(0) for n, t in tensors.items()}
        )
    reports = problems(by_hub(hub))
    assert list(reports) == ["step30"]
    assert "as far from the checkpoint before as the distances around it" in reports["step30"][1]


def test_pickled_weights_have_the_hashes_that_the_hub_lists_and_no_lineage(hub):
    for step in STEPS:
        as_pickle(hub.folder / f"step{step}")
    shutil.copy(hub.folder / "step0" / "pytorch_model.bin", hub.folder / "step10")
    assert problems(by_hub(hub)) == {"step10": ("duplicate", "same weights as step0")}
    assert not sum(hub.sent[revision, "pytorch_model.bin"] for revision in hub.revisions())
    hub.hashes = False
    assert problems(by_hub(hub)) == {}
    rows = audit_trajectory(open_trajectory(by_hub(hub), quiet), quiet)
    assert {row.revision for row in rows} == {""}
    assert problems(by_folder(hub)) == {"step10": ("duplicate", "same weights as step0")}


@pytest.mark.parametrize("pickled", [STEPS[1:2], STEPS[1:]], ids=["one", "most"])
@pytest.mark.parametrize(("source", "whole"), [(by_hub, False), (by_hub, True), (by_folder, False)])
def test_checkpoints_in_another_format_are_not_suspect(hub, source, pickled, whole):
    for step in pickled:
        path = as_pickle(hub.folder / f"step{step}")
        buffers = {"gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9)}
        torch.save({**torch.load(path), **buffers}, path)
    assert problems(source(hub), whole=whole) == {}


@pytest.mark.parametrize(("tied", "status"), [(True, "ok"), (False, "suspect")])
def test_a_stored_copy_of_tied_weights_is_not_suspect(tmp_path, tied, status):
    write_trajectory(tmp_path, architecture="llama", steps=(0, 8, 16), tie_word_embeddings=True)
    name = "lm_head.weight" if tied else "model.rotary.weight"
    edit_tensors(
        tmp_path / "step8",
        lambda tensors: {**tensors, name: tensors["model.embed_tokens.weight"].clone()},
    )
    assert [told[0] for told in audited(f"dir:{tmp_path}").values()] == ["ok", status, "ok"]


def test_ranges_read_headers_and_samples_only(hub, monkeypatch):
    monkeypatch.setattr(weight_samples, "SMALL", 0)
    monkeypatch.setattr(weight_samples, "HEAD", 64)
    monkeypatch.setattr(weight_samples, "TENSORS", 3)
    monkeypatch.setattr(weight_samples, "EACH", 40)
    trajectory = open_trajectory(by_hub(hub), quiet)
    hub.requests.clear()
    rows = audit_trajectory(trajectory, quiet)
    assert {row.status for row in rows} == {"ok"}
    for step in STEPS:
        path = hub.folder / f"step{step}" / "model.safetensors"
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert hub.sent[f"step{step}", path.name] == 64 + (header - 8) + 3 * 40
        assert hub.sent[f"step{step}", path.name] < path.stat().st_size
        requests = [(method, file) for method, at, file in hub.requests if at == f"step{step}"]
        assert requests == [("GET", "tree"), *5 * [("GET", path.name)]]


def test_whole_downloads_and_reads_all(hub):
    assert problems(by_hub(hub), whole=True) == {}
    size = (hub.folder / "step0" / "model.safetensors").stat().st_size
    assert hub.sent["step0", "model.safetensors"] == size


def test_a_list_of_files_is_read_to_its_last_page(hub):
    hub.page = 1
    assert len(list((hub.folder / "step0").iterdir())) > 1
    assert problems(by_hub(hub)) == {}


def test_without_hashes_files_are_told_apart_by_their_samples(hub):
    hub.hashes = False
    shutil.copy(hub.folder / "step0" / "model.safetensors", hub.folder / "step10")
    assert problems(by_hub(hub)) == {"step10": ("duplicate", "same weights as step0")}


def test_equal_samples_in_another_file_are_suspect(hub):
    tensors = load_file(hub.folder / "step0" / "model.safetensors")
    save_file(tensors, hub.folder / "step10" / "model.safetensors", {"saved": "again"})
    reports = problems(by_hub(hub))
    assert reports == {"step10": ("suspect", "its samples are those of step0, in another file")}


def test_a_shard_that_is_not_there_and_a_damaged_header_are_told(hub):
    in_parts(hub.folder / "step10")
    (hub.folder / "step10" / FIRST).unlink()
    path = hub.folder / "step20" / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    reports = problems(by_hub(hub))
    assert reports["step10"] == ("missing", f"the revision has no {FIRST}")
    assert reports["step20"][0] == "failed"
    assert "model.safetensors: is not a complete safetensors file" in reports["step20"][1]


def test_a_server_that_sends_no_parts_is_told(hub):
    hub.break_("step20", "model.safetensors", "status", status=200)
    assert problems(by_hub(hub))["step20"] == (
        "failed",
        "the hub does not send parts of model.safetensors. cntbench audit --whole downloads it.",
    )


def test_other_tensors_than_most_checkpoints_have_are_told(hub):
    edit_tensors(hub.folder / "step20", lambda tensors: tensors | {"extra": torch.ones(2)})
    reports = problems(by_hub(hub))
    assert reports["step20"][1] == "its tensors are not those of most checkpoints: 'extra'"


def test_a_sample_is_of_the_middle_of_tensors_and_holds_their_numbers(tmp_path, monkeypatch):
    tensors = {f"t{i:02d}": torch.arange(100.0).reshape(10, 10) + i for i in range(40)}
    tensors |= {"a.mask": torch.full((4, 4), -torch.inf), "n": torch.arange(8)}
    path = tmp_path / "model.safetensors"
    save_file({**tensors, "h": tensors["t00"].bfloat16()}, path)
    content = path.read_bytes()
    monkeypatch.setattr(weight_samples, "SMALL", 0)
    monkeypatch.setattr(weight_samples, "EACH", 40)

    def read(start: int, stop: int) -> bytes:
        return content[start:stop]

    sample = sample_safetensors(read, len(content), buffers=("mask",), where="here")
    assert len(sample.values) == 16
    assert "a.mask" not in sample.values
    for name, values in sample.values.items():
        if name != "h":
            np.testing.assert_array_equal(values, tensors[name].reshape(-1)[45:55].numpy())
    assert len(sample_tensors(tensors, ("mask",)).values) == 16


@pytest.mark.parametrize(
    "told",
    [
        {"data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 6]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]},
    ],
    ids=["no type", "part of a number", "no shape", "list of types"],
)
def test_a_damaged_header_is_one_of_its_file(told):
    header = json.dumps({"a": told}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(CheckpointError, match=r"^here: is not a complete safetensors file: "):
        sample_safetensors(lambda start, stop: content[start:stop], len(content), where="here")


def path_of(count: int, seed: int = 0) -> list[WeightSample]:
    random = np.random.default_rng(seed)
    points = 10 + np.cumsum(random.normal(size=(count, 500)), axis=0)
    return [WeightSample(values={"w": point.astype(np.float32)}) for point in points]


def test_distances_are_relative_and_over_what_both_have():
    first = WeightSample(values={"a": np.float32([3, 4]), "b": np.float32([1])})
    other = WeightSample(values={"a": np.float32([3, 4]) * 2, "c": np.float32([1])})
    assert first.distance(other) == pytest.approx(5 / np.sqrt(5 * 10))
    assert np.isnan(first.distance(WeightSample()))


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_and_a_straight_line_break_no_lineage(seed):
    assert lineage_breaks(range(0, 300, 10), path_of(30, seed)) == {}
    schedule = [0, *(2**i for i in range(10)), *range(1000, 5000, 1000)]
    line = [WeightSample(values={"w": np.float32([1e4 + step, 1e4])}) for step in schedule]
    assert lineage_breaks(schedule, line) == {}


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (("1", "2"), ("1", "2"), "duplicate"),
        (("1", "2"), ("2", "1"), "suspect"),
        (("1", ""), ("1", ""), "suspect"),
        (("", ""), ("", ""), "ok"),
        (("",), ("",), "ok"),
        (("1",), ("1",), "duplicate"),
    ],
)
def test_files_whose_hashes_are_not_known_repeat_nothing(monkeypatch, first, second, status):
    files = {"step0": first, "step1": second}
    monkeypatch.setattr(
        HubRevision,
        "sample",
        lambda self, buffers: WeightSample(
            files={f"{number}.bin": digest for number, digest in enumerate(files[self.name])}
        ),
    )
    monkeypatch.setattr(HubRevision, "is_here", lambda self: False)
    checkpoints = [
        Checkpoint(name, step, "", HubRevision("o/n", name, "c")) for step, name in enumerate(files)
    ]
    rows = audit_trajectory(Trajectory("hub:o/n", None, tuple(checkpoints)), quiet)
    assert [row.status for row in rows] == ["ok", status]


@pytest.mark.parametrize("odd", [{"a": "F32 [2]"}, {"a": "F32 [1]", "b": "F32 [1]", "c": "F32"}])
def test_other_tensors_than_those_of_most_are_suspect(odd):
    usual = {"a": "F32 [1]", "b": "F32 [1]"}
    kinds = [usual, odd, {"a": "F32 [1]"}, usual, usual]
    rows = checked(
        [
            AuditedWeights(f"step{i}", i, str(i), "ok", "", sample=WeightSample(tensors))
            for i, tensors in enumerate(kinds)
        ]
    )
    assert [row.status for row in rows] == ["ok", "suspect", "suspect", "ok", "ok"]


@pytest.mark.parametrize(("share", "broken"), [(0.99, False), (1.01, True)])
def test_a_lineage_breaks_where_it_is_stated(share, broken):
    """A checkpoint far from both neighbours, and a jump, which grows with the gap in steps."""

    def breaks(steps, places):
        samples = [WeightSample(values={"w": np.float32([1e4, *place])}) for place in places]
        return [*lineage_breaks(steps, samples)]

    height = np.sqrt((1.5 * share) ** 2 - 0.25)
    assert breaks(range(3), [(-0.5, 0), (0, height), (0.5, 0)]) == [1] * broken
    for gap in (1, 3):
        jump = 2 + 4 * share * gap
        line = [(place, 0) for place in (0, 1, 2, jump, jump + 1, jump + 2)]
        steps = [0, 1, 2, 2 + gap, 3 + gap, 4 + gap]
        assert breaks(steps, line) == [3] * broken


def test_few_checkpoints_break_nothing():
    for count in range(3):
        assert lineage_breaks(range(count), path_of(count)) == {}


def test_the_first_of_two_is_the_one_that_is_not_repeated():
    def row(step, file, revision="", status="ok", value=1.0):
        values = {"w": np.full(8, value, np.float32)}
        sample = WeightSample({"w": "F32 [8]"}, values, {"model.safetensors": file})
        name = f"step{step}"
        return AuditedWeights(name, step, revision, status, "", sample=sample, sampled=True)

    other_file = checked([row(0, "a"), row(8, "b"), row(16, "c", value=2.0)])
    assert [r.status for r in other_file] == ["ok", "suspect", "ok"]
    assert other_file[1].reason == "its samples are those of step0, in another file"
    same_file = checked([row(0, "a"), row(8, "a")])
    assert [r.reason for r in same_file] == ["", "model.safetensors is that of step0"]
    failed = checked(
        [row(0, "a", "r"), row(8, "b", "r", status="failed"), row(16, "c", "r", value=2.0)]
    )
    assert [r.status for r in failed] == ["ok", "failed", "duplicate"]


def test_a_sample_from_the_middle_holds_whole_numbers(tmp_path):
    weight = torch.arange(1_000_001).remainder(2000).to(torch.float16)[:, None]
    save_file({"weight": weight}, path := tmp_path / "model.safetensors")
    content = path.read_bytes()
    read = sample_safetensors(lambda a, b: content[a:b], len(content), where="here")
    expected = sample_tensors({"weight": weight}).values["weight"]
    np.testing.assert_array_equal(read.values["weight"], expected)
