"""One plug-in of every kind in a folder of the user's: each is used as a shipped one is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.documents import ROOT, page_block
from support.trajectories import run_cli, write_trajectory

import cntbench
from cntbench.errors import CntbenchError
from cntbench.plugins import ROOMS, room
from cntbench.plugins.folders import SUBFOLDERS, using
from cntbench.results.storage import open_results

#: Plug-ins: the contributing guide's examples, and others by what they take from a shipped one.
GUIDE = {
    "replacements/shrink.py": "replacement",
    "ablations/half.toml": "ablation",
    "estimators/gradient_activation.py": "estimator",
    "ablations/zero_gradient_activation.toml": "ablation of an estimator",
    "metrics/strongest.py": "metric",
    "readouts/entropy.py": "readout",
    "pictures/histogram.py": "picture",
    "formats/npz.py": "export format",
}
ALIKE = {
    "measures/angle.py": "ablations.measures.cosine import RANGE, measure",
    "nulls/shuffled.py": "dynamics.nulls.layer_pairs import draw",
    "statistics/tail.py": "dynamics.statistics.tail_weight import Parameters",
    "generators/tokens.py": "prompts.generators.repeated_block import Parameters",
    "backbones/best.py": "metrics.backbones.top_k import Parameters, reference",
}
STUDY = """version = 1
summary = "Everything of one's own."
trajectory = "dir:{}"
tasks = ["sure"]
ablations = ["half", "by_angle", "zero_gradient_activation"]
prompts = 2
untrained = 0
null_draws = 19
planted = false
"""
CLAIM = """version = 1
summary = "Mine."
text = "mine"
source = "none"
about = "graphs"
level = 0.05

[[test]]
statistic = "tail"
null = "shuffled"
minimum = 0.1
rules_out = "nothing"
parameters = { within = "all" }
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A folder with one file of every kind, and a study that names them."""
    folder = tmp_path_factory.mktemp("own")

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    for name, mark in GUIDE.items():
        write(name, page_block(ROOT / "CONTRIBUTING.md", mark))
    for name, code in ALIKE.items():
        write(name, f'"""One like another."""\n\nfrom cntbench.{code}\n')
    metric = page_block(ROOT / "CONTRIBUTING.md", "metric")
    write("metrics/strongest.py", metric.replace('null="untrained"', 'null="shuffled"'))
    task = (ROOT / "tasks" / "induction.toml").read_text()
    listed = 'effects = ["logit_difference", "entropy"]\n\n[parameters]'
    task = task.replace("[parameters]", listed).replace('"repeated_block"', '"tokens"')
    write("sure.toml", task)
    angle = 'version = 1\nsummary = "x"\nreplacement = "zero"\nmeasure = "angle"\n'
    write("ablations/by_angle.toml", angle)
    write("claims/mine.toml", CLAIM)
    backbone = (ROOT / "tasks" / "backbones" / "top_k.toml").read_text()
    write("backbones/mine.toml", backbone.replace('rule = "top_k"', 'rule = "best"'))
    checkpoints = write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8))
    write("studies/small.toml", STUDY.format(checkpoints))
    return folder


@pytest.fixture(scope="module")
def result(own, tmp_path_factory) -> Path:
    """The result of a run that uses them."""
    folder = tmp_path_factory.mktemp("run")
    cntbench.run("small", specs=own, output=folder, progress=False)
    return folder / "results.nc"


def test_there_is_one_of_every_kind_that_a_folder_may_hold(own):
    kinds = {kind for kind, (place, _) in ROOMS.items() if place in SUBFOLDERS}
    with using([own]):
        paths = {kind: [plugin.path for plugin in room(kind).values()] for kind in ROOMS}
    assert {kind for kind in ROOMS if any(own in path.parents for path in paths[kind])} == kinds
    assert {kind for kind in ROOMS if kind not in kinds} == {"adapter", "trajectory source"}


def test_what_they_measure_is_in_the_dataset(result):
    tree = open_results(result)
    root = tree.to_dataset(inherit=False)
    assert (root["status"] == "ok").all()
    assert list(root["ablation"].values) == ["half", "by_angle", "zero_gradient_activation"]
    values = root["readout_value"].sel(readout="entropy")
    assert ((values > 0) & (values < np.log(40))).all()
    assert root["readout_unit"].sel(readout="entropy").item() == "nat"
    assert not root["readout_effect"].sel(readout="entropy").isnull().any()
    largest = root["influence"].max(["source", "target"])
    np.testing.assert_allclose(tree["metrics"]["strongest"], largest)
    assert tree["nulls"]["strongest"].attrs["null_model"] == "shuffled"
    assert "mine" in tree["claims"]["claim"].values


def test_the_result_records_the_sources_that_it_depends_on(result):
    tree = open_results(result)
    recorded = {
        name: sorted(json.loads(tree[name].attrs.get("plugins", "{}")))
        for name in ("/", "metrics", "nulls", "claims", "roles")
    }
    assert recorded == {
        "/": [
            *("estimators/gradient_activation.py", "generators/tokens.py", "measures/angle.py"),
            *("readouts/entropy.py", "replacements/shrink.py"),
        ],
        "metrics": ["metrics/strongest.py"],
        "nulls": ["nulls/shuffled.py"],
        "claims": ["nulls/shuffled.py", "statistics/tail.py"],
        "roles": [],
    }
    assert sorted(json.loads(tree.attrs["spec"])["plugins"]) == recorded["/"]


def test_sources_of_verdicts_that_are_kept_stay_recorded(own, result):
    tree = cntbench.claims(open_results(result), ["three_phases"], draws=19, progress=False)
    own_names = {*json.loads(tree["claims"].attrs["plugins"])}
    tree["claims"].attrs["plugins"] = json.dumps({"statistics/of_another.py": "0" * 64})
    after = cntbench.claims(tree, ["mine"], draws=19, specs=own, progress=False)
    recorded = {*json.loads(after["claims"].attrs["plugins"])}
    assert recorded == own_names | {"statistics/of_another.py"}


def test_a_result_opens_without_the_folder(result, monkeypatch, capsys):
    code, out, err = run_cli(monkeypatch, capsys, "show", result)
    assert (code, err) == (0, "")
    assert "entropy" in out
    page = result.with_name("page.html")
    assert run_cli(monkeypatch, capsys, "report", result, "-o", page)[0] == 0
    assert "strongest" in page.read_text()


def test_a_changed_plugin_that_was_measured_by_is_another_study(own, result):
    message = r"different: plugins\.replacements/shrink"
    replacement = own / "replacements" / "shrink.py"
    before = replacement.read_text()
    replacement.write_text(before.replace("self.factor *", "0.9 * self.factor *"))
    try:
        with pytest.raises(CntbenchError, match=message):
            cntbench.run("small", specs=own, output=result.parent, progress=False)
    finally:
        replacement.write_text(before)
    again = cntbench.run("small", specs=own, output=result.parent, progress=False)
    assert again.identical(open_results(result))


@pytest.mark.parametrize("kind", ["tasks", *dict.fromkeys(SUBFOLDERS.values())])
def test_each_is_listed_with_its_place(own, monkeypatch, capsys, kind):
    code, out, err = run_cli(monkeypatch, capsys, "list", kind, "--specs", own)
    assert (code, err) == (0, "")
    assert str(own) in out
    code, out, _ = run_cli(monkeypatch, capsys, "list", kind)
    assert (code, str(own) in out) == (0, False)


def test_the_picture_and_the_format_are_used(own, result, tmp_path, monkeypatch, capsys):
    drawn = ["figures", result, "-o", tmp_path, "--only", "histogram", "--format", "svg"]
    assert run_cli(monkeypatch, capsys, *drawn, "--specs", own)[0] == 0
    assert (tmp_path / "histogram.svg").stat().st_size > 0
    code, _, err = run_cli(monkeypatch, capsys, *drawn)
    assert (code, "unknown picture 'histogram'" in err) == (2, True)
    with using([own]):
        assert open_results(result).cnt.plot.histogram(ablation="half").axes
    archive = tmp_path / "numbers.npz"
    assert run_cli(monkeypatch, capsys, "export", result, "-o", archive, "--specs", own)[0] == 0
    assert set(np.load(archive)) >= {"influence", "readout_value"}


def test_the_estimator_is_compared_ranked_and_its_circuits_put_to_work(
    own, result, tmp_path, monkeypatch, capsys
):
    name, file = "zero_gradient_activation", tmp_path / "compare.nc"
    circuits = ["--circuits", "random_dag_narrow", "--prompts", "2", "-j", "1", "-o", file]
    trajectory = ["--trajectory", f"dir:{ROOT}/golden/nano/trajectory", "--checkpoints", "1"]
    command = ["compare", "--specs", own, "--ablations", f"{name},resample_eap"]
    code, out, err = run_cli(monkeypatch, capsys, *command, *circuits, *trajectory)
    assert (code, err) == (0, "")
    assert f"{name} " in out
    code, out, err = run_cli(monkeypatch, capsys, "leaderboard", file)
    assert (code, err, name in out) == (0, "", True)
    chosen = ["--ablation", name, "--budgets", "20", "--draws", "0", "--specs", own]
    code, out, err = run_cli(monkeypatch, capsys, "circuit", result, *chosen)
    assert (code, err, name in out) == (0, "", True)


def test_a_broken_file_is_listed_and_other_commands_go_on(tmp_path, monkeypatch, capsys):
    path = tmp_path / "metrics" / "mine.py"
    path.parent.mkdir()
    path.write_text('"""Mine."""\nfrom nothing import here\n')
    code, out, err = run_cli(monkeypatch, capsys, "list", "metrics", "--specs", tmp_path)
    assert (code, err) == (0, "")
    assert "mine  cannot be used: ModuleNotFoundError: No module named 'nothing'" in out
    assert f"{path}, line 2" in out.replace("\n", "")
    assert "gini" in out
    assert run_cli(monkeypatch, capsys, "list", "tasks", "--specs", tmp_path)[0] == 0


def test_no_code_beside_a_result_or_a_golden_folder_is_run(result, tmp_path, monkeypatch, capsys):
    trap = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    beside, frozen = tmp_path / "results.nc", tmp_path / "golden"
    beside.write_bytes(result.read_bytes())
    commands = (
        ["golden", "freeze", beside, "--to", frozen],
        ["golden", "check", frozen, "--results", beside],
        ["show", beside],
        ["list", "metrics"],
    )
    for command in commands:
        for folder in (tmp_path, frozen):
            for name in SUBFOLDERS.values() if folder.exists() else ():
                (folder / name).mkdir(exist_ok=True)
                (folder / name / "trap.py").write_text(trap)
            if folder.exists():
                monkeypatch.chdir(folder)
        code, _, err = run_cli(monkeypatch, capsys, *command)
        assert code == 0, err
    assert not (tmp_path / "ran").exists()
