"""Leaderboards: methods of several authors on the same models, and files that do not belong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from support.comparisons import CIRCUITS, compared
from support.trajectories import run_cli

import cntbench
from cntbench.comparison.files import COMPARISON
from cntbench.comparison.leaderboard import leaderboard
from cntbench.errors import CntbenchError, StorageError
from cntbench.reporting.leaderboard import markdown, page
from cntbench.results.storage import write_dataset
from cntbench.views.verdict import verdict as view_of

HOSTILE = "<script>window.harmed = 1</script>|`"


@pytest.fixture
def files(tmp_path):
    """Ours, and theirs: a method of their own, ours again, and another one of a name of ours."""
    write_dataset(compared({"zero": 0.8, "mean": 0.9}, [4, 5]), tmp_path / "ours.nc", COMPARISON)
    theirs = compared({"zero": 0.8, "mean": 0.7, HOSTILE: 0.95}, [4, 5, 50])
    write_dataset(theirs, tmp_path / "theirs.nc", COMPARISON)
    return [tmp_path / "ours.nc", tmp_path / "theirs.nc"]


def test_methods_of_several_files_are_ranked_together(files):
    board = leaderboard(files)
    assert list(board["ablation"].values) == ["zero", "mean", "mean (theirs)", HOSTILE]
    assert list(board["rank"].sel(purpose="direct_edges").values) == [3, 2, 4, 1]
    both = "; ".join(map(str, files))
    assert list(board["origin"].values) == [both, *map(str, [files[0], files[1], files[1]])]
    single = leaderboard(files[:1])
    own = compared({"zero": 0.8, "mean": 0.9}, [4, 5])
    for name in ("score", "score_low", "score_high", "rank", "pareto"):
        np.testing.assert_array_equal(single[name], own[name])
    assert list(single["verdict"].values) == list(own["verdict"].values)
    xr.testing.assert_identical(cntbench.leaderboard(list(map(str, files))), board)


def test_the_order_of_files_decides_between_no_methods(tmp_path):
    """Two of the same scores and cost: the first file's was recommended."""
    paths = [tmp_path / "one.nc", tmp_path / "two.nc"]
    for path, means in zip(paths, ({"zero": 0.8}, {"mean": 0.8}), strict=True):
        write_dataset(compared(means, [4]), path, COMPARISON)
    one, other = (leaderboard(files) for files in (paths, paths[::-1]))
    assert list(one["verdict"].values) == list(other["verdict"].values)
    assert markdown(one) == markdown(other)
    assert view_of(one).ranking[0].use.ablation == "mean"


def test_files_of_one_name_keep_their_methods_apart(tmp_path):
    paths = [tmp_path / author / "comparison.nc" for author in "abc"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        write_dataset(compared({"mine": 0.7 + number / 10}, [4]), path, COMPARISON)
    names = ["mine", "mine (comparison)", f"mine ({paths[2]})"]
    assert list(leaderboard(paths)["ablation"].values) == names


def test_the_diagnostics_that_a_method_passes_may_stand_in_any_of_its_files(tmp_path):
    files = [tmp_path / "without.nc", tmp_path / "with.nc"]  # those of the first method of each
    write_dataset(compared({"mean": 0.9, "zero": 0.8}, [5, 4]), files[0], COMPARISON)
    write_dataset(compared({"zero": 0.8}, [4]), files[1], COMPARISON)
    for order in (files, files[::-1]):
        zero = leaderboard(order).sel(ablation="zero")
        assert zero["origin"].item() == "; ".join(map(str, order))
        assert (zero["passed_count"], zero["tested_count"]) == (1, 1)


def test_a_method_of_another_cost_is_another_method(files):
    write_dataset(compared({"zero": 0.8}, [9]), files[1], COMPARISON, force=True)
    assert list(leaderboard(files)["ablation"].values) == ["zero", "mean", "zero (theirs)"]


def test_a_file_of_other_numbers_of_models_is_refused(files):
    fewer = xr.load_dataset(files[1]).isel(seed=slice(1))
    write_dataset(fewer, files[1], COMPARISON, force=True)
    with pytest.raises(CntbenchError, match="it has other models of each circuit"):
        leaderboard(files)


def test_the_order_of_circuits_does_not_matter(files):
    expected = leaderboard(files)
    theirs = xr.load_dataset(files[1])
    write_dataset(
        theirs.isel(scored_circuit=slice(None, None, -1)), files[1], COMPARISON, force=True
    )
    xr.testing.assert_identical(leaderboard(files), expected)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"hashes": {"dag3": "dag3@2"}}, "it has another version of dag3"),
        ({"circuits": ["mine", *CIRCUITS[1:]]}, "it lacks dag0; it also has mine"),
    ],
)
def test_a_file_of_other_circuits_is_refused_and_the_difference_said(files, changed, says):
    write_dataset(compared({"mine": 0.9}, [3], **changed), files[1], COMPARISON)
    with pytest.raises(CntbenchError, match=re.escape(says)) as error:
        leaderboard(files)
    assert error.value.where == str(files[1])
    assert "cntbench compare" in error.value.hint


def test_a_comparison_without_scores_is_refused(files):
    old = compared({"zero": 0.8}, [4]).drop_vars("circuit_sha256")
    write_dataset(old, files[1], COMPARISON)
    with pytest.raises(CntbenchError, match="no scores on planted circuits"):
        leaderboard(files)
    with pytest.raises(StorageError, match="no such file"):
        leaderboard([files[0].with_name("none.nc")])


def test_page_and_markdown_have_every_method_and_no_markup_of_a_file(files):
    board = leaderboard(files)
    text, table = page(board), markdown(board)
    for sentence in board["verdict"].values:
        assert sentence.split(HOSTILE)[-1] in table
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1].split("<")[0].split("&")[0] for row in rows] == [
        "",
        "mean",
        "zero",
        "mean (theirs)",
    ]
    zero = board.sel(ablation="zero", purpose="direct_edges")
    score, low, high = (float(zero[f"score{end}"]) for end in ("", "_low", "_high"))
    assert f"| `zero` | 3: {score:.2f} [{low:.2f}, {high:.2f}]\\* |" in table
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "<script>window.harmed" not in text
    assert text.count("<script>") == 1  # for light and dark colours
    assert "<script>" not in table
    assert "<svg" in text
    assert "1 of 1" in text  # special circuits
    assert not re.search(r"(src|href)=.http", text)


def test_the_command_prints_and_writes_both(files, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = ["leaderboard", *files, "-o", "board.html", "-o", "board.md"]
    code, out, err = run_cli(monkeypatch, capsys, *command)
    assert (code, err) == (0, "")
    assert "Which method to use" in out
    assert (tmp_path / "board.md").read_text() == markdown(leaderboard(files))
    assert (tmp_path / "board.html").read_text() == page(leaderboard(files))
    code, out, err = run_cli(monkeypatch, capsys, "leaderboard", *files, "-o", "board.txt")
    assert (code, out) == (2, "")
    assert "ends with '.txt'" in err
    assert "Allowed: .html, .md" in err
    (tmp_path / "mine.md").write_text("my notes")
    code, _, err = run_cli(monkeypatch, capsys, "leaderboard", *files, "-o", "mine.md")
    assert code == 2
    assert "exists already and is not a leaderboard" in err
