"""``cntbench figures``: files of every picture, and what is said of those that cannot be drawn."""

from __future__ import annotations

import pytest
import xarray as xr
from support.films import random_film
from support.runs import quiet
from support.trajectories import run_cli

from cntbench.analysis.derived import NullDraws, derived
from cntbench.results.storage import write_results

FROM_FILMS = {"film", "heatmap", "circuit", "effects", "scores", "readouts", "agreement"}
FROM_METRICS = {"metrics", "recurrence", "bump"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A result without claims, in a file."""
    film = random_film(tasks=("bigram", "induction"))
    groups = derived(film, None, NullDraws(0, 0, 1, quiet))
    path = tmp_path_factory.mktemp("run") / "results.nc"
    write_results(xr.DataTree.from_dict({"/": film, **groups}), path)
    return path


def test_all_that_the_result_holds_is_drawn_and_the_rest_is_said(
    monkeypatch, capsys, results, tmp_path
):
    folder = tmp_path / "new" / "figures"
    options = ["-o", folder, "--format", "svg"]
    code, out, err = run_cli(monkeypatch, capsys, "figures", results, *options)
    assert (code, err) == (0, "")
    expected = {f"{name}.svg" for name in FROM_FILMS | FROM_METRICS}
    assert {path.name for path in folder.iterdir()} == expected
    lacking = "The result has no group"
    assert f"No claims: {lacking} 'claims'. To make it: cntbench claims {results}\n" in out
    assert f"No comparison: {lacking} 'comparison'. To make it: cntbench compare -o FILE" in out
    assert f"cntbench figures {results} -o FOLDER --comparison FILE" in out
    assert "induction, zero" in (folder / "film.svg").read_text()


def test_the_agreement_of_one_ablation_is_left_out_with_a_note(monkeypatch, capsys, tmp_path):
    write_results(xr.DataTree(random_film(ablations=("zero",))), tmp_path / "one.nc")
    options = ["-o", tmp_path / "figures", "--only", "agreement", "--format", "svg"]
    code, out, err = run_cli(monkeypatch, capsys, "figures", tmp_path / "one.nc", *options)
    assert (code, err) == (0, "")
    assert "No agreement: The result has one ablation, and agreement compares two or more." in out
    assert "To make it: cntbench run STUDY --ablations zero,ANOTHER\n" in out
    assert not [*(tmp_path / "figures").iterdir()]


def test_what_is_named_is_what_is_drawn(monkeypatch, capsys, results, tmp_path):
    options = ["--only", "film,heatmap,metrics", "--format", "svg,png", "--task", "bigram"]
    options += ["--ablation", "mean", "--checkpoint", "step8", "--checkpoints", "step0,step8"]
    options += ["--metrics", "efficiency"]
    code, out, _ = run_cli(monkeypatch, capsys, "figures", results, "-o", tmp_path, *options)
    assert code == 0
    assert out == f"Drawn into {tmp_path} as svg, png: film, heatmap, metrics.\n"
    text = {path.stem: path.read_text() for path in tmp_path.glob("*.svg")}
    for name in text:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "bigram, mean, step 8" in text["heatmap"]
    assert "step 8" in text["film"]
    assert "step 100" not in text["film"]
    assert "efficiency" in text["metrics"]
    assert "gini" not in text["metrics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--format", "svgz"],
            "unknown format 'svgz'\nDid you mean 'svg'?",
        ),
        (["--only", "flim"], "unknown picture 'flim'\nDid you mean 'film'?"),
        (["--only", ","], "no picture is named"),
        (["--task", "inducton"], "unknown task 'inducton'\nDid you mean 'induction'?"),
        (["--ablation", "men"], "unknown ablation 'men'\nDid you mean 'mean'?"),
        (["--checkpoint", "step9"], "unknown checkpoint 'step9'"),
        (["--checkpoints", "step0,step9"], "unknown checkpoint 'step9'"),
        (["--metrics", "ginny"], "Did you mean 'gini'?"),
        (["--comparison", "none.nc"], "none.nc: no such file"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    monkeypatch, capsys, results, tmp_path, options, message
):
    folder = tmp_path / "figures"
    code, out, err = run_cli(monkeypatch, capsys, "figures", results, "-o", folder, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_said(monkeypatch, capsys, results, tmp_path):
    (tmp_path / "file").touch()
    options = ["-o", tmp_path / "file" / "figures", "--only", "heatmap"]
    code, _, err = run_cli(monkeypatch, capsys, "figures", results, *options)
    assert code == 2
    assert "the folder cannot be made" in err


def test_a_file_that_is_no_result_is_said(monkeypatch, capsys, tmp_path):
    code, _, err = run_cli(monkeypatch, capsys, "figures", tmp_path / "no.nc", "-o", tmp_path)
    assert code == 2
    assert "no such file" in err
