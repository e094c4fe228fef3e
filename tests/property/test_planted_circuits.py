"""The engine sees on planted circuits what they are: the edges that were written, and no others."""

from __future__ import annotations

import itertools
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.planted import (
    ABSENT,
    FAMILIES,
    PRESENT,
    edge,
    measure,
    random_dags,
    seen,
    shipped,
    write,
)
from transformers import AutoModelForCausalLM

from cntbench.engine import influence as engine
from cntbench.engine.attention_scores import copying
from cntbench.engine.request import Request
from cntbench.models.adapters import adapter
from cntbench.models.planted.circuit import Circuit
from cntbench.models.planted.spec import STILL
from cntbench.models.planted.weights import assemble
from cntbench.models.planted.wiring import TOKENS
from cntbench.prompts import Language
from cntbench.runs.catalogue import load_catalogue

CIRCUITS = sorted(shipped())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CIRCUITS)
def test_total_effects_are_seen_where_the_circuit_says(name, seed):
    _check_total_effects(shipped()[name], seed)


def _check_total_effects(circuit: Circuit, seed: int) -> None:
    feasible = circuit.truth().feasible
    result = measure(circuit.decoder("exact", seed), seed=seed)
    for family, influence in zip(FAMILIES, result.influence, strict=True):
        edges = seen(circuit, family, "total") & feasible
        assert (influence[edges] >= PRESENT).all(), family
        assert (influence[feasible & ~edges] <= ABSENT).all(), family


@given(text=random_dags(), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_total_effects_of_random_dags_are_their_closure(text, seed):
    with tempfile.TemporaryDirectory() as folder:
        circuit = Circuit.read(write(Path(folder), text))
    truth = circuit.truth()
    total = truth.total & truth.feasible
    result = measure(circuit.decoder("exact", seed), seed=seed)
    for influence in result.influence:
        # Paths may nearly cancel by chance, so that less is asked for than of the shipped ones.
        assert (influence[total] >= 0.1 * PRESENT).all()
        assert (influence[truth.feasible & ~truth.total] <= ABSENT).all()


@given(text=random_dags(), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_direct_effects_of_random_dags_are_their_edges(text, seed):
    with tempfile.TemporaryDirectory() as folder:
        circuit = Circuit.read(write(Path(folder), text))
    truth = circuit.truth()
    for influence in measure(circuit.decoder("exact", seed), seed=seed, scope="direct").influence:
        # A single edge has no other path to cancel with.
        assert (influence[truth.direct] >= PRESENT).all()
        assert (influence[truth.feasible & ~truth.direct] <= ABSENT).all()


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        (name, scope)
        for name in CIRCUITS
        for scope in ("total", "direct")
        if any(diagnostic.scope == scope for diagnostic in shipped()[name].diagnostics)
    ],
)
def test_diagnostics_come_out_as_stated(name, scope):
    circuit = shipped()[name]
    result = measure(circuit.decoder(), scope=scope)
    for diagnostic in circuit.diagnostics:
        if diagnostic.scope != scope:
            continue
        for family in FAMILIES:
            passed = diagnostic.passed(edge(result, circuit, family, *diagnostic.edge))
            assert passed == (family not in diagnostic.fails), (diagnostic, family)


@pytest.mark.parametrize("name", ["random_dag_dense", "random_dag_sparse"])
def test_realistic_circuits_are_hard_but_not_hopeless(name):
    circuit = shipped()[name]
    truth = circuit.truth()
    total, feasible = truth.total & truth.feasible, truth.feasible
    result = measure(circuit.decoder("realistic"))
    for influence in result.influence:
        present, absent = influence[total], influence[feasible & ~total]
        assert np.mean(present[:, None] > absent) > 0.9
        assert absent.max() > 1000 * ABSENT


@pytest.mark.parametrize("difficulty", ["exact", "realistic"])
@pytest.mark.parametrize(
    "name", ["random_dag_sparse", "induction", "backup", "gated_llama", "sequential_gpt2"]
)
def test_the_models_run_in_plain_transformers(tmp_path, name, difficulty):
    circuit = shipped()[name]
    config, tensors = circuit.build(difficulty, seed=1)
    config.save_pretrained(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    plain, load = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(load.values()), load
    decoder = circuit.decoder(difficulty, seed=1)
    tokens = torch.randint(circuit.spec.vocabulary, (3, 20))
    with torch.no_grad():
        theirs = plain(tokens).logits
    torch.testing.assert_close(decoder.logits(tokens), theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CIRCUITS)
def test_components_write_the_signals_that_their_wiring_says(name):
    """The weights, held to the wiring in coordinates of its own, in double precision."""
    circuit = shipped()[name]
    assembly = assemble(circuit.blueprint, 2, STILL)
    config, tensors = circuit.build("exact", 2)
    tokens = torch.randint(circuit.spec.vocabulary, (2, 16))
    signals = {TOKENS: assembly.codes[tokens.numpy()]}
    for name_, wiring in assembly.wirings.items():
        signals[name_] = wiring.signal(signals)
    double = {k: v.double() for k, v in tensors.items()}
    model = adapter(config.model_type).decoder(config, double)
    stream, nodes = model.embed(tokens)[None], iter(circuit.components)
    for stage in model.stages:
        normed = stage.norm(stream)
        for block in stage.blocks:
            states = block.states(normed)
            written = block.contributions(states[0])
            for vectors, node in zip(written, nodes, strict=False):
                expected = signals.get(node.name, np.zeros((*tokens.shape, 1)))
                torch.testing.assert_close(
                    vectors.norm(dim=-1), torch.tensor(expected).norm(dim=-1),
                    atol=1e-5, rtol=1e-5,
                )  # fmt: skip
            block.write(states, stream)


@pytest.mark.parametrize(
    ("name", "source", "target", "used"),
    [
        ("key_pattern", "L0.MLP", "L1.H0", "key"),
        ("query_pattern", "L0.MLP", "L1.H0", "query"),
        ("sequential_gpt2", "L0.MLP", "L1.H0", "key"),
        ("sequential_gpt2", "L0.H1", "L1.H1", "value"),
    ],
)
def test_a_source_reaches_a_head_by_the_stated_input_only(name, source, target, used):
    circuit = shipped()[name]
    method = load_catalogue().ablations["zero_direct"].method
    inputs = ["query", "key", "value"]
    methods = [method, *(replace(method, name=i, through=(i,)) for i in inputs)]
    tokens = Language(np.arange(circuit.spec.vocabulary))
    prompts = load_catalogue().tasks["random_tokens"].prompts(tokens, count=4, seed=0)
    influences = engine.influence(Request(circuit.decoder(), prompts, methods, seed=0)).influence
    index = circuit.blueprint.index
    whole, *parts = influences[:, index[source], index[target]]
    for part, name_ in zip(parts, inputs, strict=True):
        assert part == pytest.approx(whole if name_ == used else 0, abs=ABSENT)


def test_no_gradient_passes_a_saturated_component():
    """The units of the wiring, one by one: all on or off, whatever the source does nearby."""
    circuit = shipped()["saturated"]
    assembly = assemble(circuit.blueprint, 0, STILL)
    signals = {TOKENS: assembly.codes[None]}
    signals["L0.MLP"] = assembly.wirings["L0.MLP"].signal(signals)
    clipped = assembly.wirings["L1.MLP"].signal(signals)
    near = {**signals, "L0.MLP": 0.9 * signals["L0.MLP"]}
    np.testing.assert_allclose(assembly.wirings["L1.MLP"].signal(near), clipped, atol=1e-12)
    np.testing.assert_allclose(clipped[..., 1:], np.sign(signals["L0.MLP"][..., 1:]), atol=1e-12)
    silenced = {**signals, "L0.MLP": 0 * signals["L0.MLP"]}
    np.testing.assert_allclose(assembly.wirings["L1.MLP"].signal(silenced), 0, atol=1e-12)


def test_gates_multiply_what_passes_them():
    """relu(1 + gate) · up, written as a loop over coordinates, beside the wiring."""
    circuit = shipped()["gated_llama"]
    wiring = assemble(circuit.blueprint, 0, STILL).wirings["L1.MLP"]
    rng = np.random.RandomState(0)
    signals = {name: rng.standard_normal((1, 3, 6)) for name in ("L0.H0", "L0.H1")}
    signals[TOKENS] = np.zeros((1, 3, circuit.spec.tokens))
    values = wiring.signal(signals)
    for position, unit in itertools.product(range(3), range(6)):
        gate = 1 + wiring.inner.weights["L0.H0"][unit] @ signals["L0.H0"][0, position]
        up = wiring.up.weights["L0.H1"][unit] @ signals["L0.H1"][0, position]
        expected = max(gate, 0) * up * wiring.outer[unit, unit]
        assert values[0, position, unit] == pytest.approx(expected)


def test_an_or_gate_opens_for_either_source_and_closes_without_both():
    for level, open_ in [(0.0, False), (1.0, True), (2.0, True)]:
        _check_gate("or_gate", level, open_)


def test_an_and_gate_opens_for_both_sources_only():
    for level, open_ in [(0.0, False), (1.0, False), (2.0, True)]:
        _check_gate("and_gate", level, open_)


def test_a_guard_passes_its_message_in_silence_only():
    for level, open_ in [(0.0, True), (1.0, False), (1.25, False)]:
        _check_gate("backup", level, open_)


def _check_gate(name: str, level: float, open_: bool) -> None:
    circuit = shipped()[name]
    gate = next(n for n, f in circuit.spec.functions.items() if f in ("or", "and", "guard"))
    assembly = assemble(circuit.blueprint, 0, STILL)
    parents = circuit.blueprint.parents(gate)
    tokens = assembly.codes[None]
    share = np.zeros((*tokens.shape[:2], circuit.spec.signal))
    share[..., 0] = level / len(parents)
    passed = assembly.wirings[gate].signal({TOKENS: tokens, **dict.fromkeys(parents, share)})
    message = np.sign(tokens[..., : circuit.spec.signal - 1])
    np.testing.assert_allclose(passed[..., 1:], message * open_, atol=1e-12)
    np.testing.assert_allclose(passed[..., 0], 0, atol=1e-12)


@pytest.mark.parametrize("difficulty", ["exact", "realistic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_induction_circuit_solves_the_induction_task(difficulty, seed):
    circuit = shipped()["induction"]
    result = measure(circuit.decoder(difficulty, seed), task="induction", count=32)
    index = circuit.blueprint.index
    assert result.readout_value[1] >= 0.99
    assert result.previous_token[index["L0.H0"]] > 0.99
    assert result.prefix_matching[index["L1.H2"]] > 0.95
    others = [index[c.name] for c in circuit.components if c.kind == "head"]
    assert sorted(result.previous_token[others])[-2] < 0.2
    assert sorted(result.prefix_matching[others])[-2] < 0.2
    assert result.positional[index["L0.H0"]] > 0.99
    assert sorted(result.positional[others])[-2] < 0.6  # half of the positions have a match
    copies = copying(circuit.decoder(difficulty, seed))
    assert copies[index["L1.H2"]] > 0.95
    assert (abs(np.delete(copies[others], others.index(index["L1.H2"]))) < 0.8).all()
    assert (result.readout_effect[:, 2, index["L0.H0"]] < -15).all()


def test_the_circuit_of_the_contributing_guide_is_what_it_says(tmp_path):
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"<!-- planted circuit -->\n```toml\n(.*?)```", guide, re.DOTALL)
    path = tmp_path / "planted" / "guide.toml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    circuit = load_catalogue([tmp_path]).planted["guide"]
    assert circuit.truth().direct.sum() == 2
    assert circuit.truth().total.sum() == 3
    _check_total_effects(circuit, seed=0)
