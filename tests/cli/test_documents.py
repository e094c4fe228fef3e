"""Every block of code in the README, the guide and the docs works, in the order of its page.

Python and commands run in this process, in a folder with a small, real result. Commands that do
not run are checked to exist with all their options. The tables below list, with the reason, what
runs in a smaller form and what is only checked.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer
from support.command_line import check
from support.documents import PAGES, ROOT, Block, blocks, commands, page_block
from support.eap import graph, write_graph
from support.runs import STUDY
from support.text import write_words
from support.trajectories import run_cli, run_cli_in, write_trajectory

import cntbench
from cntbench.cli.main import app
from cntbench.plugins import room
from cntbench.runs.catalogue import FOLDERS, load_catalogue
from cntbench.specs import AblationSpec, build

#: Replacements in the commands of a page (patterns, in this order), and why.
INSTEAD = (
    (r"^cntbench run (?=-)|^cntbench run$", "cntbench run tiny ", "the default study is large"),
    (r"^cntbench plan(?= -|$)", "cntbench plan tiny", "the default study is large"),
    (r"dir:checkpoints --tasks", "dir:words --tasks", "text needs a model with a tokenizer"),
    (r"nano:seed=\d", "dir:checkpoints", "a model is trained for each seed"),
    (r"nano-seeds/\*/", "nano/", "the same"),
    (
        r"run pythia-14m(-smoke)?",
        "run tiny --trajectory hub:lab/tiny@step0,step8,step100 -o runs/pythia-14m",
        "a hub on loopback has another model",
    ),
    (
        r"plan pythia-14m",
        "plan tiny --trajectory hub:lab/tiny@step0,step8,step100 -o runs/pythia-14m",
        "the same",
    ),
    (
        r"hub:EleutherAI/pythia-70m@step1000..step143000:1000",
        "hub:lab/tiny@step0..step8:8",
        "the same",
    ),
    (
        r"hub:EleutherAI/pythia-70m@step0,step512,step1000",
        "hub:lab/tiny@step0,step8,step100",
        "the same",
    ),
    (
        r"^cntbench compare(?! --ablations| --results)",
        "cntbench compare --ablations zero,mean",
        "all methods take minutes",
    ),
    (
        r"^(cntbench compare)(?! --results)",
        r"\1 --circuits constant,random_dag_narrow --trajectory dir:checkpoints "
        "--checkpoints 1 --prompts 4",
        "all circuits and the embedded model take minutes",
    ),
    (
        r"^(cntbench compare .*--ablations mine\S*)",
        r"\1 --circuits constant",
        "the comparison above it has another circuit, too",
    ),
    (
        r"^(cntbench figures \S+ -o \S+)(?!.*--only)",
        r"\1 --only heatmap --format svg",
        "all figures, in all formats, take ten seconds; test_figures_command draws them",
    ),
    (
        r"--only (heatmap,circuit|film)\S*",
        "--only heatmap",
        "all figures, and a film, take seconds; test_figures_command draws them",
    ),
    (r"^(cntbench seal .*) --draws \d+", r"\1 --draws 2", "fewer draws take less time"),
    (
        r"--trajectory nano(?= )",
        f"--trajectory dir:{ROOT / 'golden' / 'nano' / 'trajectory'}",
        "the embedded model is trained on first use",
    ),
    (r"^(cntbench circuit .*)", r"\1 --draws 1", "fewer random circuits take less time"),
    (r"--prompts (64|1000)", "--prompts 4", "fewer prompts take less time"),
    (r"^(cntbench (claims|import))", r"\1 --draws 19", "fewer draws take less time"),
    (
        r"^(cntbench (run|claims|compare|import|seal|golden check))",
        r"\1 -j 1",
        "other processes take seconds to start",
    ),
)

#: Commands that are only checked to exist with their options, and why.
ONLY_CHECKED = (
    (r"(pip|pre-commit) install|-m venv|^\. ", "installs"),
    (r"^pytest|^ruff|^mypy", "tests of the project itself"),
    (r"-m (benchmarks\.|support\.precision)", "takes minutes"),
    (r"^hf download", "downloads"),
    (r"^cntbench calibrate", "test_calibrate runs it; takes minutes"),
    (r"--seeds", "test_seeds runs it; a model is trained for each seed"),
    (r"^sphinx-build", "test_site builds the pages"),
    (r"^HF_HUB_OFFLINE=1", "test_hub_commands: is about the environment of a process of its own"),
    (
        r"^dask|--executor dask|--scheduler|--shard|^cntbench merge",
        "test_cluster_page runs it, with Dask",
    ),
    (r"--ablations half,zero,mean", "test_contributing runs it where half is"),
    (r"--ablations zero_gradient_activation", "test_own_plugins runs it where the estimator is"),
)

#: Python that is only compiled, by its mark, and why.
ONLY_COMPILED = {
    "replacement": "a file; test_contributing adds it",
    "metric": "a file; test_contributing adds it",
    "estimator": "a file; test_own_plugins adds it",
    "adapter": "says what the file defines",
    "slurm": "needs Slurm",
}
#: Replacements in Python, and why.
PYTHON_INSTEAD = (
    ('run("nano", tasks=["induction"], jobs=2', 'run("tiny", jobs=1', "the default study is large"),
    ("range(201)", "range(3)", "a model is trained; three checkpoints are enough"),
    ("step % 100 == 0", "step % 1 == 0", "the same"),
)

#: Folders of specs by their mark; "ablation" is loaded by test_contributing, where its rule is, and
#: that of an estimator by test_own_plugins.
SPECS = {
    "task": "",
    "another ablation": "ablations",
    "backbone": "backbones",
    "claim": "claims",
    "study": "studies",
    "planted circuit": "planted",
}

#: A result of the embedded model that takes some seconds.
SMALL = """version = 1
summary = "A dozen checkpoints of the embedded model."
trajectory = "dir:{trajectory}"
tasks = ["induction"]
ablations = ["zero", "mean", "resample"]
prompts = 2
untrained = 1
null_draws = 9
planted = false
"""
ABLATION = """version = 1
summary = "An ablation of one's own."
replacement = "zero"
measure = "cosine"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory, shared):
    """The folder that pages assume: a result, a comparison, checkpoints, specs, a graph."""
    folder = tmp_path_factory.mktemp("pages") / "home"
    write_trajectory(folder / "checkpoints", heads=4)
    studies, own = folder / "specs" / "studies", folder / "my-specs"
    for path in (studies, own / "studies", own / "ablations", own / "metrics"):
        path.mkdir(parents=True)
    (studies / "small.toml").write_text(
        SMALL.format(trajectory=ROOT / "golden" / "nano" / "trajectory")
    )
    tiny = STUDY.format(folder="checkpoints", untrained=0, null_draws=0)
    (studies / "tiny.toml").write_text(tiny)
    (own / "studies" / "mine.toml").write_text(tiny.replace('"zero"', '"mine"'))
    (own / "ablations" / "mine.toml").write_text(ABLATION)
    prompts = page_block(ROOT / "docs" / "bring-your-own.md", "prompts")
    (folder / "ioi.jsonl").write_text(prompts)
    write_trajectory(folder / "words", steps=(0,))
    write_words(folder / "words", prompts)
    plugin = page_block(ROOT / "docs" / "bring-your-own.md", "plug-in")
    (own / "metrics" / "dominance.py").write_text(plugin)
    cntbench.run("small", output=folder / "runs" / "nano", specs=folder / "specs", progress=False)
    compare = shlex.split(replaced("cntbench compare -o runs/compare.nc"))
    assert run_cli_in(folder, *compare[1:])[0] == 0
    shared.keep(compare, folder)
    write_graph(folder / "circuit.json", graph())
    return folder


class Shared:
    """Runs and comparisons that several pages show: what was measured once is copied.

    Parameters
    ----------
    folder
        Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[tuple[str, ...], Path] = {}

    def copied(self, words: list[str]) -> bool:
        """Return whether the same was measured before, and is where it belongs now."""
        key, output = self._same(words)
        if key not in self.kept or output.is_dir():  # a run that goes on
            return False
        _copy(self.kept[key], output)
        return True

    def keep(self, words: list[str], folder: Path = Path()) -> None:
        """Keep what a command in a folder has written."""
        key, output = self._same(words)
        if key and key not in self.kept and (folder / output).exists():
            self.kept[key] = _copy(folder / output, self.folder / str(len(self.kept)))

    def _same(self, words: list[str]) -> tuple[tuple[str, ...], Path]:
        """Return what is the same of commands that measure the same, and the output."""
        if words[1] not in ("run", "compare") or "--results" in words:
            return (), Path()
        if "-o" not in words:
            return tuple(words), Path("runs") / ("mine" if "mine" in words else "tiny")
        place = words.index("-o")
        return (*words[:place], *words[place + 2 :]), Path(words[place + 1])


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, target))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def work(home, monkeypatch):
    """A copy of that folder to work in, always at the same place: a run knows its checkpoints'."""
    folder = home.parent / "work"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CNTBENCH_SPECS", str(folder / "specs"))


def replaced(command: str) -> str:
    """Return the command that runs in place of a page's command."""
    for pattern, other, _ in INSTEAD:
        command = re.sub(pattern, other, command)
    return command


def only_checked(command: str) -> bool:
    return any(re.search(pattern, command) for pattern, _ in ONLY_CHECKED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_works(page, work, hub, shared, monkeypatch, capsys, tmp_path):
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        match block.language:
            case "python" if block.mark in ONLY_COMPILED:
                compile(block.text, str(block), "exec")
            case "python":
                run_python(block, names)
            case "sh":
                for command in commands(block.text):
                    run_command(block, command, shared, monkeypatch, capsys)
            case "toml":
                load_spec(block, tmp_path / f"specs{block.line}")
            case "text":
                pass  # what something prints
            case other:
                pytest.fail(f"{block}: this test does not know the language {other!r}")


def run_python(block: Block, names: dict[str, object]) -> None:
    """Run a block, with the page's line numbers in tracebacks."""
    text = block.text
    for old, new, _ in PYTHON_INSTEAD:
        text = text.replace(old, new)
    tree = ast.increment_lineno(ast.parse(text), block.line)
    exec(compile(tree, str(block.page), "exec"), names)


def run_command(block, command, shared, monkeypatch, capsys) -> None:
    check(command)
    if pictures := re.search(r"^cntbench figures .* --only (\S+)", command):
        assert set(pictures[1].split(",")) <= {*room("picture")}, f"{block}: {command}"
    if only_checked(command):
        return
    words = shlex.split(replaced(command))
    assert words[0] == "cntbench", f"{block}: neither run nor in the table: {command}"
    if shared.copied(words):
        return
    code, out, err = run_cli(monkeypatch, capsys, *words[1:])
    assert code == 0, f"{block}: {shlex.join(words)}\n{out}\n{err}"
    shared.keep(words)


def load_spec(block: Block, folder: Path) -> None:
    """Load a spec as the program does; an incomplete spec gets the other keys that it needs."""
    text = block.text
    if block.mark == "keys of an ablation":
        least = 'version = 1\nsummary = "…"\nreplacement = "noise"\n'
        build(AblationSpec, tomllib.loads(least + text), where=str(block))
    elif block.mark not in ("ablation", "ablation of an estimator"):
        path = folder / SPECS[block.mark] / "example.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        load_catalogue([folder])


def test_the_tables_have_nothing_that_no_page_needs():
    every = [block for page in PAGES for block in blocks(page)]
    shown = [c for block in every if block.language == "sh" for c in commands(block.text)]
    for pattern, _ in ONLY_CHECKED:
        assert any(re.search(pattern, command) for command in shown), pattern
    run = [command for command in shown if not only_checked(command)]
    for number, (pattern, _, _) in enumerate(INSTEAD):
        for command in run:
            for before, other, _ in INSTEAD[:number]:
                command = re.sub(before, other, command)
            if re.search(pattern, command):
                break
        else:
            pytest.fail(f"no command needs {pattern}")
    marks = {block.mark for block in every}
    assert marks >= set(ONLY_COMPILED) | set(SPECS)
    text = "".join(block.text for block in every if block.language == "python")
    assert all(old in text for old, _, _ in PYTHON_INSTEAD)
    assert set(SPECS.values()) <= set(FOLDERS)


@pytest.mark.parametrize(
    "command",
    [
        "cntbench rum",
        "cntbench run --task induction",
        "cntbench golden chek golden/mine",
        "pip install '.[paquet]'",
        "pytest tests/nowhere",
        "pytest --ful benchmarks",
        "python -m benchmarks.racing",
        "python -m benchmarks.race --contender engine",
        "conda install cntbench",
    ],
)
def test_what_does_not_exist_is_found(command):
    with pytest.raises(Exception, match=r"No such|no |knows no|There is|there is|nothing"):
        check(command)


def test_every_path_that_a_page_names_exists():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pattern = r"`((?:cntbench|tests|benchmarks|docs|tasks)/[\w./-]+)`"
    named = {path for page in pages for path in re.findall(pattern, page.read_text("utf-8"))}
    assert len(named) > 30
    # By whoever follows the guides, as is any NAME.
    added = {"tasks/ablations/half.toml", "tasks/ablations/zero_gradient_activation.toml"}
    present = {path.partition("NAME")[0] for path in named - added}
    assert not [path for path in sorted(present) if not (ROOT / path).exists()]


def test_the_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 180


def test_every_command_is_shown():
    every = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
    shown = [command for block in every for command in commands(block.text)]
    named = {shlex.split(command)[1] for command in shown if command.startswith("cntbench ")}
    assert named == set(typer.main.get_command(app).commands)
