"""The collection of specs: shipped ones and the user's; one bad file stops it."""

from __future__ import annotations

import pytest

from cntbench.cli.options import STUDY_OPTIONS
from cntbench.errors import SpecError
from cntbench.plugins import shipped_folder
from cntbench.plugins.folders import SPECS_VARIABLE
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.options import StudyKeys
from cntbench.runs.plan import origin
from cntbench.specs import as_dict

TASK = """
version = 1
summary = "Mine."
generator = "random_tokens"
learnt = "x"
not_learnt = "y"
[parameters]
length = 5
"""
ABLATION = """
version = 1
summary = "Mine."
replacement = "zero"
measure = "relative_l2"
"""
EDGE = """
version = 1
summary = "Mine."
replacement = "zero"
scope = "direct"
observable = "readout"
"""
STUDY = """
version = 1
summary = "Mine."
trajectory = "nano"
tasks = ["induction"]
ablations = ["zero"]
"""


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_shipped_spec_is_collected():
    catalogue = load_catalogue()
    files = {path.stem for path in shipped_folder().rglob("*.toml")}
    kinds = (
        catalogue.tasks,
        catalogue.ablations,
        catalogue.studies,
        catalogue.planted,
        catalogue.backbones,
        catalogue.claims,
    )
    assert files == {name for kind in kinds for name in kind}
    assert not catalogue.tasks["induction"].control
    assert catalogue.tasks["bigram"].control
    assert {"nano"} <= set(catalogue.studies)


def test_a_users_folder_adds_specs(tmp_path, monkeypatch):
    write(tmp_path, "mine.toml", TASK)
    write(tmp_path, "controls/mine_too.toml", TASK)
    write(tmp_path, "ablations/mine.toml", ABLATION)
    write(tmp_path, "studies/mine.toml", STUDY.replace('["induction"]', '["mine", "mine_too"]'))
    for catalogue in (
        load_catalogue([tmp_path]),
        (monkeypatch.setenv(SPECS_VARIABLE, str(tmp_path)), load_catalogue())[1],
    ):
        assert {"mine", "mine_too", "induction"} <= set(catalogue.tasks)
        assert "mine" in catalogue.ablations
        assert catalogue.study("mine").spec.tasks == ("mine", "mine_too")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("mine.toml", TASK.replace("random_tokens", "random_token"),
         ["generator", "unknown generator 'random_token'", "Did you mean 'random_tokens'"]),
        ("mine.toml", TASK.replace("length = 5", "lenght = 5"),
         ["unknown key 'parameters.lenght'", "Did you mean 'length'"]),
        ("mine.toml", TASK.replace("length = 5", "length = 1"),
         ["parameters.length = 1 is not allowed", "be 2 or more"]),
        ("mine.toml", TASK.replace("length = 5", ""), ["'parameters.length' is missing"]),
        ("ablations/mine.toml", ABLATION.replace('"zero"', '"zer"'),
         ["unknown replacement 'zer'", "Did you mean 'zero'"]),
        ("ablations/mine.toml", ABLATION.replace("relative_l2", "l2"),
         ["unknown measure 'l2'", "relative_l2"]),
        ("studies/mine.toml", STUDY.replace("induction", "inducton"),
         ["tasks", "unknown task 'inducton'", "Did you mean 'induction'"]),
        ("studies/mine.toml", STUDY.replace('["zero"]', '["zero", "zero"]'),
         ["ablation 'zero' appears twice"]),
        ("studies/mine.toml", STUDY.replace('["zero"]', '["nil"]'), ["unknown ablation 'nil'"]),
        ("ablations/mine.toml", ABLATION.replace('measure = "relative_l2"', ""),
         ["key 'measure' is missing", 'observable = "target"']),
        ("ablations/mine.toml", ABLATION + 'observable = "readout"',
         [": observable: effects on the readout are measured edge by edge", 'scope = "direct"']),
        ("ablations/mine.toml", ABLATION + 'observable = "readout"\nscope = "direct"',
         [": measure: the change of a readout is already a number", "Leave measure out"]),
        ("ablations/mine.toml", ABLATION + 'estimator = "eap"\nscope = "direct"',
         [": estimator: \"eap\" estimates effects on the readout", 'observable = "readout"']),
        ("ablations/mine.toml", EDGE + 'estimator = "EAP"',
         [": estimator: unknown estimator 'EAP'", "eap, eap_ig, "]),
        ("ablations/mine.toml", ABLATION + "steps = 3",
         [': steps: estimator = "exact" does not use steps', "eap_ig"]),
        ("ablations/mine.toml", EDGE + 'estimator = "eap"\nsteps = 3',
         [': steps: estimator = "eap" does not use steps']),
        ("ablations/mine.toml", EDGE + 'estimator = "eap_ig"', ["key 'steps' is missing"]),
        ("ablations/mine.toml", EDGE + 'estimator = "eap"\nthrough = ["key"]',
         [': through: "eap" cannot separate queries, keys and values', 'estimator = "exact"']),
        ("ablations/mine.toml",
         EDGE.replace("zero", "resample")
         + 'estimator = "information_flow"\n[parameters]\ndonor = "other"',
         [': replacement: "information_flow" looks at what components write', '"zero"']),
        ("ablations/mine.toml", ABLATION + 'through = ["key", "value"]',
         [": through: a total effect passes through queries, keys and values", '"direct"']),
        ("ablations/mine.toml", ABLATION + "draws = 2",
         [": draws: the replacement 'zero' with these parameters is not random",
          "noise, or resample"]),
        ("ablations/mine.toml",
         ABLATION.replace("zero", "resample") + 'draws = 2\n[parameters]\ndonor = "reference"',
         [": draws: the replacement 'resample' with these parameters is not random"]),
        ("mine.toml", "version = = 1", ["malformed TOML", "line 1"]),
    ],
)  # fmt: skip
def test_a_bad_file_stops_what_uses_it(tmp_path, name, text, says):
    path = write(tmp_path, name, text)
    key = path.parent.name if path.parent != tmp_path else "tasks"
    catalogue = load_catalogue([tmp_path])
    assert catalogue.study("nano").spec.tasks  # which does not use it
    study, changes = ("mine", {}) if key == "studies" else ("nano", {key: ("mine",)})
    with pytest.raises(SpecError) as caught:
        catalogue.changed_study(study, changes, where="command line")
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("induction.toml", ["task 'induction' already exists in", "Rename the file"]),
        ("controls/induction.toml", ["task 'induction' already exists"]),
        ("ablations/zero.toml", ["ablation 'zero' already exists"]),
        ("ablation/mine.toml", ["folder 'ablation'", "Did you mean 'ablations'"]),
    ],
)
def test_a_file_without_a_name_of_its_own_stops_the_collection(tmp_path, name, says):
    path = write(tmp_path, name, ABLATION)
    with pytest.raises(SpecError) as caught:
        load_catalogue([tmp_path])
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        ABLATION + 'scope = "direct"\nthrough = ["value", "query"]',
        ABLATION + 'through = ["value", "query", "key"]',
        EDGE,
        EDGE + 'through = ["query"]',
        EDGE + 'estimator = "eap"',
        EDGE + 'estimator = "eap_ig"\nsteps = 1',
        EDGE.replace("zero", "resample") + 'draws = 3\n[parameters]\ndonor = "other"',
        ABLATION.replace("zero", "noise")
        + 'draws = 3\n[parameters]\nscale = 0.1\npopulation = "clean"',
    ],
)
def test_combinations_that_make_sense_reach_the_method(tmp_path, text):
    entry = load_catalogue([write(tmp_path, "ablations/mine.toml", text).parents[1]]).ablations[
        "mine"
    ]
    spec, method = entry.spec, entry.method
    for part in ("scope", "observable", "through", "estimator", "steps", "draws"):
        assert getattr(method, part) == getattr(spec, part)
    assert (method.measure is None) == (spec.observable == "readout")
    assert len(method.each_draw) == spec.draws


def test_a_folder_that_is_none_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="is not a folder of specs"):
        load_catalogue([tmp_path / "none"])


def test_a_study_can_be_amended_and_is_checked_again():
    catalogue = load_catalogue()
    nano = catalogue.study("nano")
    changed = catalogue.amend(nano, {"prompts": 3, "tasks": ("bigram",)})
    assert (changed.spec.prompts, changed.spec.tasks) == (3, ("bigram",))
    assert changed.spec.ablations == nano.spec.ablations
    with pytest.raises(SpecError, match="command line: tasks: unknown task 'bigrm'"):
        catalogue.amend(nano, {"tasks": ("bigrm",)})
    with pytest.raises(SpecError, match="command line: prompts = 0 is not allowed"):
        catalogue.amend(nano, {"prompts": 0})
    with pytest.raises(SpecError, match="Did you mean 'nano'"):
        catalogue.study("nanno")
    in_python = catalogue.amend(nano, {"components": ("L9",)}, where="cntbench.run")
    assert origin(in_python, "components") == "cntbench.run: components"
    assert origin(in_python, "tasks") == f"{nano.path}: tasks"


def test_the_command_of_a_study_names_what_was_changed_and_no_more():
    catalogue = load_catalogue()
    study = catalogue.study("nano")
    assert study.command == "cntbench run nano"
    assert catalogue.amend(study, as_dict(study.spec)).command == "cntbench run nano"
    changes = {"tasks": ("induction", "bigram"), "prompts": study.spec.prompts, "seed": 3}
    once = catalogue.amend(study, changes)
    assert once.command == "cntbench run nano --tasks induction,bigram --seed 3"
    # What no option changes is in the spec.
    twice = catalogue.amend(once, {"trajectory": "dir:my runs", "null_draws": 0})
    expected = "cntbench run nano --trajectory 'dir:my runs' --tasks induction,bigram --seed 3"
    assert twice.command == expected


def test_every_key_that_the_command_line_changes_is_in_the_command():
    assert {*StudyKeys.__annotations__} == {*STUDY_OPTIONS}
