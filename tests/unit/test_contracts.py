"""Users' files that do something else than files of their kind: the error says file and line."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cntbench.cli import main
from cntbench.errors import PluginError, SpecError
from cntbench.metrics._graphs import Graphs, wrong_names
from cntbench.plugins import find, room, shipped_folder
from cntbench.plugins.folders import using
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import make_plan

MEASURE = '''"""One of mine."""
RANGE = (0, 1)
def measure(clean, ablated):
    return (ablated - clean).norm(dim=-1).mean(dim=-2)
'''
REPLACEMENT = '''"""One of mine."""
from cntbench.ablations.replacements._base import Replacement
from cntbench.specs import spec
@spec
class Parameters(Replacement):
    """None."""
    def replace(self, states):
        return states.clean / 2
'''
READOUT = '''"""One of mine."""
UNIT, BETTER, READS = "nat", 1, ("logits",)
def value(at):
    return at.targets[None].double()
def reference(logits, target, decoy):
    return 0.0
'''
METRIC = '''"""One of mine."""
from cntbench.metrics._base import Metric
METRIC = Metric(per="graph", lower=0, upper=1, degree=0)
def compute(weights):
    return weights.sum(axis=(-2, -1))
def reference(graph):
    return 0.0
'''
NULL = '''"""One of mine."""
def draw(film, rng, size=None):
    return film.weights if size is None else film.weights[None].repeat(size, axis=0)
'''
RULE = '''"""One of mine."""
from cntbench.specs import spec
@spec
class Parameters:
    """None."""
    def keep(self, weights):
        return weights > 0
def reference(graph, parameters):
    return set()
'''
STATISTIC = '''"""One of mine."""
from cntbench.dynamics.statistics._base import Statistic
from cntbench.specs import spec
@spec
class Parameters(Statistic):
    """None."""
    def series(self, film):
        return film.weights.sum(axis=(-2, -1))
'''
PICTURE = '"""One of mine."""\ndef of_result(results, chosen):\n    return results.figure\n'
FORMAT = '''"""One of mine."""
from cntbench.files.output import FileKind
SUFFIXES, KIND = (".mine",), FileKind("one of mine", bool)
def write_file(tree, path):
    path.write_text("")
def files(tree, folder):
    yield folder / "mine"
def write_folder(tree, folder):
    return []
'''
GENERATOR = '''"""One of mine."""
from cntbench.specs import spec
@spec
class Parameters:
    """None."""
    def make(self, language, rng):
        return rng
'''
ESTIMATOR = '''"""One of mine."""
OBSERVES = ("readout",)
USES = ()
def estimate(edges):
    yield edges
'''
FILES = {
    "estimator": ("estimators", ESTIMATOR),
    "measure": ("measures", MEASURE),
    "replacement": ("replacements", REPLACEMENT),
    "readout": ("readouts", READOUT),
    "metric": ("metrics", METRIC),
    "null model": ("nulls", NULL),
    "backbone rule": ("backbones", RULE),
    "statistic": ("statistics", STATISTIC),
    "picture": ("pictures", PICTURE),
    "export format": ("formats", FORMAT),
    "generator": ("generators", GENERATOR),
}
WEIGHTS = np.ones((2, 3, 3))
CALLS = {
    "estimator": lambda file, _: list(file.estimate(edges())),
    "measure": lambda file, _: file.measure(
        torch.ones(2, 3, 4, 5), torch.full((6, 2, 3, 4, 5), 1.1)
    ),
    "replacement": lambda file, _: file.Parameters().replace(
        SimpleNamespace(clean=torch.ones(2, 3, 4, 5))
    ),
    "readout": lambda file, _: file.value(scored_positions(1.0)),
    "metric": lambda file, _: file.compute(WEIGHTS.copy()),
    "null model": lambda file, _: file.draw(SimpleNamespace(weights=WEIGHTS.copy()), None, 7),
    "backbone rule": lambda file, _: file.Parameters().keep(WEIGHTS.copy()),
    "statistic": lambda file, _: file.Parameters().series(SimpleNamespace(weights=WEIGHTS.copy())),
    "picture": lambda file, _: file.of_result(SimpleNamespace(figure=plain_figure()), None),
    "export format": lambda file, path: (
        file.write_file(None, path),
        file.write_folder(None, path),
    ),
    "generator": lambda file, _: file.Parameters().make(None, SimpleNamespace(tokens=0, scored=0)),
}


def scored_positions(logit):
    return SimpleNamespace(
        targets=torch.ones(2, 3), decoys=None, log_odds=torch.full((1, 2, 3), logit)
    )


def edges():
    streams = [torch.ones(2, 4, 5), torch.ones(2, 4, 5)]
    return SimpleNamespace(
        changes=torch.ones(3, 2, 4, 5), perturbations=SimpleNamespace(streams=streams)
    )


def plain_figure():
    return SimpleNamespace(savefig=None)


def load(folder, kind, text):
    path = folder / FILES[kind][0] / "mine.py"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", FILES)
def test_what_keeps_its_promise_passes(tmp_path, kind):
    load(tmp_path, kind, FILES[kind][1])
    with using([tmp_path]):
        CALLS[kind](find(kind, "mine"), tmp_path / "x.mine")


AT_LOADING = [
    ("measure", "(clean, ablated)", "(clean)", "line 3: cntbench calls measure(clean, ablated)"),
    ("measure", "(0, 1)", "5", ": RANGE is 5; it has to be (lowest, highest)"),
    ("replacement", "(self, states)", "(self)", "line 7: cntbench calls replace(self, states)"),
    ("replacement", "replace(", "replaces(", ": Parameters lacks replace"),
    ("replacement", "@spec", "", ": Parameters has to be decorated by cntbench.specs.spec: @spec"),
    ("replacement", "(Replacement)", "", "Parameters has to be a cntbench.ablations.replacements."),
    ("readout", "(at)", "()", "line 3: cntbench calls value(at)"),
    ("readout", '("logits",)', '"logits"', "READS is 'logits'; it has to be a tuple of some of"),
    (
        "readout",
        '("logits",)',
        '("logitss",)',
        "READS is ('logitss',); it has to be",
    ),
    ("estimator", '("readout",)', '("readouts",)', "OBSERVES is ('readouts',); it has to be a tup"),
    (
        "estimator",
        "USES = ()",
        'USES = ("gradients",)',
        "USES is ('gradients',); it has to be ",
    ),
    ("estimator", "USES = ()", "USES, SIGNED = (), 0", "SIGNED is 0; it has to be True or False"),
    ("readout", "1, (", "0, (", "BETTER is 0; it has to be 1 or -1"),
    ("metric", "(weights)", "()", "line 4: cntbench calls compute(weights)"),
    (
        "metric",
        "degree=0)",
        'degree=0, needs=("step",))',
        "cntbench calls compute(weights, step=…)",
    ),
    ("metric", 'per="graph"', 'per="grahp"', "unknown per 'grahp'\nDid you mean 'graph'?"),
    ("metric", "Metric(per", "dict(per", "it has to be a cntbench.metrics._base.Metric"),
    ("null model", ", size=None", "", "line 2: cntbench calls draw(film, rng, size)"),
    ("backbone rule", "def keep", "def kept", ": Parameters lacks keep(self, weights)"),
    (
        "picture",
        "(results, chosen)",
        "(results)",
        "line 2: cntbench calls of_result(results, chosen)",
    ),
    ("export format", "(tree, path)", "(tree)", "line 4: cntbench calls write_file(tree, path)"),
    ("export format", '(".mine",)', '".mine"', "SUFFIXES is '.mine'; it has to be a tuple of"),
    ("generator", "def make", "def mace", ": Parameters lacks make(self, language, rng)"),
]


@pytest.mark.parametrize(("kind", "right", "wrong", "told"), AT_LOADING)
def test_a_file_that_cannot_be_used_as_it_will_be_is_broken(tmp_path, kind, right, wrong, told):
    text = FILES[kind][1]
    path = load(tmp_path, kind, text.replace(right, wrong))
    assert right in text
    with using([tmp_path]), pytest.raises(PluginError) as caught:
        find(kind, "mine")
    assert f"{kind} 'mine' cannot be used: {path}" in str(caught.value)
    assert told in str(caught.value)


IN_USE = [
    (
        "measure",
        ".mean(dim=-2)",
        "",
        3,
        "measure returns the shape (6, 2, 3, 4); it has to be run ×",
    ),
    ("measure", "return", "", 3, "measure returns nothing; it has to be a torch tensor"),
    ("measure", "return (", "return float('nan') * (", 3, "NaN or infinity for finite input"),
    ("replacement", " / 2", "[..., 0]", 7, "replace returns the shape (2, 3, 4); it has to be the"),
    ("replacement", " / 2", ".numpy()", 7, "replace returns ndarray; it has to be a torch tensor"),
    ("replacement", " / 2", ".double()", 7, "replace returns torch.float64; it has to be the type"),
    ("measure", "return (", "return 9 - (", 3, "by RANGE they are 0 to 1"),
    ("replacement", " / 2", " / 0", 7, "replace returns NaN or infinity for finite input"),
    ("replacement", "clean / 2", "clean.div_(2)", 7, "replace returns after changing its input"),
    ("measure", "(ablated -", "(ablated.mul_(2) -", 3, "measure returns after changing its input"),
    ("readout", "targets", "targets.neg_()", 3, "value returns after changing its input"),
    ("metric", "return", "weights *= 2; return", 4, "compute returns after changing its input"),
    ("null model", "return", "film.weights *= 2; return", 2, "draw returns after changing its inp"),
    (
        "backbone rule",
        "return w",
        "weights *= 2; return w",
        6,
        "keep returns after changing its",
    ),
    ("estimator", "yield", "edges.changes.neg_(); yield", 4, "estimate returns after changing its"),
    (
        "estimator",
        "yield edges",
        "return (s.neg_() for s in edges.perturbations.streams)",
        4,
        "estimate returns after changing its input",
    ),
    ("estimator", "yield edges", "yield; raise SystemExit", 4, "estimate exits Python: SystemExit"),
    ("measure", "return", "raise SystemExit; return", 3, "measure exits Python: SystemExit("),
    ("readout", "[None]", "", 3, "value returns the shape (2, 3); it has to be run × prompt ×"),
    ("readout", "double()", "double() / 0", 3, "value returns NaN or infinity for finite logits"),
    (
        "metric",
        "(-2, -1)",
        "-1",
        4,
        "compute returns the shape (2, 3); it has to be one number for",
    ),
    (
        "metric",
        "weights.sum(axis=(-2, -1))",
        "0.5",
        4,
        "compute returns float; it has to be a NumP",
    ),
    (
        "null model",
        ".repeat(size, axis=0)",
        "",
        2,
        "draw returns the shape (1, 2, 3, 3); with size",
    ),
    ("backbone rule", " > 0", "", 6, "keep returns float64; it has to be true or false"),
    ("statistic", "(-2, -1)", "-1", 7, "series returns the shape (2, 3) of float64; it has to be"),
    ("statistic", "(-2, -1))", "(-2, -1))[:0]", 7, "series returns the shape (0,) of float64; it"),
    ("statistic", "(-2, -1))", "(-2, -1)).astype(str)", 7, "series returns the shape (2,) of <U"),
    ("picture", "return", "", 2, "of_result returns nothing; it has to be a matplotlib figure"),
    (
        "export format",
        'path.write_text("")',
        "pass",
        4,
        "write_file returns without having written",
    ),
    (
        "export format",
        "return []",
        "pass",
        8,
        "write_folder returns nothing; it has to be the list",
    ),
    (
        "generator",
        "return rng",
        "pass",
        6,
        "make returns nothing; it has to be a cntbench.prompts.P",
    ),
]


@pytest.mark.parametrize(("kind", "right", "wrong", "line", "told"), IN_USE)
def test_a_result_of_another_kind_is_an_error_of_the_file(tmp_path, kind, right, wrong, line, told):
    text = FILES[kind][1]
    path = load(tmp_path, kind, text.replace(right, wrong))
    assert right in text
    with using([tmp_path]), pytest.raises(PluginError) as caught:
        CALLS[kind](find(kind, "mine"), tmp_path / "x.mine")
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "sizes", "right", "wrong", "told"),
    [
        ("backbone rule", None, "> 0", "!= 0", "keep returns true for edges that are NaN"),
        (
            "null model",
            [7],
            "film.weights[None]",
            "(film.weights[None] > 0)",
            "draw returns weight",
        ),
        (
            "null model",
            [],
            "film.weights if",
            "film.weights > 0 if",
            "draw returns weights of edges",
        ),
    ],
)
def test_edges_that_are_not_feasible_are_in_no_backbone_and_no_draw(
    tmp_path, kind, sizes, right, wrong, told
):
    path = load(tmp_path, kind, FILES[kind][1].replace(right, wrong))
    with using([tmp_path]):
        file = find(kind, "mine")
        film = SimpleNamespace(weights=np.where(np.eye(3, dtype=bool), np.nan, WEIGHTS))
        with pytest.raises(PluginError) as caught:
            file.Parameters().keep(film.weights) if sizes is None else file.draw(film, None, *sizes)
    assert str(caught.value).startswith(f"{path}, line ")
    assert told in str(caught.value)


def test_what_has_no_finite_input_may_return_none(tmp_path):
    load(tmp_path, "replacement", REPLACEMENT)
    with using([tmp_path]):
        states = SimpleNamespace(clean=torch.full((1, 1, 1, 1), torch.nan))
        assert find("replacement", "mine").Parameters().replace(states).isnan().all()


def test_a_readout_of_a_diverged_model_may_be_undefined(tmp_path):
    load(tmp_path, "readout", READOUT.replace("double()", "double() / 0"))
    with using([tmp_path]):
        assert find("readout", "mine").value(scored_positions(torch.nan)).isinf().all()


VARIANTS = '''"""Two of mine."""
from cntbench.metrics._base import Metric
from cntbench.plugins import Variant
METRIC = Metric(per="graph", lower=0, upper=1, degree=0)
VARIANTS = {"mine_whole": Variant("One.", {"by": 1}), "mine_none": Variant("Two.", {"by": 0})}
def compute(weights, *, by):
    return (weights > 0).any(axis=(-2, -1)) / by
def reference(graph, *, by):
    return 0.0
'''


@pytest.mark.filterwarnings("ignore:.*divide")
def test_a_metric_that_does_not_say_where_it_is_undefined_is_finite(tmp_path):
    path, about = load(tmp_path, "metric", VARIANTS), {"step": np.arange(2), "layer": np.arange(3)}
    with using([tmp_path]):
        graphs = Graphs(WEIGHTS, **about)
        assert graphs.metric("mine_whole").tolist() == [1, 1]
        with pytest.raises(PluginError) as caught:
            graphs.metric("mine_none")
        empty = Graphs(WEIGHTS * np.nan, **about)
        assert np.isnan(empty.metric("mine_none")).all()
    told = f"{path}: metric 'mine_none' is NaN or infinite on 2 of 2 graphs"
    assert str(caught.value).startswith(told)
    path.write_text(VARIANTS.replace("degree=0)", 'degree=0, undefined="everywhere")'))
    with using([tmp_path]):
        assert not np.isfinite(Graphs(WEIGHTS, **about).metric("mine_none")).any()


@pytest.mark.parametrize(
    ("per", "returned", "shape"),
    [
        ("transition", "abs(np.diff(weights.sum(axis=(-2, -1)), axis=-1))", (2,)),
        ("checkpoint_pair", "weights.sum(axis=(-2, -1))", (2, 2)),
        ("lag", "weights.sum(axis=(-2, -1))[..., None]", (2, 6)),
        ("source_by_layer", "weights[..., :1]", (2, 3, 2)),
        ("graph", "weights.any(axis=(-2, -1)).astype(str)", (2,)),
        ("graph", "weights.sum(axis=(-2, -1)) + 1j", (2,)),
    ],
)
def test_a_metric_is_a_number_for_each_of_what_it_is_per(tmp_path, per, returned, shape):
    """NumPy would repeat what one number fits; of two checkpoints, one transition."""
    text = METRIC.replace("weights.sum(axis=(-2, -1))", returned).replace('"graph"', f'"{per}"')
    path = load(tmp_path, "metric", text.replace("from", "import numpy as np\nfrom", 1))
    with using([tmp_path]), pytest.raises(PluginError) as caught:
        Graphs(WEIGHTS, step=np.arange(2), layer=np.array([0, 0, 1])).metric("mine")
    assert str(caught.value).startswith(f"{path}: metric 'mine' has the shape ")
    assert f"here {shape}, of numbers" in str(caught.value)


def test_a_shipped_class_that_a_file_imports_is_left_alone(tmp_path):
    text = '"""One of mine."""\nfrom cntbench.ablations.replacements.zero import Parameters\n'
    load(tmp_path, "replacement", text)
    with using([tmp_path]):
        theirs = find("replacement", "mine").Parameters
    assert theirs is find("replacement", "zero").Parameters
    assert not hasattr(theirs.replace, "__wrapped__")


def test_a_name_that_exists_is_told_also_if_the_shipped_studies_use_it(tmp_path):
    load_catalogue().study("nano")  # what was read without the file is not used with it
    path = tmp_path / "measures" / "relative_l2.py"
    path.parent.mkdir()
    path.write_text(MEASURE)
    with using([tmp_path]), pytest.raises(SpecError) as caught:
        load_catalogue([tmp_path]).study("nano")
    shipped = find("measure", "relative_l2").__file__
    told = f"{path}: defines relative_l2, as {shipped} does\nGive it another name."
    assert str(caught.value) == told


def test_a_task_whose_readout_is_broken_says_so(tmp_path):
    path = load(tmp_path, "readout", READOUT.replace("(at)", "()"))
    task = (shipped_folder() / "induction.toml").read_text()
    task = task.replace("[parameters]", 'effects = ["mine"]\n\n[parameters]')
    (tmp_path / "theirs.toml").write_text(task)
    with using([tmp_path]):
        error = load_catalogue([tmp_path]).tasks.broken["theirs"]
    told = (
        f"theirs.toml: effects (entry 1): readout 'mine' cannot be used: {path}, line 3: "
        "cntbench calls value(at)"
    )
    assert told in str(error)


def test_a_file_that_a_plug_in_does_not_find_is_told_with_its_line(tmp_path, monkeypatch, capsys):
    path = load(tmp_path, "picture", PICTURE.replace("results.figure", 'open("/no/file")'))
    with using([tmp_path]):
        draw = find("picture", "mine").of_result
    monkeypatch.setattr(main, "_command", lambda: lambda **mode: draw(None, None))
    with pytest.raises(SystemExit, match="2"):
        main.main()
    told = "".join(capsys.readouterr().err.split())
    assert f"{path},line3:FileNotFoundError:" in told


NAMES = [
    (
        'null="layer_pair"',
        "",
        "METRIC: null model: unknown null model 'layer_pair'\nDid you mean",
    ),
    (
        'backbone="disparit"',
        "",
        "METRIC.backbone: unknown backbone 'disparit'\nDid you mean",
    ),
    ('needs=("backbone",)', ", backbone", "METRIC.backbone: needs a backbone, and names none"),
    (
        'needs=("stepp",)',
        ", stepp",
        "METRIC.needs: unknown need of a metric 'stepp'\nDid you mean",
    ),
    ('needs=("mine",)', ", mine", "METRIC.needs: metrics need each other: mine → mine"),
]


@pytest.mark.parametrize(("declared", "arguments", "told"), NAMES)
def test_a_metric_that_names_what_there_is_not_is_told(tmp_path, declared, arguments, told):
    text = METRIC.replace("degree=0", f"degree=0, {declared}")
    path = load(tmp_path, "metric", text.replace("(weights)", f"(weights{arguments})"))
    with using([tmp_path]):
        [error] = wrong_names(room("metric")).values()
    assert str(error).startswith(f"{path}: {told}")


def test_it_is_told_before_measuring_and_listed_as_broken(tmp_path, monkeypatch, capsys):
    path = load(tmp_path, "metric", METRIC.replace("degree=0", 'degree=0, null="layer_pair"'))
    with using([tmp_path]):
        catalogue = load_catalogue([tmp_path])
        changes = {"trajectory": "planted:induction", "tasks": ("induction",)}
        study = catalogue.amend(catalogue.study("nano"), changes)
        with pytest.raises(SpecError) as caught:
            make_plan(catalogue, study, lambda *_: None, outline=True)
    assert str(caught.value).startswith(f"{path}: METRIC: null model: unknown")
    monkeypatch.setattr("sys.argv", ["cntbench", "list", "metrics", "--specs", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        main.main()
    listed = " ".join(capsys.readouterr().out.split())
    assert "mine cannot be used: unknown null model 'layer_pair'" in listed
    assert "mine One of mine." not in listed
