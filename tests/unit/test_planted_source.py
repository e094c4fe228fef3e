"""Planted circuits as trajectories: planted:NAME, planted:FILE.toml, and their options."""

from __future__ import annotations

import pytest
import torch
import xarray as xr
from support.planted import shipped, write
from support.runs import quiet, write_study
from support.trajectories import run_cli

from cntbench.errors import CntbenchError
from cntbench.models.sources.planted import MANIFEST, with_seed
from cntbench.models.trajectory import open_trajectory
from cntbench.plugins.folders import SPECS_VARIABLE
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import make_plan

CHAIN = 'layers = 3\nheads = 2\nwidth = 64\nedges = [["L0.MLP", "L1.H0"], ["L1.H0", "L2.MLP"]]\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CNTBENCH_CACHE", str(folder))
    return folder


def test_a_circuit_is_a_trajectory_of_its_steps():
    trajectory = open_trajectory("planted:emergence", quiet)
    circuit = shipped()["emergence"]
    assert tuple(c.step for c in trajectory.checkpoints) == circuit.steps
    assert len({c.revision for c in trajectory.checkpoints}) == len(circuit.steps)
    assert trajectory.shape.components == circuit.components
    assert trajectory.identity == "planted:emergence,difficulty=exact,seed=0"
    loaded = trajectory.load(trajectory.checkpoints[3])
    built = circuit.decoder(step=circuit.steps[3])
    assert torch.equal(loaded.unembed.weight, built.unembed.weight)


def test_a_circuit_without_dynamics_has_one_checkpoint():
    (checkpoint,) = open_trajectory("planted:chain", quiet).checkpoints
    assert (checkpoint.name, checkpoint.step) == ("step0", 0)


def test_a_frozen_trajectory_has_one_revision():
    checkpoints = open_trajectory("planted:frozen", quiet).checkpoints
    assert len(checkpoints) > 5
    assert len({c.revision for c in checkpoints}) == 1


def test_difficulty_and_seed_give_other_weights(cache):
    texts = ["planted:chain", "planted:chain,seed=1", "planted:chain,difficulty=realistic",
             "planted:chain,seed=1,difficulty=realistic"]  # fmt: skip
    revisions = {open_trajectory(text, quiet).checkpoints[0].revision for text in texts}
    assert len(revisions) == 4
    same = open_trajectory("planted:chain,difficulty=exact,seed=0", quiet)
    assert same.checkpoints == open_trajectory("planted:chain", quiet).checkpoints
    assert len(list(cache.glob(f"*/{MANIFEST}"))) == 4


def test_a_file_is_opened_by_its_path_or_by_its_name_in_a_folder_of_specs(tmp_path, monkeypatch):
    path = write(tmp_path / "specs" / "planted", CHAIN)
    by_path = open_trajectory(f"planted:{path}", quiet)
    monkeypatch.setenv(SPECS_VARIABLE, str(tmp_path / "specs"))
    assert open_trajectory("planted:mine", quiet).checkpoints == by_path.checkpoints


def test_the_name_of_a_file_may_have_commas(tmp_path):
    path = write(tmp_path, CHAIN)
    other = path.rename(tmp_path / "mine,seed=7.toml")
    trajectory = open_trajectory(f"planted:{other},seed=3", quiet)
    assert trajectory.identity == f"planted:{other},difficulty=exact,seed=3"
    assert with_seed(f"{other}", 5) == f"{other},seed=5"


def test_a_circuit_is_found_among_the_specs_of_the_command(tmp_path, monkeypatch, capsys):
    write(tmp_path / "specs" / "planted", CHAIN)
    circuit = ["planted:mine", "--specs", tmp_path / "specs"]
    options = ["--trajectory", *circuit, "--tasks", "random_tokens", "--ablations", "zero,mean"]
    checkpoints = "compare", *options, "--circuits", "", "--prompts", 4, "-j", 1
    for arguments in (["audit", *circuit], ["plan", *options, "-j", 1], checkpoints):
        code, _, err = run_cli(monkeypatch, capsys, *arguments)
        assert (code, err) == (0, ""), arguments
    catalogue = load_catalogue([tmp_path / "specs"])
    study = catalogue.amend(catalogue.study("nano"), {"trajectory": "planted:mine"})
    assert make_plan(catalogue, study, quiet).trajectory.identity.startswith("planted:mine,")


def test_a_changed_file_is_another_trajectory(tmp_path):
    path = write(tmp_path, CHAIN)
    before = open_trajectory(f"planted:{path}", quiet)
    write(tmp_path, CHAIN + "[realistic]\noverlap = 0.5\n")
    assert open_trajectory(f"planted:{path}", quiet).checkpoints == before.checkpoints  # exact
    write(tmp_path, CHAIN + "context = 128\n")
    assert open_trajectory(f"planted:{path}", quiet).shape.context == 128


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", ["planted: needs a circuit", "Write planted:chain"]),
        ("chian", ["unknown planted circuit 'chian'", "Did you mean 'chain'"]),
        ("none.toml", ["none.toml: cannot be read"]),
        ("chain,sed=3", ["planted:chain,sed=3: unknown option 'sed'", "Did you mean 'seed'"]),
        ("chain,seed=-3", ["seed = '-3' is not allowed"]),
        ("chain,seed=", ["seed = '' is not allowed"]),
        ("chain,seed=1,seed=2", ["seed appears twice"]),
        ("chain,", ["unknown option ''"]),
        ("chain,difficulty=exat", ["unknown difficulty 'exat'", "Did you mean 'exact'"]),
    ],
)
def test_what_is_wrong_with_a_name_is_said(where, says):
    with pytest.raises(CntbenchError) as caught:
        open_trajectory(f"planted:{where}", quiet)
    for part in says:
        assert part in str(caught.value)


def test_a_run_measures_a_circuit_as_any_model(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "run"
    write_study(tmp_path / "specs", "tiny", tmp_path, untrained=0)
    arguments = ["run", "tiny", "--specs", tmp_path / "specs", "--trajectory", "planted:induction"]
    options = ["--ablations", "zero,mean,resample", "-j", 1, "--prompts", 8, "-o", folder]
    code, out, _ = run_cli(monkeypatch, capsys, *arguments, *options)
    assert code == 0
    assert "induction" in out
    with xr.open_dataset(folder / "results.nc") as film:
        assert float(film["readout_value"].sel(readout="accuracy").squeeze()) >= 0.99
        edge = film["influence"].sel(ablation="mean", source="L0.H0", target="L1.H2")
        assert float(edge.squeeze()) > 0.1
        assert film.attrs["source"] == "planted:induction,difficulty=exact,seed=0"


def test_workers_of_a_run_mark_the_frozen_checkpoints_as_duplicates(monkeypatch, capsys, tmp_path):
    text = CHAIN + '[dynamics]\nkind = "frozen"\nsteps = [0, 10, 20]\n'
    path = write(tmp_path, text)
    folder = tmp_path / "run"
    write_study(tmp_path / "specs", "tiny", tmp_path, untrained=0)
    arguments = ["run", "tiny", "--specs", tmp_path / "specs", "--trajectory", f"planted:{path}"]
    options = ["--tasks", "random_tokens", "-j", 2, "-o", folder]
    assert run_cli(monkeypatch, capsys, *arguments, *options)[0] == 0
    with xr.open_dataset(folder / "results.nc") as film:
        assert film["status"].squeeze().values.tolist() == ["ok", "duplicate", "duplicate"]
