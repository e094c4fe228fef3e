"""A study whose key `experts` makes experts components: from checkpoint folders to exports."""

from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from support.models import random_model
from support.runs import plan_for, quiet

import cntbench
from cntbench.accessor.graph import cell_graph
from cntbench.components import feasible, kind_of, named
from cntbench.dynamics.film import film_of
from cntbench.dynamics.orders import groups
from cntbench.errors import CntbenchError, CntbenchNote, SpecError
from cntbench.estimate.estimate import estimate
from cntbench.exchange.formats import eap, gexf, graphml
from cntbench.exchange.tables import components as component_table
from cntbench.figures.film import film as draw_film
from cntbench.models.decoder import Decoder
from cntbench.models.in_memory import read_model
from cntbench.models.trajectory import open_trajectory
from cntbench.reporting.page.write import write_page
from cntbench.results.schema import validate
from cntbench.runs.catalogue import Catalogue, StudyEntry, load_catalogue
from cntbench.runs.run import run
from cntbench.views.film import layout

NAMES = ["L0.H0", "L0.H1", "L0.E0", "L0.E1", "L0.E2", "L0.E3", "L1.H0", "L1.H1", "L1.MLP"]
KEYS = {"ablations": ("zero", "resample"), "prompts": 3, "untrained": 1, "null_draws": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints")
    for seed, step in enumerate((0, 10, 20)):
        saved = random_model("qwen3_moe", width=4, mlp=6, vocabulary=40, seed=seed)
        saved.save_pretrained(path / f"step{step}")
    return path


def planned(folder, **changes):
    return plan_for(folder, **{**KEYS, "experts": True, **changes})


@pytest.fixture(scope="module")
def tree(folder, tmp_path_factory):
    return run(planned(folder), tmp_path_factory.mktemp("run"), jobs=1, progress=quiet).tree


@pytest.fixture(scope="module")
def root(tree):
    return tree.to_dataset(inherit=False)


def test_experts_stand_where_their_layer_would(tree, root):
    validate(root, where="the result")
    assert root["source"].values.tolist() == NAMES
    assert "heads, MLPs and experts" in root.attrs["summary"]
    assert root["source_kind"].values.tolist() == [kind_of(name) for name in NAMES]
    assert root["source_head"].values.tolist() == [0, 1, -1, -1, -1, -1, 0, 1, -1]
    assert root["source_expert"].values.tolist() == [-1, -1, 0, 1, 2, 3, -1, -1, -1]
    measured = root["influence"].notnull().all(["task", "ablation", "checkpoint"]).values
    expected = np.zeros((9, 9), dtype=bool)
    expected[:2, 2:] = expected[2:6, 6:] = expected[6:8, 8:] = True
    assert (measured == expected).all()
    roles = tree["roles"].to_dataset(inherit=False)
    assert roles["spreader_strength"].notnull().any("checkpoint").values[..., :8].all()
    assert "metrics" in tree.children


def test_names_that_do_not_fit_the_coordinates_are_refused(root):
    wrong = root.copy(deep=True)
    for side in ("source", "target"):
        wrong[f"{side}_expert"].values[2:4] = [1, 0]
    with pytest.raises(CntbenchError, match=r"'L0.E0' where layer, kind and head say 'L0.E1'"):
        validate(wrong, where="x")
    missing = root.drop_vars(["source_expert", "target_expert"])
    with pytest.raises(CntbenchError, match=r"'L0.E0' where layer, kind and head say 'L0.MLP'"):
        validate(missing, where="x")
    with pytest.raises(CntbenchError, match="other sources than targets: 'source_expert'"):
        validate(root.drop_vars("target_expert"), where="x")


def test_experts_are_chosen_by_name_kind_and_pattern(folder):
    nodes = planned(folder).trajectory.shape.components
    assert named(["experts"], nodes, where="x") == [2, 3, 4, 5]
    assert named(["L*.E3", "MLPs"], nodes, where="x") == [5, 8]
    plan = planned(folder, components=("experts",), targets=("L1.MLP",), layers="0,1")
    assert plan.edges.sum() == 4
    with pytest.raises(CntbenchError, match=r"no component is named 'L1\.E0'"):
        _ = planned(folder, components=("L1.E0",)).edges


def test_the_key_is_part_of_what_is_measured(folder):
    case, whole = planned(folder), planned(folder, experts=False)
    assert case.identity["experts"] is True
    assert "experts" not in whole.identity
    assert case.hash != whole.hash
    assert "--experts" in case.study.command.split()
    assert [n.name for n in whole.trajectory.shape.components][2] == "L0.MLP"
    assert estimate(case, None, jobs=1).components == 9
    assert estimate(case, None, jobs=1).edges == feasible(case.trajectory.shape.components).sum()


def test_models_without_experts_are_refused(tmp_path):
    random_model("llama", vocabulary=40).save_pretrained(tmp_path / "step0")
    with pytest.raises(
        SpecError, match=r"^command line: experts: the model has no experts"
    ) as caught:
        planned(tmp_path)
    assert "Leave it out" in caught.value.hint
    with pytest.raises(SpecError, match='experts = "yes" is not allowed'):
        planned(tmp_path, experts="yes")
    with pytest.raises(SpecError, match="the model has no experts"):
        cntbench.influence(random_model("llama", vocabulary=60), experts=True, prompts=2)


def test_models_in_memory_have_the_same_numbers(folder, root):
    known = random_model("qwen3_moe", width=4, mlp=6, vocabulary=40, seed=2)
    options = {"ablation": ["zero", "resample"], "prompts": 3, "seed": int(root.attrs["seed"])}
    film = cntbench.influence(known, experts=True, **options)
    last = root["influence"].isel(checkpoint=[-1]).values
    np.testing.assert_array_equal(film["influence"].values, last)
    _, engine, _ = read_model(known)
    assert isinstance(engine, Decoder)
    again = cntbench.influence(engine, experts=True, **options)
    np.testing.assert_array_equal(again["influence"].values, last)
    circuits = cntbench.circuit(film, model=known, budgets=[0.5, 1.0], draws=1)
    np.testing.assert_allclose(circuits["faithfulness"].sel(budget=1.0), 1, atol=1e-6)


def test_circuits_are_run_in_a_model_by_experts(tree):
    circuits = cntbench.circuit(tree, budgets=[1.0], draws=1, ablation="zero")
    np.testing.assert_allclose(circuits["faithfulness"].sel(budget=1.0), 1, atol=1e-6)


def test_ablations_are_compared_by_experts_beside_circuits_without(folder, tmp_path):
    options = {"trajectory": f"dir:{folder}", "experts": True, "checkpoints": 2, "prompts": 2}
    with pytest.MonkeyPatch.context() as patched:
        ablations = ("zero", "resample_eap", "resample_relp")
        spec = replace(load_catalogue().study("compare").spec, ablations=ablations)
        patched.setattr(Catalogue, "study", lambda _, name: StudyEntry(name, tmp_path, spec))
        with pytest.warns(
            CntbenchNote, match=r"left out: resample_relp \(relp has no rule for the"
        ):
            dataset = cntbench.compare(circuits=("random_dag_narrow",), **options)
    assert dataset.attrs["experts"] == "each a component"
    assert dataset["ablation"].values.tolist() == ["zero", "resample_eap"]
    assert dataset["agreement"].sel(statistic="edge_rank").notnull().all()
    assert dataset["score_by_model"].sel(ablation="zero").notnull().any()
    with pytest.raises(SpecError, match="relp has no rule"):
        cntbench.compare(circuits=(), ablations=ablations, **options)


def test_experts_of_a_layer_are_peers(root):
    film = film_of(root.isel(task=0, ablation=0))
    assert groups(film).tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 3]


def test_exports_know_experts(tree, root, tmp_path):
    cell = root.isel(task=0, ablation=0, checkpoint=-1)
    graph = cell_graph(cell)
    assert list(graph) == NAMES
    assert (
        graph.nodes["L0.E2"] | {"layer": 0, "kind": "expert", "expert": 2} == graph.nodes["L0.E2"]
    )
    assert "head" not in graph.nodes["L0.E2"]
    assert "expert" not in graph.nodes["L0.H1"]
    moment = tree.isel(task=[0], ablation=[0], checkpoint=[-1])
    graphml.write_file(moment, tmp_path / "graph.graphml")
    assert nx.read_graphml(tmp_path / "graph.graphml").nodes["L0.E3"]["expert"] == 3
    gexf.write_file(moment, tmp_path / "graph.gexf")
    assert 'title="expert"' in (tmp_path / "graph.gexf").read_text()
    assert component_table(tree)["expert"].max() == 3
    with pytest.raises(CntbenchError, match="graphs of EAP-IG have no experts") as caught:
        eap.write_file(moment, tmp_path / "graph.json")
    assert "graphml" in caught.value.hint
    assert not (tmp_path / "graph.json").exists()


def test_experts_are_drawn_behind_the_heads_of_their_layer(tree, root, tmp_path):
    places = layout(root)
    columns = [0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1.5]
    assert places.depth.tolist() == columns
    assert len(set(places.height[2:6])) == 4
    figure = draw_film(tree, ablation="zero")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[2:] == ["head", "MLP", "expert"]
    write_page(tree, tmp_path / "page.html", name="x")
    assert "L0.E3" in (tmp_path / "page.html").read_text()


def test_a_result_by_experts_is_read_again(tree, tmp_path):
    cntbench.save_results(tree, tmp_path / "x.nc")
    again = cntbench.open_results(tmp_path / "x.nc")
    assert isinstance(again, xr.DataTree)
    assert again["source_expert"].values.tolist() == tree["source_expert"].values.tolist()
    assert json.loads(again.attrs["study_spec"])["experts"] is True


def test_untrained_models_have_experts_too(folder):
    trajectory = open_trajectory(f"dir:{folder}", quiet).by_experts(where="x")
    [untrained] = trajectory.untrained(1)
    _, engine = trajectory.read(untrained, trajectory.fetch(untrained))
    assert [node.name for node in engine.components] == NAMES
