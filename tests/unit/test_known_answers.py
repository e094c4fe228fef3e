"""Planted circuits for other tools: saved with their truth, and their graphs scored."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
import xarray as xr
from support.eap import graph, write_graph
from support.planted import shipped
from support.trajectories import run_cli
from transformers import AutoModelForCausalLM

import cntbench
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.exchange.known_circuits import PURPOSES, prompt_rows, truth_of
from cntbench.exchange.scores import precision_at
from cntbench.models.checkpoint_files import read_weights
from cntbench.prompts import Language, Prompt, batch, random_state
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.tasks import task_of_file

#: Edges on the readout, by hand: all direct ones, but where they are named.
READOUT = {
    "chain": None,
    "fork": None,
    "cancel": None,
    "or_gate": None,
    "induction": {("L0.H0", "L1.H2")},
    "constant": {("L0.MLP", "L1.MLP"), ("L0.MLP", "L1.H0")},
    "null": {("L0.H1", "L1.MLP")},
}


def pairs(circuit, edges):
    names = [component.name for component in circuit.components]
    return {(names[s], names[t]) for s, t in np.argwhere(edges)}


@pytest.mark.parametrize("name", READOUT)
def test_edges_on_the_readout_are_those_that_lead_to_the_unembedding(name):
    circuit = shipped()[name]
    truth = circuit.truth()
    expected = READOUT[name] or pairs(circuit, truth.direct)
    assert pairs(circuit, truth.readout) == expected
    told = truth_of(circuit)["edges"]
    for purpose in PURPOSES:
        edges = {(edge["source"], edge["target"]) for edge in told if purpose in edge["purposes"]}
        assert edges == pairs(circuit, getattr(truth, purpose))
    assert {(e["source"], e["target"]): e["strength"] for e in told if e["strength"]} == {
        edge: strength
        for edge, strength in circuit.strengths().items()
        if edge in pairs(circuit, truth.direct)
    }


def test_strengths_are_the_change_of_what_the_target_writes_without_the_source():
    """Held to the model: the source's contribution is taken out of the stream, edge by edge."""
    circuit = shipped()["random_dag_sparse"]
    model, index = circuit.decoder(), circuit.blueprint.index
    tokens = random_state(0, "scale").randint(0, circuit.spec.vocabulary, (64, 32))
    stream = model.embed(torch.from_numpy(tokens))[None]
    written = []
    for stage in model.stages:
        written += _contributions(stage, stream)
        for (source, target), strength in circuit.strengths().items():
            if index[target] in range(len(written) - 3, len(written)):
                without = _contributions(stage, stream - written[index[source]])
                change = written[index[target]] - without[index[target] - len(written)]
                ratio = (
                    change.square().mean().sqrt() / written[index[target]].square().mean().sqrt()
                )
                torch.testing.assert_close(ratio.item(), strength, rtol=1e-4, atol=0)
        stream = stream + sum(written[-3:])


def _contributions(stage, stream):
    """What each component of a stage writes, in order."""
    normed = stage.norm(stream)
    return [x for b in stage.blocks for x in b.contributions(b.states(normed)[0]).unsqueeze(1)]


def test_only_what_adds_up_its_sources_has_strengths():
    assert shipped()["and_gate"].strengths() == {}
    assert shipped()["induction"].strengths().keys() == {
        ("L0.H1", "L1.H0"), ("L0.H2", "L1.H0"), ("L0.H2", "L1.MLP"), ("L0.MLP", "L1.H3"),
    }  # fmt: skip
    purposes = {tuple(e["purposes"]) for e in truth_of(shipped()["cancel"])["edges"]}
    assert purposes == {("direct", "total", "readout")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "induction"
    truth = cntbench.save_planted("induction", folder, difficulty="realistic", seed=1, prompts=3)
    return folder, truth


def test_the_saved_model_opens_in_plain_transformers(saved):
    folder, truth = saved
    assert json.loads((folder / "truth.json").read_text()) == truth
    assert truth["revision"] == read_weights(folder).revision
    plain, load = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(load.values()), load
    rows = [json.loads(line) for line in (folder / "induction.jsonl").read_text().splitlines()]
    tokens = torch.tensor([row["clean"] for row in rows])
    with torch.no_grad():
        theirs = plain(tokens).logits
    decoder = shipped()["induction"].decoder("realistic", 1)
    torch.testing.assert_close(decoder.logits(tokens), theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["induction", "random_tokens"])
def test_the_saved_prompts_are_those_of_the_task(saved, name):
    folder, _ = saved
    language = Language(np.arange(32), size=32, context=64)
    expected = load_catalogue().tasks[name].prompts(language, count=3, seed=0)
    prompts = task_of_file(folder / f"{name}.jsonl").prompts(language, count=3, seed=0)
    for part in ("tokens", "scored", "targets", "decoys", "reference"):
        np.testing.assert_array_equal(getattr(prompts, part), getattr(expected, part), part)


def read_back(rows, folder):
    """Prompts of rows that were written to a file, for a vocabulary of 32."""
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return task_of_file(folder / "rows.jsonl").prompts(
        Language(np.arange(32), size=32, context=64), count=len(rows), seed=0
    )


def test_sets_of_answers_of_any_size_are_saved_as_they_are_read(tmp_path):
    sets = [([4, 5], [6]), ([7], [8, 9, 10])]
    prompts = batch(
        [
            Prompt(np.arange(3 + i), np.array([2 + i]), np.array([right]), np.array([wrong]))
            for i, (right, wrong) in enumerate(sets)
        ]
    )
    result = read_back(prompt_rows(prompts), tmp_path)
    for part in ("tokens", "scored", "targets", "decoys"):
        np.testing.assert_array_equal(getattr(result, part), getattr(prompts, part), part)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(np.arange(3), np.array([1]), np.array([[4, 5]]), np.array([[6, 7]])),
        Prompt(np.arange(3), np.array([1, 2]), np.array([4, 5]), np.array([6, 7]), summed=True),
    ],
    ids=["sets before the last position", "several tokens of one answer"],
)
def test_prompts_that_no_row_can_hold_are_refused(prompt):
    with pytest.raises(CntbenchError, match="does not hold"):
        prompt_rows(batch([prompt]))


def test_a_folder_with_anything_else_is_not_written_into(saved, tmp_path):
    folder, _ = saved
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CntbenchError, match=r"is not empty and holds no circuit"):
        cntbench.save_planted("chain", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    cntbench.save_planted("chain", tmp_path, force=True, prompts=2)
    assert json.loads((tmp_path / "truth.json").read_text())["circuit"] == "chain"
    cntbench.save_planted("induction", folder, difficulty="realistic", seed=1, prompts=3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "chian"}, "Did you mean 'chain'"),
        ({"difficulty": "exat"}, "Did you mean 'exact'"),
        ({"seed": -1}, "seed = -1 is not allowed"),
        ({"prompts": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path, options, says):
    with pytest.raises(CntbenchError, match=says):
        cntbench.save_planted(**{"name": "chain", "folder": tmp_path / "new", **options})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", range(1, 6))
def test_precision_at_k_is_its_expectation_over_orders_of_ties(count):
    scores, truth = np.array([2.0, 1, 1, 1, 0]), np.array([False, True, False, True, True])
    values = [
        np.mean([truth[i] for i in sorted(order, key=lambda i: -scores[i])[:count]])
        for order in itertools.permutations(range(5))
    ]
    np.testing.assert_allclose(precision_at(scores, truth, count), np.mean(values))


def test_precision_at_k_needs_so_many_edges():
    assert np.isnan(precision_at(np.ones(2), np.ones(2, dtype=bool), 3))
    assert np.isnan(precision_at(np.ones(2), np.zeros(2, dtype=bool), 0))


def induction_graph(weight):
    """A graph of the shape of ``induction``, scored by a function of source, target and input."""
    content = graph(2, 4, parallel=True)
    for name, edge in content["edges"].items():
        source, _, target = name.partition("->")
        score = weight(source, target.partition("<")[0], target[-2:-1])
        edge |= {"score": score, "in_graph": score != 0}
    return content


TRUE = {
    ("a0.h0", "a1.h2"), ("a0.h1", "a1.h0"), ("a0.h2", "a1.h0"), ("a0.h2", "m1"), ("m0", "a1.h3"),
}  # fmt: skip


def test_a_graph_of_the_truth_has_a_full_score_and_one_of_its_inverse_none(tmp_path):
    strengths = {edge: -0.5 * 1e-5**number for number, edge in enumerate(sorted(TRUE)[:2])}
    perfect = induction_graph(
        lambda s, t, _: strengths.get((s, t), -0.1) if (s, t) in TRUE else 1e-9
    )
    wrong = induction_graph(lambda s, t, _: 0.0 if (s, t) in TRUE else 2.0)
    files = [
        write_graph(tmp_path / "perfect.json", perfect), write_graph(tmp_path / "wrong.json", wrong)
    ]  # fmt: skip
    scores = cntbench.score(files, on="induction").sel(purpose="direct")
    assert scores["true_edges"] == 5
    np.testing.assert_array_equal(scores["auroc"], [1, 0])
    np.testing.assert_array_equal(scores["precision_at_k"], [1, 0])
    np.testing.assert_allclose(scores["ap"], [1, 5 / 25])
    np.testing.assert_array_equal(scores["circuit_recall"], [np.nan, 0])
    np.testing.assert_allclose(scores["circuit_precision"], [np.nan, 0])


def test_scores_of_query_key_and_value_are_summed_before_their_sign_is_dropped(tmp_path):
    signs = {"q": 1.0, "k": -1.0, "v": 0.0}
    cancelling = induction_graph(lambda s, t, i: signs.get(i, 0.0) if (s, t) in TRUE else 0.5)
    file = write_graph(tmp_path / "cancelling.json", cancelling)
    assert cntbench.score(file, on="induction").sel(purpose="direct")["auroc"].item() == 0


def test_edges_outside_the_circuit_can_count_as_none(tmp_path):
    content = induction_graph(lambda s, t, _: 1.0)
    for name, edge in content["edges"].items():
        source, _, target = name.partition("->")
        edge["in_graph"] = (source, target.partition("<")[0]) in TRUE and target[-3:] != "<v>"
    file = write_graph(tmp_path / "flat.json", content)
    inside = cntbench.score(file, on="induction", circuit=True).sel(purpose="direct").squeeze()
    assert (inside["auroc"], inside["circuit_precision"], inside["circuit_recall"]) == (1, 1, 1)
    true = shipped()["induction"].truth().direct
    weights = cntbench.score({"mine": -1.0 * true}, on="induction").sel(graph="mine")["auroc"]
    np.testing.assert_allclose(weights.sel(purpose=["direct", "readout"]), [1, 22 / 24])


def test_a_graph_of_equal_scores_is_told(tmp_path):
    file = write_graph(tmp_path / "flat.json", induction_graph(lambda *_: 0.0))
    with pytest.warns(CntbenchWarning):
        scores = cntbench.score(file, on="induction")
    np.testing.assert_array_equal(scores["auroc"], 0.5)


@pytest.mark.parametrize(
    ("graphs", "says"),
    [
        ({}, "no graphs are given"),
        ({"mine": np.zeros((3, 3))}, r"graphs\['mine'\]: has shape \(3, 3\), and 'chain' has 9"),
        ({"mine": np.full((9, 9), np.nan)}, "has no finite score for L0.H0 → L1.H0"),
        ({"mine": "none"}, "is not an array of scores"),
    ],
)
def test_scores_in_memory_have_to_fit(graphs, says):
    with pytest.raises(CntbenchError, match=says):
        cntbench.score(graphs, on="chain")


def test_the_commands_save_and_score(tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "chain", tmp_path / "scores.nc"
    code, printed, err = run_cli(
        monkeypatch, capsys, "planted", "save", "chain", folder, "--prompts", 2
    )
    assert (code, err) == (0, "")
    assert "2 direct edges among 27 feasible ones" in printed
    true = {("m0", "a1.h0"), ("a1.h0", "m2")}
    content = graph(3, 2, parallel=True)
    for name, edge in content["edges"].items():
        source, _, target = name.partition("->")
        edge["score"] = float((source, target.partition("<")[0]) in true)
    file = write_graph(tmp_path / "mine.json", content)
    code, printed, err = run_cli(monkeypatch, capsys, "score", file, "--on", "chain", "-o", out)
    assert (code, err) == (0, "")
    assert "Scores on chain" in printed
    assert printed.split("mine.json")[1].split()[:2] == ["2", "1.00"]
    with xr.open_dataset(out) as scores:
        assert float(scores["auroc"].sel(purpose="direct").squeeze()) == 1
        assert scores.attrs["circuit"] == "chain"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{file}", "--on", "chain"], ["is of 2 layers of 2 heads in sequential blocks",
            "has 3 layers of 2 heads in parallel blocks", "cntbench planted save chain FOLDER"]),
        (["{file}", "--on", "chian"], ["unknown planted circuit 'chian'", "'chain'"]),
        (["{file}", "{file}", "--on", "chain"], ["appears twice"]),
        (["none.json", "--on", "chain"], ["no such file"]),
        (["{file}", "--on", "chain", "-o", "{file}"], ["is an input and would be lost"]),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_said_and_nothing_written(
    tmp_path, monkeypatch, capsys, arguments, says
):
    file = write_graph(tmp_path / "mine.json", graph())
    told = [argument.format(file=file) for argument in arguments]
    code, _, err = run_cli(monkeypatch, capsys, "score", *told)
    assert code == 2
    for part in says:
        assert part in " ".join(err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]
