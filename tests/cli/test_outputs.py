"""No command destroys what is there: inputs, files of other kinds, links, pipes and devices."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import xarray as xr
from matplotlib.figure import Figure
from support.comparisons import compared
from support.eap import graph, write_graph
from support.films import random_film
from support.trajectories import run_cli

from cntbench.api.circuit import circuit
from cntbench.api.results import save_results
from cntbench.cli.main import app
from cntbench.cli.options import tasks_in
from cntbench.comparison.files import COMPARISON, FILES_TITLE
from cntbench.errors import CntbenchError, StorageError
from cntbench.exchange.eap_import import read_graphs
from cntbench.exchange.export import export
from cntbench.figures import save
from cntbench.files.output import user_path
from cntbench.models.trajectory import open_trajectory
from cntbench.reporting.page.write import write_page
from cntbench.results.storage import open_results, write_dataset, write_results
from cntbench.runs.catalogue import load_catalogue


class Command(NamedTuple):
    """A command that writes: what it reads, what ``-o`` names, and a file that it writes then."""

    words: str
    input: str
    output: str
    written: str


def command(words: str, output: str, written: str = "") -> Command:
    source = next(word for word in words.split() if word.endswith((".nc", ".json")))
    return Command(words, source, output, written or output)


ONE = "--ablation zero --checkpoint step8"
COMMANDS = [
    command("report r.nc", "page.html"),
    command("figures r.nc --only agreement --format svg", "pictures", "pictures/agreement.svg"),
    command("compare --results r.nc", "c.nc"),
    command("export r.nc", "edges.csv"),
    command("export r.nc", "edges.csv.gz"),
    command("export r.nc", "edges.parquet"),
    command("export r.nc --ablation zero", "film.gexf"),
    command(f"export r.nc {ONE}", "moment.graphml"),
    command("export r.nc --format csv", "tables", "tables/readouts.csv"),
    command("export r.nc --format gexf", "films", "films/induction/mean.gexf"),
    command(f"export r.nc {ONE} --format graphml", "all", "all/induction/zero/step8.graphml"),
    command("import step1.json --draws 0", "theirs.nc"),
    command("score parallel.json --on or_gate", "scores.nc"),
    command("leaderboard methods.nc", "board.html"),
    command("leaderboard methods.nc", "board.md"),
    command("claims r.nc --claims long_tailed_weights --draws 19 -j 1", "judged.nc"),
]
COMPARED = xr.Dataset({"agreement": ("ablation", [0.5])}, attrs={"title": FILES_TITLE})
writing = pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.words} -o {c.output}")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with a result and graphs."""
    folder = tmp_path_factory.mktemp("inputs")
    write_results(xr.DataTree(random_film()), folder / "r.nc")
    write_graph(folder / "step1.json", graph())
    write_graph(folder / "parallel.json", graph(parallel=True))
    write_dataset(compared({"zero": 0.8, "mean": 0.9}, [4, 5]), folder / "methods.nc", COMPARISON)
    return folder


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path, inputs):
    """Run a command line in a copy of that folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)

    def run(words, *more):
        code, _, err = run_cli(monkeypatch, capsys, *words.split(), *more)
        assert "Traceback" not in err
        return code, err

    return run


def place(command: Command) -> Path:
    path = Path(command.written)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_every_command_that_writes_is_tried():
    writing = {name for name, outputs in options().items() if "--output" in outputs}
    # These write folders of their own, which they refuse to share: see the tests of run folders.
    # calibrate has no input, and circuit needs the weights of its result: see their own tests.
    tried = {c.words.split()[0] for c in COMMANDS}
    assert writing - {"run", "merge", "plan", "calibrate", "circuit"} == tried
    for name in writing - {"run", "merge", "plan"}:
        assert "--force" in options()[name]


def options() -> dict[str, set[str]]:
    """Options of every command."""
    commands = typer.main.get_command(app).commands
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }


@writing
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_input_is_never_written_over(cli, command, link):
    before = Path(command.input).read_bytes()
    link(Path(command.input).resolve(), place(command))
    code, err = cli(command.words, "-o", command.output, "--force")
    assert code == 2
    assert f"{command.written}: is an input and would be lost" in err
    assert Path(command.input).read_bytes() == before
    assert place(command).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("report r.nc -o r.nc", "r.nc"),
        ("report r.nc -o ./r.nc --force", "r.nc"),
        ("report r.nc --comparison b.nc -o b.nc --force", "b.nc"),
        ("compare --results r.nc --results b.nc -o b.nc --force", "b.nc"),
        ("compare --results r.nc --results b.nc -o r.nc", "r.nc"),
        ("compare --trajectory dir:nets -o nets/step0/model.safetensors --force", "nets"),
        ("import step1.json -o step1.json --force", "step1.json"),
        ("import step1.json@7 -o step1.json", "step1.json"),
    ],
)
def test_an_input_is_not_written_over_by_its_name(cli, words, lost):
    write_results(xr.DataTree(random_film(seed=1)), Path("b.nc"))
    Path("nets/step0").mkdir(parents=True)
    Path("nets/step0/model.safetensors").write_text("weights")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, err = cli(words)
    assert code == 2
    assert "is an input and would be lost" in err
    assert lost in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_golden_folder_is_not_frozen_into_itself(cli):
    assert cli("golden freeze r.nc --to golden")[0] == 0
    before = {path: path.read_bytes() for path in Path("golden").iterdir()}
    code, err = cli("golden freeze golden/induction.mean.nc --to golden")
    assert code == 2
    assert "golden/induction.mean.nc: is an input and would be lost" in err
    assert {path: path.read_bytes() for path in Path("golden").iterdir()} == before


@writing
def test_a_file_of_another_kind_needs_force(cli, command):
    path = place(command)
    notes = b"a,b\nmy notes of ten years\n"
    path.write_bytes(notes)
    code, err = cli(command.words, "-o", command.output)
    assert code == 2
    assert f"{path}: exists already and is not " in err
    assert "--force" in err
    assert path.read_bytes() == notes
    assert cli(command.words, "-o", command.output, "--force") == (0, "")
    assert notes not in path.read_bytes()
    assert cli(command.words, "-o", command.output) == (0, "")  # its own kind is replaced


@writing
def test_links_stay_links_and_what_they_point_to_is_written(cli, command):
    path = place(command)
    target = Path("elsewhere") / path.name
    target.parent.mkdir()
    path.symlink_to(target.resolve())
    assert cli(command.words, "-o", command.output) == (0, "")
    assert path.is_symlink()
    assert target.stat().st_size > 0
    assert [each.name for each in target.parent.iterdir()] == [path.name]


@writing
def test_pipes_and_devices_are_not_replaced(cli, command):
    path = place(command)
    os.mkfifo(path)
    code, err = cli(command.words, "-o", command.output, "--force")
    assert code == 2
    assert f"{path}: is a device, a pipe or a socket: only regular files can be written" in err
    assert stat.S_ISFIFO(path.stat().st_mode)
    path.unlink()
    path.symlink_to("/dev/null")
    code, err = cli(command.words, "-o", command.output, "--force")
    assert code == 2
    assert "is a device" in err
    assert path.is_symlink()


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.output == c.written], ids=lambda c: c.words
)
def test_what_is_no_name_of_a_file_is_refused_before_any_work(cli, command, monkeypatch):
    monkeypatch.setattr("cntbench.exchange.eap_import.import_graphs", None)
    monkeypatch.setattr("cntbench.comparison.command.compare", None)
    suffix = "".join(Path(command.output).suffixes)
    for output, part in (
        (f"nowhere/{command.output}", "there is no folder nowhere"),
        (f"{'x' * 300}{suffix}", "File name too long"),
        (f"r.nc/{command.output}", "there is no folder r.nc"),
    ):
        code, err = cli(command.words, "-o", output)
        assert code == 2
        assert part in err
    code, err = cli(command.words, "-o", "")
    assert (code, err) == (2, 'error: --output = "" is not allowed\nIt must not be empty.\n')
    if not command.words.startswith("export"):
        Path("folder").mkdir()
        code, err = cli(command.words, "-o", "folder")
        assert code == 2
        assert "is a folder" in err
    assert {path.name for path in Path().iterdir()} <= {
        "r.nc",
        "methods.nc",
        "step1.json",
        "parallel.json",
        "folder",
    }


def test_an_empty_file_is_nothing_that_could_be_lost(cli):
    Path("page.html").touch()
    assert cli("report r.nc -o page.html") == (0, "")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.html", lambda tree, path, **k: write_page(tree, path, name="r.nc", **k)),
        ("p.svg", lambda tree, path, **k: save(Figure(), path, **k)),
        ("p.pdf", lambda tree, path, **k: save(Figure(), path, **k)),
        ("p.png", lambda tree, path, **k: save(Figure(), path, **k)),
        ("p.csv", lambda tree, path, **k: export(tree, path, None, **k)),
        ("p.nc", lambda tree, path, **k: write_dataset(COMPARED, path, COMPARISON, **k)),
    ],
)
def test_functions_of_python_write_over_their_own_kind_only(tmp_path, name, write):
    path = tmp_path / name
    write_results(xr.DataTree(random_film()), path)
    tree, before = open_results(path), path.read_bytes()
    with pytest.raises(StorageError, match=r"exists already and is not .*\n.*force=True"):
        write(tree, path)
    assert path.read_bytes() == before
    write(tree, path, force=True)
    write(tree, path)
    assert path.read_bytes() != before


def test_a_long_name_that_a_file_may_have_can_be_written(cli):
    name = "x" * 250 + ".html"
    assert cli("report r.nc", "-o", name) == (0, "")
    assert Path(name).is_file()


def test_a_tilde_is_the_home_folder(cli, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert cli("export r.nc --output=~/edges.csv") == (0, "")
    save_results(open_results(Path("r.nc")).to_dataset(), "~/again.nc", draws=0)
    assert {path.name for path in home.iterdir()} == {"edges.csv", "again.nc"}
    assert cli("audit ~/again.nc") == (0, "")
    with pytest.raises(CntbenchError) as caught:
        circuit("~/again.nc", in_graph=True)
    assert "a result has none" in str(caught.value)
    (home / "mine.jsonl").write_text('{"clean": "a b", "answer": " c"}\n')
    assert load_catalogue(()).task("~/mine.jsonl").name == "mine"
    assert not Path("~").exists()
    assert user_path("~no-such-user/runs") == Path("~no-such-user/runs")
    (home / "a,b.toml").write_text("")
    for named in ("planted:~/a,b.toml", "planted:~/c.toml"):
        with pytest.raises(CntbenchError) as caught:
            open_trajectory(named, lambda *_: None)
        assert str(home / named.removeprefix("planted:~/")) in str(caught.value)
    assert tasks_in("~/a,b.toml") == ("~/a,b.toml",)
    with pytest.raises(CntbenchError) as caught:
        read_graphs(["~/eap.json@1000"])
    assert str(home / "eap.json") in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        *(
            f"{command.words} -o {command.output}"
            for command in COMMANDS
            if command.output == command.written
        ),
        "claims r.nc",
        "seal part.nc",
        "circuit r.nc --add",
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(cli, words, monkeypatch):
    xr.open_dataset("r.nc").isel(checkpoint=[0]).to_netcdf("part.nc")
    for work in (
        *("cntbench.exchange.eap_import.import_graphs", "cntbench.comparison.command.compare"),
        *("cntbench.analysis.verdicts.with_verdicts", "cntbench.analysis.sealing.complete"),
        "cntbench.api.circuit.circuit",
    ):
        monkeypatch.setattr(work, None)
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (mode == os.W_OK and path == Path.cwd())
    )
    code, err = cli(words)
    assert code == 2
    assert "cannot be written: no file can be made in the folder ." in err


def test_a_folder_of_that_name_can_be_named(cli):
    assert cli("export r.nc --output=./~.csv") == (0, "")
    Path("~").mkdir()
    assert cli("export r.nc --output=./~/edges.csv") == (0, "")
    assert Path("~/edges.csv").is_file()
    assert user_path("./~") == Path("~")
