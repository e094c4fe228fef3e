"""A study of several seeds: a run for each, pooled verdicts, and what is wrong with a request."""

from __future__ import annotations

from dataclasses import fields

import pytest
import xarray as xr
from support.trajectories import run_cli

import cntbench
from cntbench.comparison.claims import file_judgements
from cntbench.errors import CntbenchError
from cntbench.estimate.estimate import CostEstimate
from cntbench.reporting.estimate import seeds_line
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.options import study_changes
from cntbench.runs.seeds import seed_runs

STUDY = """version = 1
summary = "A planted circuit, from several seeds."
trajectory = "planted:chain"
tasks = ["induction"]
ablations = ["zero"]
prompts = 2
untrained = 0
null_draws = 19
planted = false
"""


@pytest.fixture
def specs(tmp_path):
    """A folder of specs with the study ``seedy``."""
    path = tmp_path / "specs" / "studies" / "seedy.toml"
    path.parent.mkdir(parents=True)
    path.write_text(STUDY)
    return tmp_path / "specs"


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path, specs):
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli(monkeypatch, capsys, *arguments, "--specs", specs, "-j", 1)


def test_every_seed_is_a_run_of_its_own_and_claims_are_pooled(cli, specs, tmp_path):
    code, out, err = cli("run", "seedy", "--seeds", "0,2")
    assert (code, err) == (0, "")
    assert "Pooled over 2 films" in out
    assert "seed2: Measured 1 checkpoint, found 0 measured before" in out
    folder = tmp_path / "runs" / "seedy-seeds"
    assert {path.name for path in folder.iterdir()} == {
        *("seed0", "seed2"),
        *("claims.nc", "claims.html"),
    }
    pooled = xr.open_dataset(folder / "claims.nc")
    assert pooled["film"].values.tolist() == ["seed0", "seed2"]
    assert set(pooled["claim"].values) == set(load_catalogue().claims)

    # A seed is added; the other one is found.
    trees = cntbench.run("seedy", seeds=[2, 3], specs=specs, progress=False)
    assert set(trees.children) == {"seed2", "seed3", "claims"}
    assert trees["claims"]["film_verdict"].sizes["film"] == 2
    again, earlier = (open_results(folder / f"seed{seed}" / "results.nc") for seed in (3, 2))
    assert earlier.attrs["source"] == "planted:chain,difficulty=exact,seed=2"
    assert again.attrs["history"] == "cntbench run seedy --trajectory planted:chain,seed=3"
    assert len(set((folder / "seed2" / "checkpoints").iterdir())) == 1
    catalogue = load_catalogue([specs])
    changes = study_changes(seeds=range(2, 5))
    runs = seed_runs(catalogue, "seedy", changes, folder, where="here")
    assert [run.measured for run in runs] == [(1, 0), (1, 0), (0, 0)]


def test_a_plan_counts_the_seeds(monkeypatch):
    monkeypatch.setattr(CostEstimate, "seconds", property(lambda self: 60.0 * self.missing))
    nothing = dict.fromkeys(field.name for field in fields(CostEstimate))
    cost = CostEstimate(**nothing | {"checkpoints": 3, "done": 1, "absent": 0, "untrained": 0})
    line = str(seeds_line(cost, [("seed0", 1, 0), ("seed1", 3, 0), ("seed2", 0, 0)], 0))
    assert "Seeds: 3, one trajectory each: seed0, seed1 and seed2." in line
    assert "9 checkpoints, 4 of them already measured, 5 to measure, in about 5 min" in line


def test_pooled_numbers_are_those_of_the_claims_command(cli, specs):
    trees = cntbench.run("seedy", seeds="0..0", specs=specs, progress=False, output="one")
    [judgement] = [
        j
        for j in file_judgements(trees["seed0"]["claims"].to_dataset(inherit=True))
        if j.claim == "three_phases"
    ]
    case = trees["claims"].sel(task="induction", ablation="zero", claim="three_phases")
    assert case["verdict"].item() == judgement.verdict.label
    assert case["reason"].item() == judgement.why


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seeds", "0-9"], ['--seeds = "0-9" is not allowed', "Write 0..9"]),
        (["--seeds", "3..1"], ['seeds = "3..1" is not allowed']),
        (["--seeds", "0,0"], ["Each may appear once"]),
        (["--seeds", "0..9999"], ["It must have 1000 or fewer elements"]),
        (
            ["--seeds", "0..1", "--trajectory", "dir:x"],
            ["--seeds: trajectories of dir have no seed", "Those of nano and planted have."],
        ),
        (["--seeds", "0..1", "--trajectory", "nano:seed=3"], ["Write nano, without a seed"]),
        (["--seeds", "0..1", "--trajectory", "planted:chain,seed=1"], ["Write it without"]),
        (["--seeds", "0..1", "-o", "taken"], ["taken: is the folder of one run"]),
        (["--seeds", "0..1", "--shard", "1/2"], ["has no shards"]),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(cli, tmp_path, options, says):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "study.json").write_text("{}")
    code, _, err = cli("run", "seedy", *options)
    assert code == 2
    assert all(part in err.replace("\n", " ") for part in says), err
    assert not (tmp_path / "runs").exists()


def test_a_study_may_name_its_seeds(specs, tmp_path):
    (specs / "studies" / "ten.toml").write_text(STUDY + "seeds = [0, 4]\n")
    catalogue = load_catalogue([specs])
    runs = seed_runs(catalogue, "ten", {}, tmp_path, where="here")
    assert [run.seed for run in runs] == [0, 4]
    assert runs[1].study.command.endswith("ten --trajectory planted:chain,seed=4 --seeds ''")
    assert seed_runs(catalogue, "ten", study_changes(seeds=""), tmp_path, where="here") == ()
    with pytest.raises(CntbenchError, match=r"ten\.toml: seeds: trajectories of dir have no seed"):
        seed_runs(catalogue, "ten", {"trajectory": "dir:x"}, tmp_path, where="here")
    with pytest.raises(CntbenchError, match=r"seeds = 1\.5 is not allowed"):
        seed_runs(catalogue, "ten", {"seeds": 1.5}, tmp_path, where="here")
