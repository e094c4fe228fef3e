"""Trained models with known edges: read, measured beside planted ones, and how they are trained."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from support.runs import quiet
from transformers import GPT2LMHeadModel

import cntbench
from cntbench.errors import CntbenchError
from cntbench.models.adapters import gpt2
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.known_circuits import measure_planted, planted_models

SCRIPT = Path(__file__).parents[2] / "golden" / "train_known.py"
TRAINED = [n for n, c in load_catalogue().planted.items() if c.blueprint.trained is not None]


@pytest.fixture(scope="module")
def script():
    """The script that trains them."""
    spec = importlib.util.spec_from_file_location("train_known", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph(script):
    return script.GRAPHS["trained_xor"]


@pytest.fixture(scope="module")
def plain(script, graph):
    """An untrained model of a graph, in half precision as stored."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(script.config(graph)).half().float().eval()


@pytest.fixture(scope="module")
def model(script, graph, plain):
    return gpt2.decoder(script.config(graph), plain.state_dict())


@pytest.fixture
def specs(script, graph, plain, tmp_path):
    """A folder of specs with the circuit of that model."""
    (tmp_path / "planted").mkdir()
    tensors = {name: tensor.half() for name, tensor in plain.state_dict().items()}
    script.write("mine", graph, tensors, tmp_path / "planted", prompts=4)
    return tmp_path


def test_a_trained_circuit_has_the_weights_beside_its_file(specs, plain):
    circuit = load_catalogue([specs]).planted["mine"]
    assert circuit.difficulties == ("trained",)
    assert circuit.truth().direct.sum() == 3
    tokens = torch.randint(16, (2, 32))
    torch.testing.assert_close(circuit.decoder().logits(tokens), plain(tokens).logits)


def test_a_trained_circuit_is_measured_once_beside_planted_ones(specs):
    catalogue = load_catalogue([specs])
    models = planted_models(
        catalogue.study("compare"),
        [catalogue.ablations["zero_direct"]],
        catalogue.known_circuits(["random_dag_sparse", "null", "mine"]),
        seeds=2,
        prompts=2,
    )
    records, diagnostics = measure_planted(models, progress=quiet)
    models = [(record.circuit, record.difficulty, record.seed) for record in records]
    assert models == [
        *(("random_dag_sparse", d, seed) for d in ("exact", "realistic") for seed in (0, 1)),
        ("null", "exact", 0), ("mine", "trained", 0),
    ]  # fmt: skip
    assert {diagnostic.circuit for diagnostic in diagnostics} == {"null"}


def test_a_trained_circuit_is_a_trajectory_and_is_saved(specs, tmp_path, monkeypatch):
    monkeypatch.setenv("CNTBENCH_CACHE", str(tmp_path / "cache"))
    trajectory = open_trajectory("planted:mine", quiet, [specs])
    assert trajectory.identity == "planted:mine,difficulty=trained,seed=0"
    truth = cntbench.save_planted("mine", tmp_path / "saved", prompts=2, specs=specs)
    assert truth["difficulty"] == "trained"
    assert {edge["strength"] for edge in truth["edges"]} == {None}
    for name, difficulty in (("mine", "exact"), ("null", "trained")):
        with pytest.raises(CntbenchError, match=f"unknown difficulty '{difficulty}'"):
            open_trajectory(f"planted:{name},difficulty={difficulty}", quiet, [specs])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("heads = 2", "heads = 4", "trained.folder: the model in .* has other components"),
        ("context = 32", "context = 64", "has other context"),
        ("vocabulary = 16", "vocabulary = 32", "has other vocabulary"),
        ('revision = "', 'revision = "0', "do not match the revision"),
        ("[trained]", 'functions = { "L0.MLP" = "bit" }\n[trained]', "functions and trained excl"),
        ("accuracy = 0", "accuracy = 2", "trained.accuracy = 2"),
    ],
)
def test_what_does_not_fit_the_file_is_said(specs, old, new, says):
    path = specs / "planted" / "mine.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CntbenchError, match=says):
        load_catalogue([specs]).known_circuits(["mine"])[0].circuit.build()


def test_without_interventions_the_training_runs_the_model(script, model):
    tokens = torch.randint(16, (3, 32))
    logits, written = script.forward(model, tokens)
    torch.testing.assert_close(logits, model.logits(tokens))
    assert len(written) == len(model.components)


@pytest.mark.parametrize("name", ["L0.H1", "L0.MLP", "L1.H0"])
def test_swapping_all_edges_of_a_component_is_to_swap_its_state(script, graph, plain, model, name):
    """Held to transformers, where a hook puts the state of the other prompts in its place."""
    tokens, other = torch.randint(16, (2, 3, 32))
    layer, head = plain.transformer.h[int(name[1])], name.partition("H")[2]
    module = layer.attn.c_proj if head else layer.mlp
    kept = []

    def keep(_, inputs, outputs=None):
        kept.append(inputs[0] if outputs is None else outputs)

    def put(_, inputs, outputs=None):
        if outputs is not None:
            return kept[0]
        mixed, columns = inputs[0].clone(), slice(16 * int(head), 16 * int(head) + 16)
        mixed[..., columns] = kept[0][..., columns]
        return (mixed,)

    def run(hook, tokens):
        register = module.register_forward_pre_hook if head else module.register_forward_hook
        handle = register(hook)
        logits = plain(tokens).logits
        handle.remove()
        return logits

    with torch.no_grad():
        run(keep, other)
        expected = run(put, tokens)
        index = [component.name for component in model.components].index(name)
        swap = torch.zeros(6, 7, 3)
        swap[index] = 1
        _, written = script.forward(model, other)
        swapped, _ = script.forward(model, tokens, written, swap)
    torch.testing.assert_close(swapped, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(swapped, plain(tokens).logits, atol=1e-5)


def test_a_graph_with_one_variable_elsewhere_is_worked_out_by_hand(script, graph):
    tokens = torch.tensor([[0, 2, 2, 1]])  # the property is that the token modulo 4 is 2 or 3
    other = torch.tensor([[2, 2, 0, 0]])
    assert graph.answers(tokens).tolist() == [[0, 1, 0, 1]]
    after = {
        name: script.answers_after(graph, tokens, other, torch.tensor([i])).tolist()[0]
        for i, name in enumerate(graph.rules)
    }
    assert after == {"L0.MLP": [1, 0, 1, 0], "L1.H0": [0, 0, 0, 0], "L1.MLP": [1, 0, 1, 0]}


def test_single_edges_outside_are_all_edges_but_the_graph_and_its_answer(script, graph):
    nodes, others, edges = script.interventions(graph)
    assert [len(group) for group in (nodes, others, edges)] == [3, 3, 15]
    assert all(edge.sum() == 1 for edge in edges)


@pytest.mark.parametrize("name", TRAINED)
def test_the_figures_of_a_shipped_model_are_what_is_measured(script, name):
    circuit = load_catalogue().planted[name]
    result = script.measure(script.GRAPHS[name], circuit.decoder(), prompts=128, seed=7)
    for key, value in result.items():
        assert value == pytest.approx(getattr(circuit.blueprint.trained, key), abs=0.02), key
