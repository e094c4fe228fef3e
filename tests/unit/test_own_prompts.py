"""A user's own prompts: files and rows in memory, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.models import random_model
from support.runs import plan_for, quiet
from support.text import tokenizer_of
from support.trajectories import run_cli, write_trajectory

import cntbench
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.models.tokenizer import TokenizerObject
from cntbench.prompts import Language, Prompt
from cntbench.prompts.generators.file import Parameters
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.plan import make_plan
from cntbench.runs.tasks import task_in_memory

WORDS = "When Mary and John went to the store , gave a drink shop Tom then".split()  # noqa: SIM905
#: Ids 0 … of the words, in their order, and 39 for what is unknown.
TOKENIZER = tokenizer_of(WORDS, unknown=39)
LANGUAGE = Language(np.arange(40), tokenizer=TokenizerObject(TOKENIZER), size=40, context=12)
ROWS = [
    {"clean": "When Mary and John went", "corrupted": "When Tom and John went", "answer": "Mary",
     "wrong": "John"},
    {"clean": "When Tom and Mary gave", "corrupted": "When John and Mary gave", "answer": "Tom",
     "wrong": "Mary"},
    {"clean": "then John and Tom went", "corrupted": "then Mary and Tom went", "answer": "John",
     "wrong": "Tom"},
]  # fmt: skip


def tokens(text: str) -> list[int]:
    return TokenizerObject(TOKENIZER).encode(text)


def write(path: Path, rows: list) -> Path:
    """Write rows in the format of the suffix."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


def read(path: Path, language: Language = LANGUAGE, count: int = 100, **columns: str):
    return Parameters(path=path.name, columns=columns).at(path.parent).prompts(language, count)


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    folder = write_trajectory(tmp_path_factory.mktemp("own") / "steps", steps=(0, 8), context=12)
    TOKENIZER.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_prompts(tmp_path, suffix):
    batch = read(write(tmp_path / f"ioi{suffix}", ROWS))
    for prompt, row in zip(batch, ROWS, strict=True):
        assert prompt.tokens.tolist() == tokens(row["clean"])
        assert prompt.reference.tolist() == tokens(row["corrupted"])
        assert prompt.targets.tolist() == tokens(row["answer"])
        assert prompt.decoys.tolist() == tokens(row["wrong"])
        assert prompt.scored.tolist() == [4]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_token_ids_stand_for_themselves(tmp_path, suffix):
    rows = [{"clean": [5, 6, 7], "answer": [8], "wrong": [9]}, {"clean": [1], "answer": [2]}]
    rows[1]["wrong"] = [3]
    first, second = read(write(tmp_path / f"ids{suffix}", rows), Language(np.arange(40), size=40))
    assert first.tokens.tolist() == [5, 6, 7]
    assert (first.targets.tolist(), first.decoys.tolist()) == ([8], [9])
    assert second.scored.tolist() == [0]
    assert second.reference is None


def test_without_a_wrong_answer_the_next_other_answer_stands_for_it(tmp_path):
    rows = [{"clean": "a drink", "answer": word} for word in ("Tom", "Tom", "Mary", "John")]
    path = write(tmp_path / "x.jsonl", rows)
    decoys = [prompt.decoys.tolist() for prompt in read(path)]
    assert decoys == [tokens(word) for word in ("Mary", "Mary", "John", "Tom")]
    assert [prompt.decoys.tolist() for prompt in read(path, count=2)] == decoys[:2]


def test_several_positions_are_scored(tmp_path, model):
    row = {**ROWS[0], "scored": [1, -1], "answer": ["and", "Mary"], "wrong": ["to", "John"]}
    (prompt,) = read(write(tmp_path / "x.jsonl", [row]))
    assert prompt.scored.tolist() == [1, 4]
    assert prompt.targets.tolist() == tokens("and Mary")
    assert prompt.decoys.tolist() == tokens("to John")
    ids = {"clean": [3, 1, 2, 5], "corrupted": [4, 1, 2, 5], "scored": [0, 2, 3]}
    rows = [{**ids, "answer": [7, 8, 9], "wrong": [1, 2, 3]}]
    result = cntbench.influence(model, prompts=rows, ablation="zero")["readout_value"]
    with torch.no_grad():
        logits = model(torch.tensor([ids["clean"]])).logits[0, ids["scored"]]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([7, 8, 9]))
    measured = result.sel(readout="cross_entropy").item()
    assert measured == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"scored": [4, 1]},
            r"x\.jsonl, line 1: scored: \[4, 1\] are not ascending positions of a prompt of 5",
        ),
        ({"scored": [1, 5]}, r"x\.jsonl, line 1: scored: \[1, 5\] are not ascending positions"),
        ({"scored": [1, 10**30]}, r"x\.jsonl, line 1: scored: \[1, 10+\] are not ascending"),
        ({"scored": "1"}, r"x\.jsonl, line 1: scored: is not a list of positions: '1'"),
        ({"answer": ["and"]}, r"x\.jsonl, line 1: answer: is not one token for each of 2 scored"),
        ({"wrong": ["and", "Mary"]}, r"x\.jsonl, line 1: wrong: has the right token at every"),
        ({"wrong": "to"}, r"x\.jsonl, line 1: wrong: is not one token for each of 2 scored"),
    ],
)
def test_positions_that_do_not_fit_are_refused(tmp_path, change, says):
    row = {**ROWS[0], "scored": [1, -1], "answer": ["and", "Mary"], "wrong": ["to", "John"]}
    with pytest.raises(CntbenchError, match=says):
        read(write(tmp_path / "x.jsonl", [{**row, **change}]))


def test_files_of_eap_ig_and_mib_are_recognised(tmp_path):
    eap = tmp_path / "ioi.csv"
    eap.write_text(
        ",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx\n"
        '470,"When Mary , John gave","When Tom , John gave","When John , Mary gave",1,3\n'
    )
    [prompt] = read(eap)
    assert prompt.tokens.tolist() == tokens("When Mary , John gave")
    assert prompt.reference.tolist() == tokens("When Tom , John gave")
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == ([1], [3])
    mib = {
        "prompt": "When Mary and John went",
        "template": "When {A} and {B} went",
        "metadata": {"subject": "John", "indirect_object": "Mary", "random_c": "Tom"},
        "s2_io_flip_counterfactual": {"prompt": "When John and Mary went"},
    }
    [prompt] = read(write(tmp_path / "mib.parquet", [mib]))
    assert prompt.reference.tolist() == tokens("When John and Mary went")
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == ([1], [3])
    choice = {
        "prompt": "went to",
        "choices": {"label": ["Tom", "Mary"], "text": ["x", "y"]},
        "answerKey": 1,
        "symbol_counterfactual": {
            "prompt": "gave to", "choices": {"label": ["John", "Tom"]}, "answerKey": 0,
        },
    }  # fmt: skip
    [prompt] = read(write(tmp_path / "mcqa.jsonl", [choice]))
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == (tokens("Mary"), tokens("John"))
    sums = {"prompt": "went to", "label": "Tom",
            "random_counterfactual": {"prompt": "gave to", "label": "John"}}  # fmt: skip
    [prompt] = read(write(tmp_path / "arithmetic.jsonl", [sums]))
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == (tokens("Tom"), tokens("John"))


def test_other_columns_are_named_by_a_mapping(tmp_path):
    rows = [{"text": "When Mary", "metadata": {"name": "Tom"}, "no": "John"}]
    [prompt] = read(
        write(tmp_path / "x.jsonl", rows), clean="text", answer=" {metadata.name}", wrong="no"
    )
    assert prompt.tokens.tolist() == tokens("When Mary")
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == (tokens("Tom"), tokens("John"))


GOOD = json.dumps(ROWS[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x.jsonl: has no prompts"),
        ("\n\n", "x.jsonl: has no prompts"),
        (GOOD + "\n{", "x.jsonl, line 2: malformed JSON"),
        (GOOD + "\n[1]", "x.jsonl, line 2: is not a JSON object"),
        (GOOD + '\n\n{"clean": "a"}', "x.jsonl, line 3: answer: is missing"),
        (
            GOOD + '\n{"clean": "a", "answer": "Tom", "wrong": "Mary"}',
            "x.jsonl, line 2: corrupted: is missing",
        ),
        ('{"claen": "a", "answer": "Tom"}', "there is no column 'clean'\nDid you mean 'claen'?"),
        (
            '{"clean": "a", "answer": "Tom", "corupted": "a"}',
            "unknown column 'corupted'\nDid you mean 'corrupted'?",
        ),
        ('{"clean": "a", "answer": "Tom then"}', "line 1: answer: 'Tom then' is 2 tokens"),
        ('{"clean": "", "answer": "Tom"}', "line 1: clean: has no tokens"),
        ('{"clean": 3.5, "answer": "Tom"}', "line 1: clean: is neither text nor token ids: 3.5"),
        ('{"clean": [40], "answer": 1}', "clean: token 40 is outside the vocabulary of 40 tokens"),
        ('{"clean": [4, -1], "answer": 1}', "clean: token -1 is outside the vocabulary"),
        ('{"clean": [4], "answer": 99}', "answer: token 99 is outside the vocabulary"),
        (json.dumps({"clean": "a " * 13, "answer": "Tom"}), "clean: is 13 tokens long, and the"),
        ('{"clean": "a", "answer": "Tom"}', "line 1: wrong: is missing, and no other row"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_line_and_key(tmp_path, text, says):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(CntbenchError) as caught:
        read(tmp_path / "x.jsonl")
    assert says in str(caught.value)
    assert str(tmp_path / "x.jsonl") in str(caught.value)


def test_cells_of_a_csv_file_have_to_fit_its_columns(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("clean,answer\na drink, Tom, Mary\n")
    with pytest.raises(CntbenchError, match=r"line 2: has 3 cells under 2 columns"):
        read(path)
    path.write_text("clean;answer\na drink, Tom;Mary\n")
    with pytest.raises(CntbenchError, match=r"line 1: columns are separated by ';'"):
        read(path)
    path.write_text('clean,answer,wrong\n"a\nthe",Tom then,Mary\n')
    with pytest.raises(CntbenchError, match=r"line 2: answer: 'Tom then' is 2 tokens"):
        read(path)
    path.write_text("clean,answer,clean\na,Tom,a\n")
    with pytest.raises(CntbenchError, match="'clean' appears twice"):
        read(path)


def test_a_mapping_names_what_is_there(tmp_path):
    path = write(tmp_path / "x.jsonl", ROWS)
    with pytest.raises(CntbenchError, match=r"no column 'answr' for 'answer'\nDid you mean 'answ"):
        read(path, answer="answr")
    nested = write(tmp_path / "y.jsonl", [{"clean": "a", "x": ["Tom"], "i": 1}])
    with pytest.raises(CntbenchError, match=r"line 1: answer: 'x\[i\]' has no element 1"):
        read(nested, answer="x[i]")
    with pytest.raises(CntbenchError, match=r"line 1: answer: 'x.y' is missing"):
        read(nested, answer="x.y")


def test_text_needs_a_tokenizer(tmp_path):
    with pytest.raises(CntbenchError, match="line 1: clean: consists of text, but the model has"):
        read(write(tmp_path / "x.jsonl", ROWS), Language(np.arange(40), size=40))


def test_a_file_is_run_by_its_name_and_identifies_the_run(
    tmp_path, trajectory, monkeypatch, capsys
):
    path = write(tmp_path / "ioi.jsonl", ROWS)
    arguments = ["--trajectory", f"dir:{trajectory}", "--tasks", path, "--ablations", "resample"]
    where = [*arguments, "-o", tmp_path / "run"]
    (tmp_path / "specs" / "studies").mkdir(parents=True)
    (tmp_path / "specs" / "studies" / "small.toml").write_text(
        'version = 1\nsummary = "Small."\ntrajectory = "nano"\ntasks = ["induction"]\n'
        'ablations = ["zero"]\nuntrained = 0\nnull_draws = 0\nplanted = false\n'
    )
    small = ["run", "small", *where, "-j", "1", "--specs", tmp_path / "specs"]
    code, _, err = run_cli(monkeypatch, capsys, *small)
    assert code == 0, err
    dataset = open_results(tmp_path / "run" / "results.nc").to_dataset()
    assert dataset["task"].values.tolist() == ["ioi"]
    assert dataset["influence"].notnull().any()
    write(path, [*ROWS, ROWS[0]])
    code, _, err = run_cli(monkeypatch, capsys, *small)
    assert code == 2
    assert "belongs to another study; different: tasks.ioi.parameters.sha256" in err


def test_a_task_names_its_file_relative_to_itself(tmp_path, trajectory):
    (tmp_path / "controls").mkdir()
    write(tmp_path / "ioi.jsonl", ROWS)
    (tmp_path / "controls" / "names.toml").write_text(
        'version = 1\nsummary = "Names."\ngenerator = "file"\nlearnt = "Yes."\nnot_learnt = "No."\n'
        '[parameters]\npath = "../ioi.jsonl"\n[parameters.columns]\nwrong = "wrong"\n'
    )
    task = load_catalogue([tmp_path]).tasks["names"]
    assert task.prompts(LANGUAGE, count=2, seed=0).tokens.shape == (2, 5)
    assert "path" not in task.identity["parameters"]


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"clean": "a", "answer": "Tom then", "wrong": "Mary"}',
            "line 1: answer: 'Tom then' is 2",
        ),
        (None, "ioi.jsonl: cannot be read: No such file"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(
    tmp_path, trajectory, monkeypatch, capsys, command, text, says
):
    path = tmp_path / "ioi.jsonl"
    if text:
        path.write_text(text)
    code, _, err = run_cli(
        monkeypatch, capsys, command, "nano", "--trajectory", f"dir:{trajectory}", "--tasks", path,
        "--ablations", "zero", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert says in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_a_file_of_another_format_is_named(trajectory):
    with pytest.raises(CntbenchError, match=r"unknown task 'x.txt'\nA file of prompts ends with"):
        plan_for(trajectory, tasks=("x.txt",))
    with pytest.raises(CntbenchError, match=r"task 'ioi' appears twice\nEvery.*rename it"):
        plan_for(trajectory, tasks=("a/ioi.jsonl", "b/ioi.csv"))


@pytest.fixture(scope="module")
def model():
    return random_model("gpt2", vocabulary=40, context=12)


def test_prompts_in_memory_are_those_of_a_file(tmp_path, model):
    path = write(tmp_path / "ioi.jsonl", ROWS)
    expected = cntbench.influence(model, str(path), "resample", tokenizer=TOKENIZER)
    clean, corrupted, answer, wrong = (
        torch.tensor([tokens(row[key]) for row in ROWS]) for key in ROWS[0]
    )
    columns = {"clean": clean, "corrupted": corrupted, "answer": answer[:, 0], "wrong": wrong}
    for own in (ROWS, pd.DataFrame(ROWS), columns):
        result = cntbench.influence(model, "ioi", prompts=own, tokenizer=TOKENIZER)
        assert result["task"].values.tolist() == ["ioi"]
        np.testing.assert_array_equal(result["influence"], expected["influence"])
    assert cntbench.influence(model, prompts=columns)["task"].values.tolist() == ["prompts"]


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([], "cntbench.influence: prompts: there are no prompts"),
        ("x.jsonl", "prompts: cannot be read as prompts: it is of type str"),
        ([1, 2], "prompts[0]: is not a prompt: it is of type int"),
        (torch.zeros(2, 3), "cannot be read as prompts: it is of type Tensor"),
        ({"clean": torch.zeros(2, 3), "answer": [1]}, "differ in their number of rows: clean 2"),
        ([{"clean": torch.zeros(3), "answer": 1}], "prompts[0]: clean: is neither text nor token"),
        ([{"clean": [1], "answer": 1, "wrong": 50}], "prompts[0]: wrong: token 50 is outside"),
    ],
)
def test_prompts_in_memory_that_cannot_be_used(model, prompts, says):
    with pytest.raises(CntbenchError) as caught:
        cntbench.influence(model, prompts=prompts)
    assert says in str(caught.value)
    assert "tensor(" not in str(caught.value)


def test_prompts_in_memory_do_not_stand_for_those_of_a_file(tmp_path, model):
    path = write(tmp_path / "ioi.csv", ROWS)
    with pytest.raises(CntbenchError, match=r'ioi.csv" is a file of prompts, and prompts of your'):
        cntbench.influence(model, str(path), "zero", prompts=ROWS[:2], tokenizer=TOKENIZER)


def test_rows_that_cannot_be_used_may_be_skipped(tmp_path):
    longer = {**ROWS[0], "corrupted": "When Tom and John"}
    path = write(tmp_path / "x.jsonl", [{"clean": "a", "answer": "Tom then"}, longer, *ROWS])
    prompts = Parameters(path=path.name, unusable="skip").at(tmp_path).prompts(LANGUAGE, 2)
    assert [prompt.origin for prompt in prompts] == [f"{path}, line {n}" for n in (3, 4)]
    bad = {"clean": "a", "answer": "Tom then"}
    write(path, [{"clean": "a", "answer": "Tom"}, bad, {"clean": "a", "answer": "John"}])
    prompts = Parameters(path=path.name, unusable="skip").at(tmp_path).prompts(LANGUAGE, 3)
    assert [prompt.origin for prompt in prompts] == [f"{path}, line {n}" for n in (1, 3)]
    assert prompts[0].decoys == prompts[1].targets
    write(path, [{"clean": "a", "answer": "Tom then"}])
    with pytest.raises(CntbenchError, match="line 1: answer: 'Tom then' is 2 tokens"):
        Parameters(path=path.name, unusable="skip").at(tmp_path).prompts(LANGUAGE, 2)


def test_prompts_that_are_left_out_are_told(tmp_path, model):
    path = write(tmp_path / "ioi.jsonl", ROWS)
    with pytest.warns(CntbenchWarning, match="'ioi' measures 2 of the 3 prompts of its file"):
        cntbench.influence(model, str(path), "zero", tokenizer=TOKENIZER, prompts=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CntbenchWarning)
        cntbench.influence(model, str(path), "zero", tokenizer=TOKENIZER)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ["leaves out 2 of 5 prompts"]),
        ({"prompts": 9}, ["leaves out 2 of 5 prompts"]),
        ({"prompts": 2}, ["leaves out 1 of 3 prompts"]),
        ({"prompts": 1}, []),
    ],
)
def test_prompts_that_cannot_be_used_are_counted(tmp_path, trajectory, options, says):
    """Also where the number of prompts is chosen, which says nothing of these."""
    bad = {"clean": "a", "corrupted": "a", "answer": "Tom then", "wrong": "Mary"}
    write(tmp_path / "ioi.jsonl", [ROWS[0], bad, ROWS[1], bad, ROWS[2]])
    (tmp_path / "mine.toml").write_text(
        'version = 1\nsummary = "x"\ngenerator = "file"\nlearnt = "a"\nnot_learnt = "b"\n'
        '[parameters]\npath = "ioi.jsonl"\nunusable = "skip"\n'
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        catalogue = load_catalogue([tmp_path])
        changes = {"trajectory": f"dir:{trajectory}", "tasks": ("mine",), "ablations": ("zero",)}
        make_plan(catalogue, catalogue.changed_study("nano", changes | options, where="x"), quiet)
    told = [str(w.message) for w in caught if issubclass(w.category, CntbenchWarning)]
    assert len(told) == len(says)
    assert all(text in item for text, item in zip(says, told, strict=True))


def test_a_tokenizer_of_another_model_is_told(model):
    small = random_model("gpt2", vocabulary=14, context=12)
    with pytest.raises(CntbenchError, match=r"clean: .*token 14, outside the vocabulary of 14"):
        cntbench.influence(small, prompts=[{**ROWS[0], "clean": "then"}], tokenizer=TOKENIZER)


def test_the_token_before_every_text_needs_room(trajectory):
    plain = Language(
        np.arange(40), tokenizer=TokenizerObject(TOKENIZER), size=40, context=5, beginning=38
    )
    own, _ = task_in_memory(ROWS, "own", "here")
    assert own.prompts(plain, count=3, seed=0).tokens.shape == (3, 5)
    begun = dataclasses.replace(own, spec=dataclasses.replace(own.spec, bos=True))
    with pytest.raises(
        CntbenchError, match=r"prompts\[0\]: clean: is 5 tokens long, and the model"
    ):
        begun.prompts(plain, count=3, seed=0)
    prompts = begun.prompts(dataclasses.replace(plain, context=6), count=3, seed=0)
    assert (prompts.tokens[:, 0] == 38).all()
    assert (prompts.scored[:, 0] == 5).all()


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({**ROWS[0], "corrupted": "Mary gave"}, "clean"),
        ({"clean": [0, 5], "answer": 3, "wrong": 4}, "clean"),
        (
            {"clean": [5], "scored": [0], "corrupted": [0, 3], "answer": [3], "wrong": [4]},
            "corrupted",
        ),
    ],
)
def test_the_token_before_every_text_is_not_put_there_twice(row, key):
    language = Language(
        np.arange(40), tokenizer=TokenizerObject(TOKENIZER), size=40, context=9, beginning=0
    )
    own, _ = task_in_memory([row], "own", "here")
    assert own.prompts(language, count=1, seed=0).tokens[0, 0] in (0, 5)
    begun = dataclasses.replace(own, spec=dataclasses.replace(own.spec, bos=True))
    with pytest.raises(CntbenchError, match=rf"prompts\[0\]: {key}: begins with token 0, for the"):
        begun.prompts(language, count=1, seed=0)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"tokens": np.array([3, 40])}, "has token 40, which is outside the vocabulary of 40"),
        ({"targets": np.array([41])}, "has token 41, which is outside the vocabulary of 40"),
        ({"decoys": np.array([-2])}, "has token -2, which is outside"),
        ({"scored": np.array([2])}, "has a scored position outside its prompt"),
        ({"tokens": np.arange(13)}, "has prompts of 13 tokens, and the context of"),
    ],
)
def test_a_generator_that_does_not_fit_the_model_is_refused(trajectory, tmp_path, made, says):
    plan = plan_for(trajectory, tasks=(str(write(tmp_path / "ioi.jsonl", ROWS)),))
    good = {"tokens": np.array([3, 4]), "scored": np.array([1]), "targets": np.array([5])}

    class Generator:
        def make(self, language, rng):
            return Prompt(**{"decoys": np.array([6]), **good, **made})

    task = dataclasses.replace(plan.tasks[0], make=Generator().make, table=None)
    with pytest.raises(CntbenchError) as caught:
        _ = dataclasses.replace(plan, tasks=(task,)).prompts
    assert f"task 'ioi' {says}" in str(caught.value)
