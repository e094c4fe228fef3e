"""Shares of a run: dealt out, measured apart, and merged to the bytes of a whole one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from support.runs import write_study
from support.trajectories import run_cli, run_cli_in, spoil, write_trajectory

from cntbench.errors import CntbenchError
from cntbench.results.storage import open_results
from cntbench.runs.shard import Shard, parse_shard

#: Runs of the study ``tiny``, and the shard that each measures.
RUNS = {"whole": [], "part1": ["--shard", "1/2"], "part2": ["--shard", "2/2"]}


def write_checkpoints(folder: Path) -> Path:
    """Write checkpoints, and studies of them; returns the folder of specs."""
    write_trajectory(folder / "checkpoints")
    for name, untrained in (("tiny", 1), ("other", 0)):
        write_study(folder / "specs", name, folder / "checkpoints", untrained=untrained)
    return folder / "specs"


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Path, dict[str, tuple[int, str, str]]]:
    """The folder in which `RUNS` were measured, and how each command ended."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CNTBENCH_SPECS", str(write_checkpoints(folder)))
        ended = {
            name: run_cli_in(folder, "run", "tiny", *shard, "-o", name, "-j", 1)
            for name, shard in RUNS.items()
        }
    return folder, ended


@pytest.fixture
def cli(measured, monkeypatch, capsys, tmp_path):
    """Run a command line in a folder with copies of `RUNS`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNTBENCH_SPECS", str(measured[0] / "specs"))
    for name in RUNS:
        shutil.copytree(measured[0] / name, tmp_path / name)

    def command(name: str, *arguments: object) -> tuple[int, str, str]:
        return run_cli(monkeypatch, capsys, name, *arguments, "-j", 1)

    return command


def checkpoint_files(folder: str) -> list[str]:
    return sorted(path.stem for path in Path(folder).glob("*/*.nc"))


def results(folder: str) -> bytes:
    return Path(folder, "results.nc").read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a shard of a run"),
        ("2", "not a shard of a run"),
        ("1/2/3", "not a shard of a run"),
        ("-1/2", "not a shard of a run"),
        ("a/b", "not a shard of a run"),
        ("0/2", r"no shard '0/2'\nAllowed: 1/2 … 2/2"),
        ("3/2", "no shard '3/2'"),
        ("0/0", "at least one shard"),
    ],
)
def test_a_malformed_shard_is_refused(text, says):
    with pytest.raises(CntbenchError, match=says):
        parse_shard(text)


@pytest.mark.parametrize("of", range(1, 7))
def test_shards_are_a_partition(of):
    dealt = [Shard(number, of).among(range(5)) for number in range(1, of + 1)]
    assert sorted(index for shard in dealt for index in shard) == list(range(5))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_merged_shards_are_the_bytes_of_a_whole_run(cli, measured):
    assert (
        checkpoint_files("whole")
        == ["results", "step0", "step100", "step8", "untrained2147483648"][1:]
    )
    for name, shard in RUNS.items():
        code, out, err = measured[1][name]
        assert (code, err) == (0, "")
        assert not shard or f"of shard {shard[1]}" in out
    assert checkpoint_files("part1") == ["step0", "step100"]
    assert checkpoint_files("part2") == ["step8", "untrained2147483648"]
    code, out, err = cli("merge", "part1", "part2", "-o", "merged")
    assert (code, err) == (0, "")
    assert "found 3 measured before" in out
    assert results("merged") == results("whole")
    code, out, _ = cli("run", "tiny", "--shard", "2/2", "-o", "part2")
    assert (code, "Measured 0 checkpoints of shard 2/2, found 1 measured" in out) == (0, True)


def test_shards_may_use_one_folder(cli):
    for shard in ("3/3", "1/3", "2/3"):
        assert cli("run", "tiny", "--shard", shard, "-o", "shared")[0] == 0
    assert not Path("shared", "results.nc").exists()
    assert cli("merge", "shared", "-o", "shared")[0] == 0
    assert results("shared") == results("whole")


def test_missing_shards_are_named_and_marked_and_may_be_measured_later(cli):
    code, _, err = cli("merge", "part1", "-o", "merged")
    assert code == 3
    assert "step8 and untrained model 1 of 1: failed: none of the merged folders has" in err
    film = open_results(Path("merged", "results.nc"))
    assert film["status"].sel(task="induction", ablation="zero").values.tolist() == [
        "ok",
        "failed",
        "ok",
    ]
    shutil.copytree("merged", "merged again")
    assert cli("merge", "part2", "-o", "merged again")[0] == 0
    assert results("merged again") == results("whole")
    code, out, _ = cli("run", "tiny", "-o", "merged")
    assert (code, "Measured 1 checkpoint, found 2" in out) == (0, True)
    assert results("merged") == results("whole")


def test_a_damaged_shard_is_not_merged(cli):
    path = Path("part1", "checkpoints", "step100.nc")
    path.write_bytes(path.read_bytes()[:-50])
    code, _, err = cli("merge", "part1", "part2", "-o", "merged")
    assert (code, "step100: failed: none of the merged folders" in err) == (3, True)
    code, out, _ = cli("run", "tiny", "--shard", "1/2", "-o", "part1")
    assert (code, "Measured 1 checkpoint of shard 1/2, found 1" in out) == (0, True)
    assert cli("merge", "part1", "part2", "-o", "merged")[0] == 0
    assert results("merged") == results("whole")


def test_why_a_checkpoint_failed_is_merged_too(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("CNTBENCH_SPECS", str(write_checkpoints(tmp_path)))
    spoil(tmp_path / "checkpoints" / "step8")
    for name in RUNS:
        shutil.rmtree(name)
    whole = cli("run", "tiny", "-o", "whole")
    assert whole[0] == 3
    for shard in ("1/2", "2/2"):
        code, _, _ = cli("run", "tiny", "--shard", shard, "-o", f"part{shard[0]}")
        assert code == (3 if shard == "2/2" else 0)
    code, _, err = cli("merge", "part2", "part1", "-o", "merged")
    assert code == 3
    assert "step8: failed" in err
    assert "none of the merged folders" not in err
    assert results("merged") == results("whole")


def test_folders_of_different_studies_are_not_merged(cli):
    cli("run", "tiny", "--shard", "2/2", "-o", "seeded", "--seed", 3)
    cli("run", "other", "--shard", "2/2", "-o", "part3")
    code, _, err = cli("merge", "part1", "seeded", "-o", "merged")
    assert (code, "seeded: belongs to another study than part1; different: seed" in err) == (
        2,
        True,
    )
    code, _, err = cli("merge", "part1", "part3", "-o", "merged")
    assert (code, "different: spec.untrained and study" in err) == (2, True)
    Path("empty").mkdir()
    code, _, err = cli("merge", "part1", "empty", "-o", "merged")
    assert (code, "empty: is not the folder of a run" in err) == (2, True)
    assert not Path("merged").exists()


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("a", "b", 2), ("", "b", 0), ("b", "", 0), ("b", "b", 0), ("a", None, 2)],
)
def test_shards_of_other_weights_are_not_merged_unless_these_are_unknown(cli, first, second, code):
    """A checkpoint whose identity a shard did not know may be any; one that it lacks may not."""
    for name, identity in (("part1", first), ("part2", second)):
        manifest = Path(name, "study.json")
        study = json.loads(manifest.read_text())
        study["checkpoints"]["step8"] = identity
        if identity is None:
            del study["checkpoints"]["step8"]
        manifest.write_text(json.dumps(study))
    result, _, err = cli("merge", "part1", "part2", "-o", "merged")
    assert result == code, err
    other = "part2: belongs to another study than part1; different: checkpoints.step8"
    assert (other in err) == (code == 2)


def test_a_shard_that_does_not_exist_is_exit_code_2(cli):
    code, _, err = cli("run", "tiny", "--shard", "5/4", "-o", "part")
    assert (code, "--shard: there is no shard '5/4'" in err) == (2, True)
    assert not Path("part").exists()


def test_shards_exclude_whole_runs_and_themselves(cli):
    shutil.copytree("part1", "shared")
    with FileLock(Path("shared", ".lock-1-of-2")):
        for again in (["--shard", "1/2"], []):
            code, _, err = cli("run", "tiny", *again, "-o", "shared")
            assert (code, "another run is using this folder" in err) == (2, True)
        assert cli("run", "tiny", "--shard", "2/2", "-o", "shared")[0] == 0
    assert cli("run", "tiny", "-o", "shared")[0] == 0
