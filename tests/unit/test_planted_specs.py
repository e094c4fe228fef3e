"""Files of planted circuits: what they state is true, and what is wrong with one is said."""

from __future__ import annotations

import numpy as np
import pytest
from support.planted import FAMILIES, seen, shipped, write

from cntbench.errors import SpecError
from cntbench.models.planted import weights
from cntbench.models.planted.circuit import Circuit
from cntbench.runs.catalogue import load_catalogue

SIZES = "layers = 3\nheads = 2\nwidth = 64\n"
CHAIN = SIZES + 'edges = [["L0.MLP", "L1.H0"], ["L1.H0", "L2.MLP"]]\n'
GPT2 = 'architecture = "gpt2"\n' + CHAIN
EMERGENCE = """[dynamics]
kind = "emergence"
steps = [0, 10]
emergence = 5
duration = 1
edges = [["L0.MLP", "L1.H0"]]
"""


def reachable(edges: np.ndarray) -> np.ndarray:
    """Which nodes a path leads to, by powers of the adjacency matrix."""
    paths = edges.astype(int)
    for _ in range(len(edges)):
        paths = np.minimum(paths + paths @ edges, 1)
    return paths.astype(bool)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_total_truth_is_the_closure_less_what_is_blocked(name):
    circuit = shipped()[name]
    truth = circuit.truth()
    closure = reachable(truth.direct)
    for source, target in circuit.spec.blocked:
        pair = circuit.blueprint.index[source], circuit.blueprint.index[target]
        assert closure[pair]
        closure[pair] = False
    np.testing.assert_array_equal(truth.total, closure)
    assert not (closure & ~truth.feasible).any()


def test_a_constant_has_no_edges():
    circuit = shipped()["constant"]
    index = circuit.blueprint.index
    truth = circuit.truth()
    assert truth.direct.sum() == 2
    assert not truth.direct[index["L0.H0"]].any()
    assert truth.direct[index["L0.MLP"], index["L1.MLP"]]


def test_random_edges_are_feasible_and_follow_their_seed(tmp_path):
    def edges(density: float, seed: int):
        text = f"{SIZES.replace('64', '96')}random = {{ density = {density}, seed = {seed} }}\n"
        circuit = Circuit.read(write(tmp_path, text))
        return circuit.truth().direct, circuit.truth().feasible

    none, feasible = edges(0.0, 1)
    every, _ = edges(1.0, 1)
    assert not none.any()
    np.testing.assert_array_equal(every, feasible)
    assert (edges(0.5, 1)[0] == edges(0.5, 1)[0]).all()
    assert (edges(0.5, 1)[0] != edges(0.5, 2)[0]).any()


def test_what_methods_see_is_the_truth_but_for_the_diagnostics():
    circuit = shipped()["constant"]
    for family in FAMILIES:
        differs = seen(circuit, family, "total") != circuit.truth().total
        assert differs.sum() == (2 if family == "zero" else 0)
    chain = shipped()["chain"]
    np.testing.assert_array_equal(seen(chain, "zero", "direct"), chain.truth().direct)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_diagnostic_contradicts_the_truth_only_where_all_methods_fail(name):
    circuit = shipped()[name]
    for diagnostic in circuit.diagnostics:
        pair = tuple(circuit.blueprint.index[name] for name in diagnostic.edge)
        truth = circuit.truth().direct if diagnostic.scope == "direct" else circuit.truth().total
        stated = truth[pair] == (diagnostic.expect == "present")
        assert stated or (
            diagnostic.edge in circuit.spec.blocked and set(FAMILIES) <= set(diagnostic.fails)
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CHAIN.replace("L1.H0", "L1.H2"),
         ["edges: unknown component 'L1.H2'", "Did you mean 'L1.H"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L1.H0", "L0.MLP"]'),
         ["edges: the edges form a cycle: ", "L0.MLP → L1.H0 → L0.MLP", "later layers"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L2.MLP", "L2.MLP"]'), ["cycle: L2.MLP → L2.MLP"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L2.MLP", "L1.MLP"]'),
         ["edges: edge L2.MLP → L1.MLP runs against the causal order", "layers below 1"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L1.H0", "L1.MLP"]'),
         ["edge L1.H0 → L1.MLP runs against", "Heads and MLP of a layer read the same stream"]),
        (GPT2.replace('["L1.H0", "L2.MLP"]', '["L1.MLP", "L1.H0"]'),
         ["L1.MLP → L1.H0 runs against", "L1.H0 can only read layers below 1"]),
        (GPT2.replace('["L1.H0", "L2.MLP"]', '["L2.MLP", "L1.MLP"]'),
         ["L1.MLP can only read layers below 1 and the heads of its own"]),
        (GPT2 + '[functions]\n"L1.H0" = "previous_token"\n',
         ["'previous_token' is not possible in 'gpt2'", "architecture = 'gpt_neox'"]),
        (GPT2.replace("gpt2", "gtp2"), ["architecture = \"gtp2\" is not allowed", "'gpt2'"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L0.MLP", "L1.H0"]'),
         ["edge L0.MLP → L1.H0 appears twice"]),
        (CHAIN.replace('["L1.H0", "L2.MLP"]', '["L1.H0"]'),
         ['edges (entry 2) = ["L1.H0"] is not allowed', "An edge is a pair of source and target"]),
        (CHAIN.replace("width = 64", "width = 34"),
         ["width: width = 34 is too small for 3 components", "need 35", "Raise width"]),
        (CHAIN.replace("width = 64", "width = 63"), ["width = 63 is not a multiple of"]),
        (CHAIN.replace("heads = 2", "heads = 8"), ["heads are 8 wide but need 14"]),
        (CHAIN + "vocabulary = 60\n", ["vocabulary = 60 is not a power of two"]),
        (CHAIN + "vocabulary = 16\n", ["not a power of two above tokens = 16"]),
        (CHAIN + "tokens = 7\n", ["tokens = 7 is too small", "Allowed: 8 or more"]),
        (CHAIN + "random = { density = 0.5, seed = 1 }\n", ["edges and random exclude each other"]),
        (SIZES + "random = { densty = 0.5, seed = 1 }\n",
         ["unknown key 'random.densty'", "Did you mean 'density'"]),
        (SIZES + "random = { density = 1.5, seed = 1 }\n", ["random.density = 1.5 is not allowed"]),
        (CHAIN.replace("layers", "layer"), ["unknown key 'layer'", "Did you mean 'layers'"]),
        (CHAIN + 'readout = ["L2.MPL"]\n', ["readout: unknown component 'L2.MPL'", "'L2.MLP'"]),
        (CHAIN + 'readout = ["L2.H0"]\n', ["readout: L2.H0 is not a component of the circuit"]),
        (CHAIN + 'blocked = [["L0.MLP", "L2.H0"]]\n',
         ["blocked: L0.MLP → L2.H0 is not in the closure"]),
        (CHAIN + 'tasks = ["random_token"]\n',
         ["tasks: unknown task 'random_token'", "Did you mean 'random_tokens'"]),
        (CHAIN + '[functions]\n"L1.MPL" = "linear"\n', ["functions: unknown component 'L1.MPL'"]),
        (CHAIN + '[functions]\n"L1.H0" = "liner"\n',
         ["functions.L1.H0: unknown function 'liner'", "Did you mean 'linear'"]),
        (CHAIN + '[functions]\n"L1.H0" = "or"\n', ["kind head cannot be 'or'", "Allowed: MLP"]),
        (CHAIN + '[functions]\n"L2.MLP" = "or"\n', ["'or' cannot read L1.H0, which is 'linear'"]),
        (CHAIN + '[functions]\n"L1.H0" = "level"\n',
         ["'level' cannot have 1 parents", "Allowed: 0 to 0"]),
        (CHAIN + '[functions]\n"L2.MLP" = "difference"\n', ["'difference' cannot have 1 parents"]),
        (CHAIN + "[realistic]\noverlap = 1.5\n", ["realistic.overlap = 1.5 is not allowed"]),
        (CHAIN + '[[diagnostic]]\nedge = ["L0.MLP", "L9.MLP"]\nscope = "total"\n'
         'expect = "absent"\nbecause = "x"\n',
         ["diagnostic (entry 1).edge: unknown component 'L9.MLP'"]),
        (CHAIN + '[[diagnostic]]\nedge = ["L0.MLP", "L2.MLP"]\nscope = "total"\n'
         'expect = "absent"\nbecause = "x"\nfails = ["zer"]\n',
         ["diagnostic (entry 1).fails", "unknown replacement 'zer'", "Did you mean 'zero'"]),
        (CHAIN + EMERGENCE.replace('"emergence"', '"emergent"'),
         ["dynamics.kind: unknown kind of dynamics 'emergent'", "Did you mean 'emergence'"]),
        (CHAIN + EMERGENCE.replace("[0, 10]", "[10, 0]"),
         ["dynamics.steps = [10, 0] is not allowed", "Steps must increase"]),
        (CHAIN + EMERGENCE.replace("[0, 10]", f"[0, {2**63}]"),
         ["dynamics.steps = [0, 9223372036854775808] is not allowed", "Steps are at most"]),
        (CHAIN + EMERGENCE.replace('"L1.H0"]', '"L1.H1"]'),
         ["dynamics.edges: L0.MLP → L1.H1 is not among the edges", "Did you mean"]),
        (CHAIN + '[functions]\n"L1.H0" = "copy"\n' + EMERGENCE,
         ["dynamics.edges: L1.H0 is not linear"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_circuit_is_said_before_any_model_is_built(
    tmp_path, monkeypatch, text, says
):
    def forbidden(*arguments: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(weights, "build", forbidden)
    path = write(tmp_path / "planted", text)
    catalogue = load_catalogue([tmp_path])
    with pytest.raises(SpecError) as caught:
        catalogue.known_circuits([path.stem])
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in says:
        assert part in message


def test_a_circuit_is_built_the_same_way_every_time_and_another_way_for_another_seed():
    circuit = shipped()["chain"]
    name = "gpt_neox.layers.1.attention.query_key_value.weight"
    for difficulty in ("exact", "realistic"):
        first = circuit.build(difficulty, 1)[1][name]
        assert (first == circuit.build(difficulty, 1)[1][name]).all()
        assert (first != circuit.build(difficulty, 2)[1][name]).any()
