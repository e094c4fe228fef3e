"""What others wrote reaches the terminal as text only; messages are short and name the file."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from support.eap import graph, write_graph
from support.films import random_film

from cntbench.errors import EXIT_DEFECT
from cntbench.results.storage import open_results, write_results
from cntbench.runs.golden import MANIFEST
from cntbench.specs import StudySpec, as_dict, read_toml

#: What would set the title of a terminal, colour it, go back, clear it, turn text round.
EVIL = "a[/red]\x1b]0;owned\x07\x1b[31m\r\x9b2J\x7f\u202eb"
LONG = "a" * 5000


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A result, a result whose texts are hostile, and a graph."""
    folder = tmp_path_factory.mktemp("inputs")
    write_results(xr.DataTree(random_film()), folder / "r.nc")
    evil = random_film(tasks=(EVIL,), ablations=(f"{EVIL}1", f"{EVIL}2"))
    evil["status"][..., 1] = "failed"
    evil["status_reason"][:] = EVIL
    evil["revision"][:] = [f"{EVIL}{i}" for i in range(3)]
    evil.attrs |= {"history": EVIL, "source": EVIL}
    write_results(xr.DataTree(evil), folder / "evil.nc")
    write_graph(folder / "step1.json", graph())
    return folder


@pytest.fixture
def cli(cli, tmp_path, inputs):
    """Run a command line in a copy of that folder."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    return cli


@pytest.mark.parametrize(
    "words",
    [
        "show evil.nc",
        "audit evil.nc",
        "claims evil.nc --draws 19 -j 1",
        "compare --results evil.nc",
        "golden freeze evil.nc --to g",
        "export evil.nc -o edges.csv --task nope",
        "figures evil.nc -o pictures --only heatmap --format png",
    ],
)
def test_no_label_and_no_reason_is_obeyed_by_the_terminal(cli, words):
    printed = "".join(cli(*words.split())[1:])
    assert printed
    assert not re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("plan planted:chain", "write --trajectory=planted:chain. Allowed: compare"),
        ("circuit graph.json", "--trajectory=nano and --task=induction."),
        ("plan studies/mine.toml", "a file studies/mine.toml in a folder: --specs=FOLDER"),
        ("report nowhere/r.nc", "nowhere/r.nc: no such file"),
        ("show d", "d: is a folder Name a file that cntbench has written, such as results.nc."),
        ("show run", "run: is a folder Name the file in it: run/results.nc"),
        ("show empty.nc", "empty.nc: is empty Name a file that cntbench has written"),
        ("report r.nc --comparison d", "d: is a folder Make one: cntbench compare -o FILE."),
        ("report r.nc --comparison empty.nc", "empty.nc: is empty Make one: cntbench compare"),
        ("import d -o x.nc", "d: is a folder Name the graphs in it, .json files."),
        (
            "import empty.json -o x.nc",
            "empty.json: is not JSON: it is empty Expected a graph written by",
        ),
        ("import step1.json -o x.nc --readout x", "--readout: unknown readout 'x' Allowed: "),
        ("import step1.json -o x.nc --task=", '--task = "" is not allowed It must not be empty.'),
        (
            "export r.nc -o f --format svc",
            "--format: unknown export format 'svc' Did you mean 'csv'",
        ),
        ("export r.nc -o x.csv --task=", "r.nc: no task is named Allowed: induction."),
        ("calibrate three_phases --figure d", "d: is a folder: only regular files can be written"),
        ("merge nowhere -o x", "nowhere: no such folder Name folders that were written by"),
        ("plan --specs empty.nc", "empty.nc: is not a folder of specs: it is a file Name a folder"),
        ("plan --specs nowhere", "nowhere: is not a folder of specs: no such folder Name a folder"),
        ("plan --trajectory dir:empty.nc", "empty.nc: is not a folder"),
        ("audit dir:nets", "nets/step0/config.json: is not a model config: it is empty"),
        ("audit nano --checkpoints x", "--checkpoints: there is no checkpoint 'x'"),
        ("show marked.toml", "marked.toml: is not a netCDF file Name a file"),
    ],
)
def test_a_likely_mistake_is_told_its_remedy(cli, words, says):
    Path("d").mkdir()
    for file in map(Path, ("empty.nc", "empty.json", "run/results.nc", "nets/step0/config.json")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Path("marked.toml").write_text("version = 1\n", encoding="utf-8-sig")
    assert read_toml(Path("marked.toml")) == {"version": 1}, "a mark of the byte order is no key"
    code, _, err = cli(*words.split())
    assert code == 2
    assert says in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "list task",
            """KIND = "task" is not allowed Did you mean 'tasks'? Allowed: ablations, """,
        ),
        (
            "plan --device cdua",
            """--device = "cdua" is not allowed Did you mean 'cuda'? Allowed: """,
        ),
        (
            "run --executor dsk",
            """--executor = "dsk" is not allowed Did you mean 'dask'? Allowed""",
        ),
        ("planted save a b --difficulty exac", """--difficulty = "exac" is not allowed Did you"""),
        ("plan --jobs 0", "--jobs = 0 is not allowed It must be 1 or more."),
        ("plan --jobs many", '--jobs = "many" is not allowed It must be a whole number.'),
        ("plan --keep-downloads -1", "--keep-downloads = -1 is not allowed It must be 0 or more."),
        ("plan --memory much", '--memory = "much" is not allowed It must be a number.'),
        ("plan --prompts 0", "--prompts = 0 is not allowed It must be 1 or more."),
        ("plan --seed -1", "--seed = -1 is not allowed It must be 0 or more."),
        ("plan --until-se inf", "--until-se = inf is not allowed It must be a finite number."),
        ("plan --keep promts", """--keep = "promts" is not allowed Did you mean 'prompts'?"""),
        ("plan --tasks ,", "--tasks = [] is not allowed It must not be empty."),
        ("plan --tasks folder", "--tasks: folder is a folder A file of prompts ends with .jsonl"),
        (
            "compare --tasks folder",
            "--tasks: folder is a folder A file of prompts ends with .jsonl",
        ),
        ("compare --checkpoints 0", "--checkpoints = 0 is not allowed It must be 1 or more."),
        ("plan --promts 3", "unknown option '--promts' Did you mean '--prompts'? Allowed: "),
        ("plam", "unknown command 'plam' Did you mean 'plan'? Allowed: audit, "),
        ("golden chek", "unknown command 'chek' Did you mean 'check'? Allowed: check, freeze."),
        ("figures r.nc", "--output is missing Folder of the pictures. For all options: "),
        ("score --on chain", "GRAPH.json is missing"),
        ("plan --seed", "--seed needs a value"),
        ("plan --experts=3", "--experts takes no value"),
        ("circuit r.nc --add r.nc", "--add needs one result to add the circuits to Name one res"),
        (
            "circuit r.nc --in-graph",
            "--in-graph: only the graphs of EAP-IG and MIB have circuits of their own, a result "
            "has none Name graphs (.json), or leave --in-graph out.",
        ),
        ("plan nano compare", 'unexpected argument "compare"'),
        ("compare a.nc b.nc", 'unexpected argument "a.nc b.nc" Name each result file by --results'),
    ],
)
def test_an_option_is_named_with_its_value_and_what_is_allowed(cli, words, says):
    Path("folder").mkdir()
    code, out, err = cli(*words.split())
    assert (code, out) == (2, "")
    assert " ".join(err.split()).startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["show", ""], "RESULTS"),
        (["report", "r.nc", ""], "RESULTS"),
        (["report", "r.nc", "--comparison", ""], "--comparison"),
        (["run", "-o", ""], "--output"),
        (["figures", "r.nc", "-o", ""], "--output"),
        (["merge", "a", "-o", ""], "--output"),
        (["merge", "", "-o", "b"], "FOLDER"),
        (["golden", "check", ""], "FOLDER"),
        (["golden", "freeze", "r.nc", "--to", ""], "--to"),
        (["planted", "save", "chain", ""], "FOLDER"),
        (["plan", "--specs", ""], "--specs"),
        (["audit", ""], "RESULTS_OR_TRAJECTORY"),
        (["import", "", "-o", "x.nc"], "FILE[@STEP]"),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_folder(cli, words, name):
    before = {*Path().iterdir()}
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err == f'error: {name} = "" is not allowed\nIt must not be empty.\n'
    assert {*Path().iterdir()} == before


def test_a_reason_is_still_shown(cli):
    _, out, _ = cli("audit", "evil.nc")
    assert "a[/red]]0;owned[31m2Jb" in out


def test_a_defect_is_no_moved_number(cli, monkeypatch):
    def broken(path):
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("cntbench.results.storage.open_results", broken)
    code, _, err = cli("show", "r.nc")
    assert code == EXIT_DEFECT
    assert "a mistake of ours" in err
    assert "This is a defect of cntbench" in err


@pytest.mark.parametrize(
    ("words", "file", "text"),
    [
        ("import step7.json -o x.nc", "step7.json", "[" * 9000 + "]" * 9000),
        ("import step7.json -o x.nc", "step7.json", '{"cfg":' * 300 + "1" + "}" * 300),
        ("golden check g --results r.nc", "g/golden.json", "[" * 9000 + "]" * 9000),
        ("golden check g --results r.nc", "g/golden.json", '{"a":' * 300 + "1" + "}" * 300),
        ("plan x --specs s", "s/studies/x.toml", "a = " + "[" * 9000),
        ("plan x --specs s", "s/studies/x.toml", "a = " + "[" * 200 + "]" * 200),
        ("plan nano --tasks x --specs s", "s/x.toml", f"parameters.{'.'.join('a' * 3000)} = 1"),
        ("audit dir:nets", "nets/step0/config.json", "[" * 9000 + "]" * 9000),
        ("audit dir:nets", "nets/step0/config.json", '{"a":' * 300 + "1" + "}" * 300),
    ],
)
def test_what_is_nested_too_deeply_is_malformed(cli, words, file, text):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text)
    code, out, err = cli(*words.split())
    assert code in (2, 3)
    assert Path(file).name in out + err
    assert "nested more than 100 levels deep" in " ".join((out + err).split())


@pytest.mark.parametrize("step", [str(2**63), "9" * 30, "9" * 5000], ids=len)
def test_a_step_that_no_result_can_hold_is_refused(cli, step):
    code, _, err = cli("import", f"step1.json@{step}", "-o", "x.nc")
    assert code == 2
    assert "step1.json" in err
    assert "is too large" in err
    assert not Path("x.nc").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["run", LONG], "unknown study"),
        (["run", "nano", "--tasks", LONG], "--tasks: unknown task"),
        (["run", "nano", "--trajectory", f"{'a' * 200}:x"], "--trajectory: unknown"),
        (["run", "nano", "--trajectory", f"{LONG}:x"], "too long"),
        (["show", LONG], "File name too long"),
        (["audit", LONG], "File name too long"),
        (["golden", "check", LONG], "File name too long"),
        (["golden", "freeze", "r.nc", "--to", LONG], "File name too long"),
        (["run", "nano", "--specs", LONG], "File name too long"),
        (["import", f"{LONG}.json", "-o", "x.nc"], "File name too long"),
        (["report", "r.nc", "--comparison", LONG], "File name too long"),
        (["export", "r.nc", "-o", f"{LONG}.csv"], "File name too long"),
        (["export", "r.nc", "-o", "x.csv", "--task", LONG], "r.nc: unknown task"),
        (["figures", "r.nc", "-o", "f", "--task", LONG], "r.nc: unknown task"),
        (["figures", "r.nc", "-o", "f", "--only", LONG], "unknown picture"),
        (["run", "nano", "--prompts", LONG], "--prompts"),
        (["run", "nano", f"--{LONG}"], "unknown option"),
        ([LONG], "unknown command"),
        (["export", "r.nc", "-o", "x", "--format", LONG], "--format"),
        (["run", "nano", "--memory", "inf"], "--memory"),
        (["plan", "nano", "--memory", "nan"], "--memory"),
    ],
)
def test_messages_are_short_however_long_a_value_is(cli, words, part):
    code, _, err = cli(*words)
    assert code == 2
    assert part in " ".join(err.split())
    assert "Traceback" not in err
    assert len(err) < 4000
    assert err.count("\n") <= 25


def test_values_in_files_are_cut(cli):
    content = graph()
    content["nodes"][LONG] = True
    write_graph(Path("step1.json"), content)
    code, _, err = cli("import", "step1.json", "-o", "x.nc")
    assert code == 2
    assert "step1.json: nodes: there is no node 'aaa" in err
    assert len(err) < 2000


@pytest.fixture
def frozen(cli, monkeypatch) -> dict[str, Any]:
    """A golden folder of one small film, read from memory; returns its manifest."""
    film = random_film(names=("step0",), ablations=("zero",))
    identity = {"tasks": {}, "ablations": {}, "prompts": 4, "seed": 0, "tokenizer": ""}
    identity |= {"checkpoints": {"step0": "a"}}
    study = StudySpec(
        version=1, summary="x", trajectory="dir:nowhere", tasks=("induction",), ablations=("zero",)
    )
    film.attrs |= {"spec": json.dumps(identity), "study_spec": json.dumps(as_dict(study))}
    write_results(xr.DataTree(film), Path("made.nc"))
    assert cli("golden", "freeze", "made.nc", "--to", "g")[0] == 0
    (path,) = Path("g").glob("*.nc")
    whole, part = open_results(Path("made.nc")), open_results(path)
    monkeypatch.setattr(
        "cntbench.results.storage.open_results",
        lambda path: part if path.parent == Path("g") else whole,
    )
    return json.loads((Path("g") / MANIFEST).read_text())


@pytest.mark.parametrize("words", ["check g --results made.nc", "check g"])
def test_a_damaged_golden_folder_is_no_moved_number(cli, frozen, words):
    assert cli("golden", "check", "g", "--results", "made.nc")[0] == 0
    path = Path("g") / MANIFEST
    texts = list(damages(frozen))
    for damaged in random.Random(0).sample(texts, 24):
        path.write_text(damaged)
        code, _, err = cli("golden", *words.split())
        assert code in (0, 2), damaged
        assert code == 0 or re.search("golden.json|nowhere|zero.nc: |made.nc: ", err), damaged
        assert err.count("\n") <= 25


def damages(whole: dict[str, Any]) -> Iterator[str]:
    """Texts of a damaged manifest: values of other types everywhere, and JSON in text broken."""
    text = json.dumps(whole)
    yield from (text[:-20], text + "}", "", "null", '"x"', "[1]")
    yield text.replace('"version"', '"files"')
    others: list[Any] = [None, 3, "x", "{}", "[]", '{"tasks": 3}', [], {}, {"x": {}}]
    for keys in (["version"], ["files"], ["made_by"], *(["made_by", k] for k in whole["made_by"])):
        for other in others:
            changed = json.loads(text)
            inner = changed
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = other
            yield json.dumps(changed)
    for name in ("spec", "study_spec"):
        embedded = json.loads(whole["made_by"][name])
        for key in embedded:
            for other in others:
                made_by = whole["made_by"] | {name: json.dumps(embedded | {key: other})}
                yield json.dumps(whole | {"made_by": made_by})
