"""cntbench report: what users type, and what they see."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import xarray as xr
from support.results import comparison_dataset, film_with_gaps, whole_result

import cntbench
from cntbench.comparison.files import COMPARISON
from cntbench.errors import CntbenchError
from cntbench.results.storage import write_dataset, write_results


@pytest.fixture
def cli(cli, tmp_path):
    """Run a command line in a folder with a result, a comparison and a text."""
    write_results(xr.DataTree(film_with_gaps()), tmp_path / "results.nc")
    write_dataset(comparison_dataset(), tmp_path / "compare.nc", COMPARISON)
    (tmp_path / "text.nc").write_text("no netCDF")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "results.nc", tmp_path / "folder" / "other.nc")
    return cli


def test_the_page_is_written_and_named_in_one_line(cli, tmp_path):
    code, out, err = cli("report", "results.nc", "-o", "page.html", "--comparison", "compare.nc")
    assert (code, out, err) == (0, "The report is in page.html.\n", "")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Recovery of planted edges" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.nc",
        "compare.nc",
        "text.nc",
        "folder",
        "page.html",
    }


def test_by_default_it_stands_beside_the_result(cli, tmp_path):
    (tmp_path / "results.nc").rename(tmp_path / "folder" / "results.nc")
    assert cli("report", "folder/results.nc")[1] == "The report is in folder/report.html.\n"
    assert (tmp_path / "folder" / "report.html").is_file()


def test_of_several_results_the_page_stands_in_the_folder_that_holds_them(cli, tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "folder" / f"seed{seed}"
        folder.mkdir()
        film = film_with_gaps(tasks=("induction",), ablations=("zero",), seed=seed)
        write_results(whole_result(film, metrics=["gini"]), folder / "results.nc")
    code, out, err = cli("report", "folder/seed0/results.nc", "folder/seed1/results.nc")
    path = tmp_path / "folder" / "claims.html"
    assert (code, out, err) == (0, f"The report is in {path}.\n", "")
    assert "Claims over 2 films" in path.read_text(encoding="utf-8")
    files = ["folder/seed0/results.nc", "folder/seed1/results.nc"]
    assert cntbench.report(files) == Path("claims.html")  # from Python the same page
    assert (tmp_path / "claims.html").read_bytes() == path.read_bytes()
    trees = map(cntbench.open_results, files)
    page = cntbench.report(trees, "again.html").read_text(encoding="utf-8")
    assert "results[1]" in page
    seeds = {f"seed{i}": cntbench.open_results(file) for i, file in enumerate(files)}
    tree = xr.DataTree.from_dict({**seeds, "claims": xr.Dataset({"verdict": ("claim", ["x"])})})
    page = cntbench.report(tree, "again.html").read_text(encoding="utf-8")
    assert all(name in page for name in seeds)
    cntbench.report(tree["seed0"], "one.html")
    cntbench.show(tree["seed0"])
    tree["seed0"].cnt.plot.film(task="induction", ablation="zero")
    for key, value in (("title", "x"), ("comparison", xr.Dataset())):
        with pytest.raises(CntbenchError, match=f"cntbench.report: {key}: is of one result"):
            cntbench.report(files, **{key: value})
    with pytest.raises(CntbenchError, match="appears twice"):
        cntbench.report([files[0], files[0]])
    with pytest.raises(CntbenchError, match="no result is given"):
        cntbench.report([])
    shutil.copy(folder / "results.nc", tmp_path / "copy.nc")  # of one run, whatever its name
    for command in (["report"], ["claims", "--claims", "three_phases", "-j", 1, "--draws", 19]):
        code, _, err = cli(*command, "folder/seed1/results.nc", "copy.nc")
        assert code == 2
        assert "copy.nc: 5 checkpoints of it are those of folder/seed1/results.nc" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.nc"], ["none.nc: no such file", "compare.nc, results.nc"]),
        (["text.nc"], ["text.nc: is not a netCDF file", "such as results.nc"]),
        (["compare.nc"], ["compare.nc: is not the result of a run: its title is"]),
        (["folder"], ["folder: is a folder"]),
        (["results.nc", "--comparison", "none.nc"], ["none.nc: no such file", "compare -o"]),
        (["results.nc", "--comparison", "text.nc"], ["text.nc: is not a netCDF", "compare -o"]),
        (["results.nc", "--comparison", "results.nc"], ["results.nc: is not a comparison"]),
        (["results.nc", "folder/../results.nc"], ["appears twice"]),
        (
            ["results.nc", "folder/other.nc"],
            ["results.nc: no claims were tested", "claims results.nc"],
        ),
        (
            ["results.nc", "folder/other.nc", "--comparison", "compare.nc"],
            ["--comparison: is shown"],
        ),
        (["results.nc", "-o", "folder"], ["folder: is a folder"]),
        (["results.nc", "-o", "nowhere/page.html"], ["nowhere/page.html: cannot be written"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(mistake, tmp_path, arguments, says):
    mistake("report", *arguments, says=says)
    assert not list(tmp_path.glob("**/*.html"))
