"""A choice of sources and targets: the same numbers for less work, NaN for the rest."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from support.models import decoder, random_model, random_prompts
from support.runs import plan_for, quiet
from support.trajectories import run_cli, write_trajectory

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import resample, zero
from cntbench.components import components, named
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.results.storage import open_results
from cntbench.runs.run import run

RULE = resample.Parameters(donor="reference")
READOUT = {"scope": "direct", "observable": "readout"}
METHODS = [
    Ablation("total", RULE, relative_l2.measure),
    Ablation("direct", RULE, relative_l2.measure, scope="direct"),
    Ablation("patched", RULE, **READOUT),
    Ablation("eap", RULE, **READOUT, estimator="eap"),
    Ablation("eap_ig", RULE, **READOUT, estimator="eap_ig", steps=2),
]
#: And those whose work need not be less.
EVERY = [
    *METHODS,
    Ablation("activations", RULE, **READOUT, estimator="eap_ig_activations", steps=2),
    Ablation("atp_star", RULE, **READOUT, estimator="atp_star"),
    Ablation("flow", zero.Parameters(), **READOUT, estimator="information_flow"),
    Ablation("linear", RULE, relative_l2.measure, estimator="linear"),
]
#: Heads 0 and 2 of layer 0, an MLP and a head of layer 1; targets of layers 1 and 2.
SOURCES, TARGETS = (0, 2, 5, 7), (5, 7, 9)


@pytest.fixture(scope="module", params=["gpt_neox", "gpt2"])
def whole(request):
    model = decoder(random_model(request.param, layers=3, heads=3, width=4))
    selection = Request(model, random_prompts(count=2, length=5), EVERY)
    return selection, influence(selection)


@pytest.mark.parametrize(
    ("sources", "targets"), [(SOURCES, None), (None, TARGETS), (SOURCES, TARGETS), ((7,), (9,))]
)
def test_what_is_chosen_has_the_numbers_of_all_and_the_rest_is_nan(whole, sources, targets):
    request, expected = whole
    result = influence(replace(request, sources=sources, targets=targets))
    every = range(len(request.model.components))
    edges = np.ix_(range(len(EVERY)), sources or every, targets or every)
    for name in ("influence", "influence_se", "edge_effect"):
        values = np.full_like(getattr(expected, name), np.nan)
        values[edges] = getattr(expected, name)[edges]
        np.testing.assert_allclose(getattr(result, name), values, rtol=1e-4, atol=1e-6)
    effects = expected.readout_effect.copy()
    effects[:, :, [i for i in every if i not in (sources or every)]] = np.nan
    np.testing.assert_allclose(result.readout_effect, effects, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result.readout_value, expected.readout_value)
    np.testing.assert_array_equal(result.prefix_matching, expected.prefix_matching)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_less_is_less_work(whole, method):
    request = replace(whole[0], ablations=[method])
    every = predicted_work(request).flops
    assert predicted_work(replace(request, sources=SOURCES)).flops < every or method.name == "eap"
    # Targets of total effects are computed on the way; their images are not.
    assert predicted_work(replace(request, targets=(9,))).flops < every
    assert predicted_work(replace(request, sources=(0,), targets=(9,))).flops < every


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["L0.H1", "L1.MLP"], ["L0.H1", "L1.MLP"]),
        (["L1"], ["L1.H0", "L1.H1", "L1.MLP"]),
        (["heads"], ["L0.H0", "L0.H1", "L1.H0", "L1.H1"]),
        (["MLPs", "L*.H0"], ["L0.H0", "L0.MLP", "L1.H0", "L1.MLP"]),
    ],
)
def test_components_have_names_layers_kinds_and_patterns(patterns, chosen):
    nodes = components(2, 2, parallel=True)
    assert [nodes[index].name for index in named(patterns, nodes, where="here")] == chosen


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("checkpoints"), steps=(0, 8))


def test_a_run_of_some_components_has_the_film_of_all_with_gaps(checkpoints, tmp_path):
    chosen = {"components": ("heads",), "targets": ("L1.MLP", "L1.H0"), "blocks": 2}
    plan = plan_for(checkpoints, **chosen, null_draws=19, untrained=1)
    result = run(plan, tmp_path / "some", jobs=1, progress=quiet).tree
    whole = run(plan_for(checkpoints), tmp_path / "all", jobs=1, progress=quiet).tree
    heads = result["source"].str.match(r"L\d.H")
    watched = result["target"].isin(["L1.MLP", "L1.H0"])
    expected = whole["influence"].where(heads & watched)
    np.testing.assert_allclose(result["influence"], expected, rtol=1e-4, atol=1e-6)
    assert result["influence"].notnull().sum("source").max() == 2
    assert open_results(tmp_path / "some" / "results.nc").equals(result)


def test_the_identity_of_a_study_of_everything_stays(checkpoints):
    plan = plan_for(checkpoints)
    assert not {"ablated", "watched", "layers", "components", "targets"} & set(plan.identity)
    assert plan_for(checkpoints, layers="0:1", components=("L*",)).identity == plan.identity
    assert plan_for(checkpoints, components=("L0",)).identity != plan.identity


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--components", "L0.H7"], "--components: no component is named 'L0.H7'"),
        (["--targets", "L0"], "--targets: no edge leads from"),
        (["--layers", "1:0"], "--layers: '1:0' begins after its end\nWrite 0:1."),
        (["--layers", "1"], "--layers: no edge leads from"),
        (
            ["--layers", "1", "--components", "L0"],
            "--components: none of the components lies in the layers 1",
        ),
        (["--checkpoints", "7"], "--checkpoints: there is no checkpoint '7'"),
    ],
)
def test_a_choice_of_nothing_is_told(checkpoints, monkeypatch, capsys, tmp_path, options, says):
    monkeypatch.chdir(tmp_path)
    where = ["--trajectory", f"dir:{checkpoints}", "--prompts", "2", "--tasks", "induction"]
    code, _, err = run_cli(monkeypatch, capsys, "plan", *where, *options)
    assert (code, "Traceback" in err) == (2, False)
    assert says in err


@pytest.mark.parametrize("choice", [8, [8], np.array([8]), slice(1, None), "checkpoint-8"])
def test_python_chooses_checkpoints_as_it_likes(checkpoints, choice):
    plan = plan_for(checkpoints, checkpoints=choice)
    assert [checkpoint.step for checkpoint in plan.trajectory.checkpoints] == [8]
    assert open_command(plan.study.command) == {"checkpoints": plan.study.spec.checkpoints}


def open_command(command):
    """Return what the command of a study changes, but for what `plan_for` does."""
    words = shlex.split(command)
    return {"checkpoints": words[words.index("--checkpoints") + 1]}


def test_layers_without_edges_between_them_are_refused(checkpoints):
    with pytest.raises(CntbenchError, match="no edge leads"):
        plan_for(checkpoints, components=("L1",), targets=("L0",))


def test_a_folder_goes_on_with_other_checkpoints_of_the_same_run(tmp_path):
    grown = write_trajectory(tmp_path / "checkpoints", steps=(0, 8))
    counts = []
    for changes in ({"checkpoints": "0"}, {}, {"checkpoints": "8"}):
        outcome = run(plan_for(grown, **changes), tmp_path / "run", jobs=1, progress=quiet)
        counts.append((outcome.measured, outcome.reused, outcome.tree.sizes["checkpoint"]))
    recorded = json.loads((tmp_path / "run" / "study.json").read_text())
    assert [*recorded["checkpoints"]] == ["step0", "step8"], "of all that were measured"
    write_trajectory(grown, steps=(16,), first_seed=7)
    outcome = run(plan_for(grown), tmp_path / "run", jobs=1, progress=quiet)
    counts.append((outcome.measured, outcome.reused, outcome.tree.sizes["checkpoint"]))
    assert counts == [(1, 0, 1), (1, 1, 2), (0, 1, 1), (1, 2, 3)]
    fresh = run(plan_for(grown), tmp_path / "fresh", jobs=1, progress=quiet)
    assert outcome.tree.equals(fresh.tree)
    write_trajectory(grown, steps=(8,), first_seed=9)  # other weights under a known name
    with pytest.raises(CntbenchError, match=r"different: checkpoints\.step8"):
        run(plan_for(grown), tmp_path / "run", jobs=1, progress=quiet)
