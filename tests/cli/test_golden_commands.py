"""Frozen results: what has moved is named, and what cannot be compared is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.films import random_film
from support.runs import write_study
from support.trajectories import run_cli_in, write_trajectory

from cntbench.results.storage import open_results, write_results
from cntbench.runs import golden as golden_folder
from cntbench.runs.golden import MANIFEST
from cntbench.runs.run import Interrupted


def write(path, change=lambda film: film, **options):
    write_results(xr.DataTree(change(random_film(**options))), path)
    return path


def shifted(film: xr.Dataset) -> xr.Dataset:
    film["influence"].loc[{"ablation": "zero", "source": "L0.H1", "target": "L1.MLP"}] *= 1.01
    worst = {"ablation": "mean", "checkpoint": "step8", "source": "L0.MLP", "target": "L1.H0"}
    film["edge_effect"].loc[worst] += 1
    return film


def test_a_result_agrees_with_itself(cli, tmp_path):
    write(tmp_path / "results.nc", tasks=("induction", "a/b.c"))
    code, out, err = cli("golden", "freeze", "results.nc", "--to", "golden")
    assert (code, err) == (0, "")
    assert "Froze 4 files of task × ablation, " in out
    files = {path.name for path in (tmp_path / "golden").iterdir()}
    assert files == {
        MANIFEST,
        *(f"{t}.{a}.nc" for t in ("induction", "a%2Fb%2Ec") for a in ("zero", "mean")),
    }
    code, out, err = cli("golden", "check", "golden", "--results", "results.nc")
    assert (code, err) == (0, "")
    film = open_results(tmp_path / "results.nc").to_dataset(inherit=False)
    numbers = [v for v in film.data_vars.values() if v.dtype.kind == "f" and "ablation" in v.dims]
    of_cells = sum(int(v.notnull().sum()) for v in numbers)
    clean = [v for v in film.data_vars.values() if v.dtype.kind == "f" and "ablation" not in v.dims]
    assert {"readout_value", "prefix_matching", "copying"} <= {v.name for v in clean}
    # Each ablation's file has the clean model's numbers too, each task's those of the weights.
    of_models = sum(int(v.notnull().sum()) * (2 if "task" in v.dims else 4) for v in clean)
    assert f"Nothing has moved: {of_cells + of_models} values of 4 task × ablation." in out


def test_values_of_single_prompts_are_compared(cli, tmp_path):
    """They were counted among the values that had not moved, whatever they were."""

    def with_prompts(film: xr.Dataset, moved: float = 0.0) -> xr.Dataset:
        kept = film["readout_value"].expand_dims(prompt=np.arange(2)).transpose(..., "prompt")
        kept = kept.copy(deep=True)
        kept[{"task": 0, "readout": 0, "checkpoint": 2, "prompt": 1}] += moved
        return film.assign(readout_value_by_prompt=kept)

    write(tmp_path / "plain.nc")
    write(tmp_path / "kept.nc", with_prompts)
    write(tmp_path / "moved.nc", lambda film: with_prompts(film, 1.0))
    assert cli("golden", "freeze", "kept.nc", "--to", "golden")[0] == 0
    assert cli("golden", "check", "golden", "--results", "kept.nc")[0] == 0
    code, out, _ = cli("golden", "check", "golden", "--results", "moved.nc")
    assert (code, out.count("readout_value_by_prompt induction")) == (1, 2)  # of two ablations
    code, _, err = cli("golden", "check", "golden", "--results", "plain.nc")
    assert code == 2
    assert "lacks the variable 'readout_value_by_prompt', which the golden result has" in err
    assert "Measure it with --keep prompts." in err


def test_the_worst_edges_are_named(cli, tmp_path):
    write(tmp_path / "results.nc")
    write(tmp_path / "moved.nc", shifted)
    assert cli("golden", "freeze", "results.nc", "--to", "golden")[0] == 0
    code, out, _ = cli("golden", "check", "golden", "--results", "moved.nc")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "4 values have moved; the worst:"
    assert lines[1].startswith("  edge_effect induction mean step8 L0.MLP L1.H0: ")
    assert sum("influence induction zero step" in line for line in lines[2:]) == 3


def test_other_weights_are_named(cli, tmp_path):
    write(tmp_path / "results.nc")
    write(tmp_path / "other.nc", shifted, revisions=["a" * 64, "b" * 64, f"{2:064x}"])
    cli("golden", "freeze", "results.nc", "--to", "golden")
    code, _, err = cli("golden", "check", "golden", "--results", "other.nc")
    assert code == 1
    assert "Weights differ from the frozen ones: step0 and step8\n" in err


def test_freezing_again_replaces_what_was_frozen(cli, tmp_path):
    write(tmp_path / "results.nc", ablations=("zero", "mean"))
    write(tmp_path / "fewer.nc", ablations=("zero",), seed=1)
    cli("golden", "freeze", "results.nc", "--to", "golden")
    assert cli("golden", "check", "golden", "--results", "fewer.nc")[0] == 2
    assert cli("golden", "freeze", "fewer.nc", "--to", "golden")[0] == 0
    assert {p.name for p in (tmp_path / "golden").iterdir()} == {MANIFEST, "induction.zero.nc"}
    assert cli("golden", "check", "golden", "--results", "fewer.nc")[0] == 0
    own = tmp_path / "golden" / "induction.zero.nc"
    before = own.read_bytes()
    code, _, err = cli("golden", "freeze", str(own), "--to", "golden")
    assert code == 2
    assert "induction.zero.nc" in err
    assert own.read_bytes() == before


def test_what_cannot_be_compared_is_said(cli, tmp_path):
    write(tmp_path / "results.nc")
    write(tmp_path / "larger.nc", heads=3)
    write(tmp_path / "longer.nc", names=("step0", "step8", "step100", "step200"))
    write(tmp_path / "task.nc", tasks=("inducton",))
    write(tmp_path / "turned.nc", lambda film: film.isel(readout=slice(None, None, -1)))
    write(tmp_path / "former.nc", lambda film: film.drop_vars("copying"))
    cli("golden", "freeze", "results.nc", "--to", "golden")
    for name, parts in (
        ("larger.nc", ["'source' differs from the golden result: it adds L0.H2 and L1.H2"]),
        ("longer.nc", ["'checkpoint' differs from the golden result: it adds step200"]),
        ("task.nc", ["there is no task 'induction'", "Did you mean 'inducton'?"]),
        ("turned.nc", ["'readout' differs from the golden result: it has another order"]),
        ("former.nc", ["lacks the variable 'copying', which the golden result has"]),
        ("none.nc", ["none.nc: no such file"]),
    ):
        code, out, err = cli("golden", "check", "golden", "--results", name)
        assert (code, out) == (2, "")
        for part in parts:
            assert part in err.replace("\n", " ")


def test_each_part_of_the_specs_has_to_agree(cli, tmp_path):
    spec = {"prompts": 4, "seed": 0, "tokenizer": "", "checkpoints": {}}
    spec |= {"tasks": {"induction": {"a": 0}}, "ablations": {"zero": {"a": 0}}}

    def result(name, **changes):
        attributes = {"spec": json.dumps(spec | changes)}
        write(tmp_path / name, lambda film: film.assign_attrs(attributes), ablations=("zero",))

    result("results.nc")
    cli("golden", "freeze", "results.nc", "--to", "golden")
    for key, value in {"prompts": 5, "seed": 1, "tokenizer": "x"}.items():
        result("other.nc", **{key: value})
        code, _, err = cli("golden", "check", "golden", "--results", "other.nc")
        assert code == 2
        assert f"is of another spec; different: {key}\n" in err
    for key, name in (("tasks", "induction"), ("ablations", "zero")):
        result("other.nc", **{key: {name: {"a": 1}, "more": {}}})
        code, _, err = cli("golden", "check", "golden", "--results", "other.nc")
        assert code == 2
        assert f"is of another spec; different: {key}.{name}.a\n" in err
    result("other.nc", checkpoints={"step0": "x"}, cntbench="2")
    assert cli("golden", "check", "golden", "--results", "other.nc")[0] == 0


def test_damage_is_found(cli, tmp_path):
    write(tmp_path / "results.nc")
    golden = tmp_path / "golden"

    def problem() -> str:
        code, _, err = cli("golden", "check", "golden", "--results", "results.nc")
        assert code == 2
        return err.replace("\n", " ")

    assert "golden: no such folder" in problem()
    golden.mkdir()
    assert "golden: is not a golden folder" in problem()
    cli("golden", "freeze", "results.nc", "--to", "golden")
    zero, mean = golden / "induction.zero.nc", golden / "induction.mean.nc"
    frozen = zero.read_bytes()
    zero.write_bytes(frozen[:-100])
    assert "induction.zero.nc: is truncated, damaged" in problem()
    assert "Restore the file, or freeze the result again." in problem()
    zero.write_bytes(mean.read_bytes())
    assert "induction.zero.nc: is not the frozen file" in problem()
    zero.unlink()
    assert "induction.zero.nc: no such file" in problem()
    zero.write_bytes(frozen)
    manifest = json.loads((golden / MANIFEST).read_text())
    for change in ({"version": 2}, {"files": {}}, {"files": {"../results.nc": "0"}}):
        (golden / MANIFEST).write_text(json.dumps(manifest | change))
        assert "golden.json: is of another version, or was changed Restore" in problem()
    (golden / MANIFEST).write_text("{")
    assert "golden.json: is not JSON" in problem()


def test_other_folders_are_left_alone(cli, tmp_path):
    write(tmp_path / "results.nc")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, _, err = cli("golden", "freeze", "results.nc", "--to", "mine")
    assert code == 2
    assert "mine: is not empty, and is not a golden folder: it holds notes.txt" in err
    assert cli("golden", "freeze", "results.nc", "--to", "results.nc")[0] == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    write(tmp_path / "failed.nc", lambda f: f.assign(status=xr.full_like(f["status"], "failed")))
    code, _, err = cli("golden", "freeze", "failed.nc", "--to", "new")
    assert (code, (tmp_path / "new").exists()) == (2, False)
    assert "failed.nc: has no checkpoint that was measured\ncntbench audit says why. " in err


#: A study of a user.
STUDY = ("tiny", "-j", 1, "--specs", "specs")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study that has been run and frozen, and a copy of it."""
    folder = tmp_path_factory.mktemp("study") / "work"
    write_trajectory(folder / "checkpoints")
    write_study(folder / "specs", "tiny", folder / "checkpoints", untrained=1)
    assert run_cli_in(folder, "run", *STUDY)[0] == 0
    freeze = ("golden", "freeze", "runs/tiny/results.nc", "--to", "golden")
    code, out, _ = run_cli_in(folder, *freeze)
    assert code == 0
    assert "cntbench golden check golden\n" in out
    return folder, shutil.copytree(folder, folder.with_name("kept"))


@pytest.fixture
def frozen(cli, study, monkeypatch):
    """Work in that folder as it was, since a run knows where; returns how to call the program."""
    folder, kept = study
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    monkeypatch.chdir(folder)
    return lambda *arguments: cli(*arguments, *STUDY[1:])


def test_the_study_is_measured_again(frozen):
    code, out, err = frozen("golden", "check", "golden")
    assert (code, err) == (0, "")
    assert "Nothing has moved: " in out
    write_trajectory(Path("checkpoints"), steps=(8,), first_seed=77)
    code, out, err = frozen("golden", "check", "golden")
    assert code == 1
    assert "Weights differ from the frozen ones: step8\n" in err
    assert "values have moved; the worst:" in out
    assert all(" step8" in line for line in out.splitlines()[1:])


def test_a_study_that_is_not_there_any_more(frozen, cli):
    Path("checkpoints").rename("elsewhere")
    code, _, err = frozen("golden", "check", "golden")
    assert code == 2
    assert "the study cannot be run again: no such folder" in err
    assert "--results FILE" in err
    write(Path("film.nc"))
    out = cli("golden", "freeze", "film.nc", "--to", "films")[1]
    assert "cntbench golden check films --results FILE\n" in out
    code, _, err = frozen("golden", "check", "films")
    assert code == 2
    assert "was not made by cntbench run" in err


def test_another_spec_is_named(frozen, cli):
    manifest = json.loads((Path("golden") / MANIFEST).read_text())
    spec = json.loads(manifest["made_by"]["spec"])
    spec["tasks"]["induction"]["parameters"]["block"] += 1
    spec["cntbench"] = "0.0.1"
    manifest["made_by"]["spec"] = json.dumps(spec)
    (Path("golden") / MANIFEST).write_text(json.dumps(manifest))
    for arguments in ((), ("--results", "runs/tiny/results.nc")):
        code, _, err = frozen("golden", "check", "golden", *arguments)
        assert code == 2
        assert "of another spec; different: tasks.induction.parameters.block\n" in err


def test_checkpoints_that_fail_now_have_moved(frozen):
    Path("checkpoints/step8/model.safetensors").write_bytes(b"damaged")
    code, out, err = frozen("golden", "check", "golden")
    assert code == 1
    assert "1 checkpoint could not be measured; the values frozen there count as moved:" in err
    assert "→ nan (inf × tolerance)" in out


def test_an_interrupt_is_no_traceback(frozen, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted(1, 3)

    monkeypatch.setattr(golden_folder, "run_shard", interrupted)
    assert frozen("golden", "check", "golden") == (130, "", "Interrupted; nothing was saved.\n")


def test_numbers_of_the_manifest_are_plain(cli, tmp_path):
    film = write(
        tmp_path / "results.nc", lambda f: f.assign_attrs(history="x", prompts=np.int64(3))
    )
    assert cli("golden", "freeze", film, "--to", "golden")[0] == 0
    assert json.loads((tmp_path / "golden" / MANIFEST).read_text())["made_by"] == {"history": "x"}
