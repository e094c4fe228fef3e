"""``cntbench calibrate``: rates on simulated films, kept, drawn, and for claims of one's own."""

from __future__ import annotations

import pytest
import xarray as xr
from support.trajectories import run_cli

from cntbench.analysis.calibration import kinds
from cntbench.analysis.calibration.kinds import KINDS, FilmKind
from cntbench.analysis.calibration.rates import Setting, Trial, _outcomes, settings
from cntbench.analysis.calibration.simulated import exponential, tailed
from cntbench.dynamics.resampling import FEWEST
from cntbench.runs.catalogue import load_catalogue

OWN = """version = 1
summary = "Weights have a tail."
text = "They do."
source = "here"
about = "graphs"

[[test]]
statistic = "tail_weight"
null = "exponential"
minimum = 0.01
rules_out = "an exponential tail"
parameters = { within = "all" }
"""
TAILS = "long_tailed_weights"


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder, with two kinds of films."""
    monkeypatch.chdir(tmp_path)
    few = {
        "exponential": FilmKind("no tail", exponential, false=(TAILS,), lengths=(4,)),
        "tailed": FilmKind(
            "a tail",
            tailed,
            true=(TAILS,),
            sizes=(1.0, 3.0),
            knob="sigma",
            lengths=(2, 4),
            shapes=((3, 4), (3, 6)),
        ),
    }
    for name in [*KINDS]:
        monkeypatch.delitem(KINDS, name)
    for name, kind in few.items():
        monkeypatch.setitem(KINDS, name, kind)
    return lambda *arguments: run_cli(monkeypatch, capsys, "calibrate", *arguments, "-j", 1)


def test_rates_are_printed_kept_and_drawn(cli, tmp_path):
    arguments = [TAILS, "--films", 3, "-o", "rates.nc", "--figure", "power.svg"]
    code, out, err = cli(*arguments)
    assert (code, err) == (0, "")
    assert "Coverage of 95 % intervals" in out
    dataset = xr.open_dataset(tmp_path / "rates.nc")
    frame = dataset[["supported", "rejected"]].to_dataframe()
    assert frame["truth"].tolist() == ["false"] + ["true"] * 4
    assert frame["size"].tolist()[1:] == [1.0, 3.0, 3.0, 3.0]
    assert frame["checkpoints"].tolist() == [4, 4, 4, 2, 4]
    assert frame["edges"].tolist() == [48, 75, 75, 75, 147]
    assert frame["supported"].tolist()[2] == 3  # of a tail that cannot be overlooked
    assert frame["supported"].tolist()[0] <= 1
    assert dataset["coverage"].sel(moments=slice(FEWEST, None), correlation=slice(0.9)).min() > 0.9
    assert dataset["coverage"].sel(moments=143, correlation=0.98) > 0.9  # nearly a random walk
    # Few moments of one hardly say where its mean is: docs/calibration.md.
    few = dataset["coverage"].sel(moments=10, correlation=0.98)
    assert few.item() == pytest.approx(0.812, abs=0.02)
    assert (tmp_path / "power.svg").read_text().count("long") >= 1
    # The films are the same each time.
    again = cli(*arguments[:3])[1]
    assert out.startswith(again.rstrip())


def test_a_claim_of_ones_own_is_tried_on_all_films(cli, tmp_path):
    (tmp_path / "mine" / "claims").mkdir(parents=True)
    (tmp_path / "mine" / "claims" / "tails.toml").write_text(OWN)
    code, out, err = cli("tails", "--films", 1, "--specs", "mine")
    assert (code, err) == (0, "")
    assert out.count(" ? ") == 5


def test_a_strict_claim_needs_more_draws(cli, tmp_path):
    (tmp_path / "mine" / "claims").mkdir(parents=True)
    strict = OWN.replace('about = "graphs"', 'about = "graphs"\nlevel = 0.001')
    (tmp_path / "mine" / "claims" / "tails.toml").write_text(strict)
    code, _, err = cli("tails", "--films", 1, "--draws", 199, "--specs", "mine")
    assert code == 2
    assert "These claims need 999 draws." in err
    _, _, err = cli("tails", TAILS, "--films", 1, "--draws", 999, "--specs", "mine")
    assert "These claims need 1999 draws." in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tails"], "unknown claim 'tails'"),
        ([TAILS, "--figure", "power.gif"], "unknown format 'gif'"),
        ([TAILS, "-o", "notes.txt"], "notes.txt: "),
    ],
)
def test_mistakes_are_told_before_anything_is_simulated(cli, tmp_path, arguments, says):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = cli(*arguments)
    assert code == 2
    assert says in err


def test_only_films_that_say_something_are_simulated_and_draws_have_to_be_enough():
    catalogue = load_catalogue()
    chosen = settings(catalogue.some_claims([TAILS]))
    assert {setting.kind for setting in chosen} == {"exponential", "tailed"}
    assert set(kinds.KNOWN) == set(catalogue.claims)
    three = Setting("phased", None, 20, 2, 2)
    trial = Trial(three, catalogue.some_claims(["three_phases"]), 0, 19)
    [[first, *_]] = results = trial.work()
    assert first.reason == "needs 40 checkpoints, has 20"
    [outcome] = _outcomes(trial.claims, [results])
    assert outcome == {"rejected": 0, "supported": 0, "not_supported": 0, "inconclusive": 1}


def test_pools_of_films_are_drawn_from_those_of_a_setting(cli, tmp_path):
    code, out, _ = cli(TAILS, "--films", 12, "-o", "rates.nc")
    assert code == 0
    assert "✓ of 10" in out
    part = xr.open_dataset(tmp_path / "rates.nc").isel(case=[0, 2])
    assert part["pooled_supported"].values.tolist() == [0.0, 1.0]
    assert part["pooled_rejected"].values.tolist() == [0.0, 1.0]
    assert cli(TAILS, "--films", 9, "-o", "rates.nc", "--force")[0] == 0
    assert xr.open_dataset(tmp_path / "rates.nc")["pooled_supported"].isnull().all()
