"""cntbench claims: what users type, what they see, and what stands in the file afterwards."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from support.films import random_film
from support.runs import write_study
from support.trajectories import write_trajectory

from cntbench.analysis.verdicts import add_verdicts
from cntbench.reporting.claims import claims_report
from cntbench.reporting.wording import number
from cntbench.results.storage import open_results, write_results
from cntbench.runs.catalogue import load_catalogue

NAMES = [f"step{8 * i}" for i in range(26)]


@pytest.fixture
def result(tmp_path):
    """Write a random film and return its path."""

    def written(name="results.nc", change=lambda film: film, **options):
        path = tmp_path / name
        write_results(xr.DataTree(change(random_film(names=NAMES, **options))), path)
        return path

    return written


OPTIONS = ["--draws", 19, "-j", 1]


def test_one_file_is_judged_and_keeps_its_verdicts(cli, result):
    path = result()
    code, out, err = cli("claims", path, *OPTIONS)
    assert (code, err) == (0, "")
    for part in (
        "✓ supported, ✗ not supported, ? inconclusive; ablations: zero, mean",
        "spreader_hierarchy: Late in training, spreaders have an order that is held",
        "arXiv:2509.15269",
        "induction (zero, mean): needs 40 checkpoints, has 26",
        "corrected for the number of claims",
        f"26 checkpoints are too few for 5 of {len(load_catalogue().claims)} claims: they need 40.",
        "Stability of spreaders' order minus gatherers'",
    ):
        assert part in out.replace("\n", " ")
    group = open_results(path)["claims"].to_dataset()
    assert list(group["claim"].values) == list(load_catalogue().claims)
    assert (group["verdict"] == "inconclusive").all()  # from 19 draws and 26 checkpoints
    gap = open_results(path)["phases"]["stability_gap"]
    assert gap.sizes["lag"] == 6
    assert gap.notnull().all()
    assert cli("claims", path, *OPTIONS)[1] == out


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_and_nothing_is_cut(result, width):
    paths = [result(f"{seed}.nc", seed=seed, tasks=("bigram",)) for seed in (0, 1)]
    claims = load_catalogue().some_claims(["spreader_hierarchy", "three_phases"])
    trees = {
        str(path): add_verdicts(path, claims, draws=19, jobs=1, progress=lambda *_: None)
        for path in paths
    }
    for some in (dict(list(trees.items())[:1]), trees):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(claims_report(some, claims))
        printed = console.export_text()
        assert max(map(len, printed.splitlines())) <= width
        assert "? " in printed
        assert not re.search(r"…(?=\s|$)", printed), printed


def test_several_files_are_pooled_and_the_spread_is_shown(cli, result):
    paths = [result(f"{seed}.nc", seed=seed) for seed in range(3)]
    words = [*OPTIONS, "--claims", "spreader_hierarchy", "-o", "pooled.nc"]
    code, out, err = cli("claims", *paths, *words)
    assert (code, err) == (0, "")
    with xr.open_dataset("pooled.nc") as pooled:
        assert list(pooled["film"].values) == [str(path) for path in paths]
        assert set(pooled["film_verdict"].values.flat) == {"inconclusive"}
    assert "files" in out
    assert "0/3 " in out
    assert "three_phases" not in out
    for path in paths:
        assert list(open_results(path)["claims"]["claim"].values) == ["spreader_hierarchy"]


@pytest.mark.parametrize("wide", [1, 2])
def test_files_of_other_tasks_and_ablations_are_pooled_where_they_have_them(cli, result, wide):
    names = [str(result(f"{seed}.nc", seed=seed, tasks=("induction", "bigram")).name)
             for seed in range(wide)]  # fmt: skip
    names.append(result("other.nc", seed=8, tasks=("bigram", "ioi"), ablations=("mean",)).name)
    chosen = ["--claims", "gatherers_less_stable", "-o", "pooled.nc"]
    code, out, err = cli("claims", *names, *OPTIONS, *chosen)
    assert (code, err) == (0, "")
    lags = out[out.index("Stability of spreaders") :]
    trees = {name: open_results(Path(name)) for name in names}
    own = {name: tree["claims"].to_dataset(inherit=True) for name, tree in trees.items()}
    gaps = {name: tree["phases"]["stability_gap"] for name, tree in trees.items()}
    with xr.open_dataset("pooled.nc") as pooled:
        for task, ablation in itertools.product(pooled["task"].values, pooled["ablation"].values):
            cell = pooled.sel(task=task, ablation=ablation).isel(claim=0)
            have = [n for n in names if task in own[n]["task"] and ablation in own[n]["ablation"]]
            assert cell["answering"].fillna(0) == len(have)
            for name in names:
                word = str(cell["film_verdict"].sel(film=name).item())
                at = {"task": task, "ablation": ablation}
                assert word == (own[name]["verdict"].sel(at).item() if name in have else "")
            if have:
                means = np.mean([gaps[name].sel(at).values for name in have], axis=0)
                row = f"{ablation} *" + " *".join(map(re.escape, map(number, means)))
                assert re.search(row, lags)
    assert [lags.count(task) for task in ("induction", "bigram", "ioi")] == [2, 2, 1]
    assert "nan" not in lags
    assert re.search(r"0/2 .*\.\.", out)
    assert "0/1 " in out
    assert not re.search(r"0/1 .*\.\.", out)  # one effect is no range of them


def test_checkpoints_that_are_left_out_are_named(cli, result):
    def gappy(film):
        film["status"][:, :, [3, 4]] = "failed"
        film["status_reason"][:, :, [3, 4]] = "no luck"
        film["influence"][:, :, [3, 4]] = np.nan
        film["status"][:, :, 9] = "duplicate"
        return film

    path = result(change=gappy)
    code, out, _ = cli("claims", path, *OPTIONS)
    assert code == 0
    text = out.replace("\n", "")
    assert f"{path.name}: left out, failed: step24 and step32" in text
    assert f"{path.name}: left out, duplicate: step72" in text
    assert "needs 24 checkpoints, has 23" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.nc"], ["none.nc: no such file"]),
        (["results.nc", "--claims", "tree_phases"], ["unknown claim", "'three_phases'"]),
        (["results.nc", "--claims", ","], ["no claims are named", "three_phases"]),
        (["results.nc", "results.nc"], ["results.nc: appears twice"]),
        (["results.nc", "--specs", "nowhere"], ["nowhere: is not a folder of specs"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(mistake, result, arguments, says):
    path = result()
    before = path.read_bytes()
    mistake("claims", *arguments, says=says)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(cli, result):
    path = result()
    path.write_bytes(path.read_bytes()[:5000])
    code, _, err = cli("claims", path)
    assert code == 2
    assert "truncated" in err


def test_a_run_ends_with_the_claims_and_show_prints_them(cli, tmp_path):
    folder = write_trajectory(tmp_path / "checkpoints")
    write_study(tmp_path / "specs", "tiny", folder, untrained=2, null_draws=19)
    code, ran, err = cli("run", "tiny", "--specs", "specs", "-j", 1)
    assert (code, err) == (0, "")
    tables = ran.index("Strongest sources and targets")
    assert tables < ran.index("Claims: ✓ supported") < ran.index("Measured 3 checkpoints")
    assert "needs 40 checkpoints, has 3" in ran
    path = tmp_path / "runs" / "tiny" / "results.nc"
    assert {"phases", "claims"} <= set(open_results(path).children)
    shown = cli("show", path)[1]
    assert "Claims: ✓ supported" in shown
    assert shown.strip() in ran
    # And again: the verdicts of the run are those of the command.
    before = open_results(path)
    assert cli("claims", path, *OPTIONS)[0] == 0
    xr.testing.assert_identical(
        open_results(path)["claims"].to_dataset(), before["claims"].to_dataset()
    )


def test_verdicts_can_be_written_elsewhere(cli, result, tmp_path):
    path = result()
    before = path.read_bytes()
    assert cli("claims", path, *OPTIONS, "-o", "judged.nc")[0] == 0
    assert path.read_bytes() == before
    assert "claims" in open_results(tmp_path / "judged.nc").children
    for files in ([path], [path, result("other.nc")]):
        code, _, err = cli("claims", *files, "-o", path, *OPTIONS)
        assert code == 2
        assert err.startswith("error: ")
    assert path.read_bytes() == before


def test_claims_and_statistics_are_listed(cli):
    for kind, name in (("claims", "three_phases v2"), ("statistics", "rank_stability")):
        code, out, err = cli("list", kind)
        assert (code, err) == (0, "")
        assert f"\n{name}  " in f"\n{out}"
