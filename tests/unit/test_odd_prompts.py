"""Files and frames of prompts as they come: from spreadsheets, from pandas, from other programs."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.text import tokenizer_of, write_llama2
from support.trajectories import run_cli, write_trajectory
from tokenizers import Tokenizer, models, pre_tokenizers

from cntbench.errors import CntbenchError
from cntbench.models.tokenizer import TokenizerFile, TokenizerObject
from cntbench.prompts import Language
from cntbench.prompts.frames import rows_in_memory
from cntbench.prompts.generators.file import Parameters, PromptTable
from cntbench.prompts.tables import rows_of

WORDS = "the drink gave Mary John Tom 4 5 on".split()  # noqa: SIM905
TOKENIZER = tokenizer_of(WORDS, unknown=39)
LANGUAGE = Language(np.arange(40), tokenizer=TokenizerObject(TOKENIZER), size=40, context=12)
LINE = '{"clean": "gave the", "answer": "Mary", "wrong": "John"}'
HEADER, CELLS = "clean,answer,wrong", "gave the,Mary,John"


def prompts_of(path, **parameters):
    return Parameters(path=path.name, **parameters).at(path.parent).prompts(LANGUAGE, 100)


def of_rows(rows, answer=None):
    table = PromptTable("here", given=rows_in_memory(rows, "here"), answer=answer)
    return table.prompts(LANGUAGE, 100)


def plain(prompts):
    return [(p.tokens.tolist(), p.targets.tolist(), p.decoys.tolist()) for p in prompts]


USUAL = [([2, 0], [3], [4])]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.jsonl", f"\ufeff{LINE}"),
        ("crlf.jsonl", f"\r\n{LINE}\r\n\r\n"),
        ("UPPER.JSONL", LINE),
        ("bom.csv", f"\ufeff{HEADER}\n{CELLS}"),
        ("crlf.CSV", f"{HEADER}\r\n{CELLS}\r\n"),
        ("mac.csv", f"{HEADER}\r{CELLS}\r"),
        ("blank.csv", f"\n  \n{HEADER}\n\n{CELLS}\n , ,\n,,\n"),
        ("nameless.csv", f",,{HEADER}\n0,1,{CELLS}"),
        ("long.csv", f"x,{HEADER}\n{'x' * 200_000},{CELLS}"),
    ],
)
def test_what_editors_and_spreadsheets_add_does_not_matter(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert plain(prompts_of(path)) == USUAL


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", f"{LINE}\n".encode() + b'{"clean": "caf\xe9"}', ", line 2: is not UTF-8 text"),
        ("x.csv", HEADER.encode("utf-16"), ", line 1: is not UTF-8 text"),
        ("x.jsonl", b"[\n1]", "Every line is a prompt, such as"),
        ("x.csv", b"clean;answer\na;b", "line 1: columns are separated by ';'\nSeparate them by c"),
        ("x.csv", b'clean, "answer"\na,b', "line 1: has a quote after a space"),
        ("x.csv", b'answer,clean\n"Mary", "gave the"', "line 2: has a quote after a space"),
        ("x.csv", b'answer,clean\n"Mary", "on, the"', 'between quotes with its space, " Mary"'),
        ("x.csv", b"clean,answer,clean\na,b,c", "line 1: column 'clean' appears twice"),
        (
            "x.jsonl",
            b'{"clean": "\\ud800", "answer": "Mary"}',
            "line 1: clean: has half of a character",
        ),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CntbenchError) as caught:
        prompts_of(tmp_path / name)
    assert says in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_quotes_may_belong_to_a_text(tmp_path):
    rows = [{"clean": 'gave "the" drink', "answer": ' "Mary"', "wrong": ' "'}] * 2
    pd.DataFrame(rows).to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cells = [[row.cells for row in rows_of(path.read_bytes(), path)] for path in tmp_path.iterdir()]
    assert cells == [rows, rows]
    unquoted = b'clean,answer\ngave "the" drink, "\n'
    [row] = rows_of(unquoted, Path("x.csv"))
    assert row.cells == {"clean": 'gave "the" drink', "answer": ' "'}


def test_a_number_beside_text_is_neither_taken_for_text_nor_for_a_token_id(tmp_path):
    sums = {"clean": "gave on", "answer": 4, "wrong": 5}
    with pytest.raises(
        CntbenchError, match=r"here\[0\]: answer: 4 beside a prompt of text"
    ) as told:
        of_rows([sums])
    assert 'Write "4" beside a prompt of text for the text, [4] for the token id.' in str(
        told.value
    )
    assert plain(of_rows([{**sums, "answer": "4", "wrong": [5]}])) == [([2, 8], [6], [5])]
    ids = {"correct_idx": 4, "incorrect_idx": 5}
    frame = pd.DataFrame([{"clean": "gave on", "corrupted": "gave the", **ids}])
    assert plain(of_rows(frame)) == [([2, 8], [4], [5])]
    several = {"clean": "gave on", "scored": [0, 1], "answer": [4, 5], "wrong": [1, 2]}
    with pytest.raises(CntbenchError, match=r"here\[0\]: answer: 4 beside a prompt of text"):
        of_rows([several])
    path = tmp_path / "x.csv"
    path.write_text('clean,answer,wrong\n"[2, 8]",4,5\n')
    with pytest.raises(CntbenchError, match="line 2: answer: '4' beside a prompt of token ids"):
        prompts_of(path)
    path.write_text('clean,correct_idx,answer\n"[2, 8]",4,"[4]"\n"[2, 8]",4,"[5]"\n')
    assert plain(prompts_of(path))[0] == ([2, 8], [4], [5])


@pytest.mark.parametrize("answer", [math.inf, 3.7, [math.nan]], ids=["inf", "3.7", "nan"])
def test_a_number_that_is_no_token_id_is_told(answer):
    says = r"here\[0\]: answer: is neither text nor token ids: "
    with pytest.raises(CntbenchError, match=says):
        of_rows([{"clean": "gave the", "answer": answer, "wrong": "John"}])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("clean", str(np.array([4, 5, 6]))),
        ("clean", str(np.arange(40))),
        ("clean", str(np.arange(2000))),
        ("clean", str(torch.tensor([4, 5]))),
        ("clean_ids", "4 5 6"),
        ("clean_ids", "4,5"),
        ("clean_ids", str((4, 5))),
    ],
)
def test_token_ids_that_are_not_a_list_are_not_taken_for_text(tmp_path, suffix, column, cell):
    """As pandas writes arrays and tensors into a CSV file."""
    path = tmp_path / f"x.{suffix}"
    frame = pd.DataFrame({column: [cell], "answer": ["Mary"], "wrong": ["John"]})
    text = frame.to_csv(index=False) if suffix == "csv" else frame.to_json(orient="records")[1:-1]
    path.write_text(text)
    with pytest.raises(CntbenchError, match=r"clean: .* is a text, and seems to be token ids"):
        prompts_of(path, columns={"clean": column})


@pytest.mark.parametrize("column", ["clean", "clean_ids"])
def test_texts_with_brackets_are_texts(tmp_path, column):
    path = tmp_path / "x.csv"
    pd.DataFrame({column: ["[the drink]"], "answer": "Mary", "wrong": "John"}).to_csv(path)
    [prompt] = prompts_of(path, columns={"clean": column})
    assert prompt.tokens.tolist() == TOKENIZER.encode("[the drink]").ids


def test_cells_that_pandas_leaves_empty_are_missing():
    row = {"clean": [1, 2], "corrupted": [1, 3], "correct_idx": 4, "incorrect_idx": 5}
    empty = {**row, "incorrect_idx": None}
    for frame in (pd.DataFrame([row, empty]), pd.DataFrame([row, empty]).convert_dtypes()):
        with pytest.raises(CntbenchError, match=r"here\[1\]: wrong: is missing"):
            of_rows(frame)
    frame = pd.DataFrame([{**row, "note": pd.NA}, {**row, "note": pd.NaT}])
    assert plain(of_rows(frame)) == [([1, 2], [4], [5])] * 2


def test_columns_of_one_name_are_refused_in_a_frame():
    frame = pd.DataFrame([["gave", "Mary", "Tom"]], columns=["clean", "answer", "answer"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CntbenchError, match="here: column 'answer' appears twice"):
            of_rows(frame)


class Polars:
    """A frame as polars has it, whose `to_dict` differs from that of pandas."""

    columns = ("clean", "answer", "wrong")

    def to_dict(self):
        raise AssertionError

    def to_dicts(self):
        return [json.loads(LINE)]


def test_other_frames_and_iterators_of_dicts_are_read():
    row = json.loads(LINE)
    for rows in (Polars(), pa.Table.from_pylist([row]), (each for each in [row]), (row,)):
        assert plain(of_rows(rows)) == USUAL
    with pytest.raises(CntbenchError, match="clean: is not a column: it is of type str\nPass a l"):
        of_rows(row)


def test_a_wrong_answer_of_another_row_can_be_told_apart():
    """A row that begins as the right answer does is passed over: the user did not choose it."""
    rows = [{"clean": [1], "answer": ids} for ids in ([3, 4, 5], [3, 4], [3, 6], [7])]
    first = of_rows(rows, "first")[0]
    assert (first.targets.tolist(), first.decoys.tolist()) == ([3], [7])
    whole = of_rows(rows, "sum of log probabilities")[0]
    assert (whole.targets.tolist(), whole.decoys.tolist()) == ([3, 4, 5], [3, 6, 5])


def test_an_answer_has_the_tokens_that_it_has_after_its_prompt(tmp_path):
    """Llama 2 puts a space before a text of its own, so that ``" Mary"`` alone is two tokens."""
    write_llama2(tmp_path, ["When Mary gave John the book to Mary"] * 3)
    known = TokenizerFile.beside(tmp_path)
    language = Language(np.arange(400), tokenizer=known, size=400)
    mary, john = (known._fast.token_to_id(f"▁{name}") for name in ("Mary", "John"))
    assert len(known.encode(" Mary")) == 2
    row = {
        "clean": "When Mary gave John the book to",
        "answer": " Mary",
        "wrong": " John",
    }
    [prompt] = PromptTable("here", given=rows_in_memory([row], "here")).prompts(language, 1)
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == ([mary], [john])
    unspaced = PromptTable("here", given=rows_in_memory([{**row, "answer": "Mary"}], "here"))
    with pytest.raises(CntbenchError, match="With a space before it, ' Mary', it is one"):
        unspaced.prompts(language, 1)
    several = {**row, "scored": [0, -1], "answer": [" Mary", " Mary"], "wrong": [" John", " John"]}
    [prompt] = PromptTable("here", given=rows_in_memory([several], "here")).prompts(language, 1)
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == ([mary, mary], [john, john])


@pytest.mark.parametrize(
    ("clean", "answer", "token"),
    [("two cat", "s", "s"), ("two ", "cat", "cat"), ("a", "s", "s"), ("two", " s", "▁s")],
)
def test_an_answer_that_joins_its_prompt_gets_no_space(tmp_path, clean, answer, token):
    """Alone, ``"s"`` is the token of ``" s"`` for a tokenizer that puts a space before a text."""
    write_llama2(tmp_path, ["two cats", "two s", "(cat", "as two"] * 3)
    known = TokenizerFile.beside(tmp_path)
    language = Language(np.arange(400), tokenizer=known, size=400)
    assert known.encode("s") == [known._fast.token_to_id("▁s")]
    assert len(known.encode("two cats")) == 2, "one token spans prompt and answer"
    row = {"clean": clean, "answer": answer, "wrong": [0]}
    scored = {"clean": clean, "scored": [-1], "answer": [answer], "wrong": [[0]]}
    for cells in (row, scored, {**row, "clean": [5, 6]}):
        table = PromptTable("here", given=rows_in_memory([cells], "here"))
        [prompt] = table.prompts(language, 1)
        assert prompt.targets.tolist() == [known._fast.token_to_id(token)]


CELLS_OF_ANY_KIND = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 45)
    | st.floats()
    | st.text("the 4[]\ud800", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)
COLUMNS = st.sampled_from(
    ["clean", "corrupted", "answer", "wrong", "scored", "correct_idx", "prompt"]
)
RULES = st.sampled_from([None, "first", "sum of log probabilities"])


@given(rows=st.lists(st.dictionaries(COLUMNS, CELLS_OF_ANY_KIND), max_size=3), rule=RULES)
@example(rows=[{"clean": [1, 2], "answer": [float("inf")], "wrong": float("inf")}], rule="first")
def test_rows_of_any_kind_are_prompts_or_a_mistake_that_is_told(rows, rule):
    with contextlib.suppress(CntbenchError):
        assert of_rows(rows, rule)


@given(
    suffix=st.sampled_from([".csv", ".jsonl"]), text=st.text('clean,swr"\n\r;{}[]:1\0', max_size=60)
)
def test_files_of_any_content_are_prompts_or_a_mistake_that_is_told(suffix, text):
    for content in (text, f"{HEADER}\n{text}", f"{LINE}\n{text}"):
        with contextlib.suppress(CntbenchError):
            assert rows_of(content.encode(), Path(f"x{suffix}"))


def test_a_word_that_a_tokenizer_does_not_know_is_told():
    known = Tokenizer(models.WordLevel({"gave": 0, "Mary": 1, "John": 2}))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    language = Language(np.arange(3), tokenizer=TokenizerObject(known), size=3)
    row = {"clean": "gave", "answer": "Mary", "wrong": "John"}
    [prompt] = PromptTable("here", given=rows_in_memory([row], "here")).prompts(language, 1)
    assert (prompt.targets.tolist(), prompt.decoys.tolist()) == ([1], [2])
    unknown = PromptTable("here", given=rows_in_memory([{**row, "clean": "took"}], "here"))
    with pytest.raises(
        CntbenchError, match=r"here\[0\]: clean: the tokenizer has no tokens for 'to"
    ):
        unknown.prompts(language, 1)


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    folder = write_trajectory(tmp_path_factory.mktemp("odd") / "steps", steps=(0,), context=12)
    TOKENIZER.save(str(folder / "tokenizer.json"))
    return folder


TEMPLATE = """version = 1
summary = "Who."
generator = "template"
learnt = "Yes."
not_learnt = "No."
[[parameters.case]]
text = "{name} gave"
answer = " {name}"
wrong = " {name.2}"
[parameters.words]
name = ["Zoe Ann", "Mary"]
"""


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.jsonl", '{"clean": "gave", "wrong": "Tom"}', "x.jsonl: there is no column 'answer'"),
        ("x.jsonl", f'{LINE}\n{{"clean": "on"}}', "x.jsonl, line 2: answer: is missing"),
        ("x.csv", "", "x.csv: has no prompts"),
        ("x.csv", f"{HEADER}\n{CELLS}\n,Mary,Tom", "x.csv, line 3: clean: is missing"),
        ("x.jsonl", LINE.replace("Mary", "Mary gave"), "line 1: answer: 'Mary gave' is 2 tokens"),
        ("x.jsonl", LINE.replace("the", "the " * 12), "line 1: clean: is 13 tokens long, and the"),
        ("x.jsonl", '{"clean": [77], "answer": 1}', "line 1: clean: token 77 is outside the"),
        ("x.jsonl", '{"clean": [7], "answer": -5}', "line 1: answer: token -5 is outside the"),
        ("x.parquet", "PAR1", "x.parquet: is not Parquet"),
        ("mine.toml", TEMPLATE, "of the 2 words of parameters.words.name, "),
        (
            "mine.toml",
            TEMPLATE.replace("{name.2}", "{nome}"),
            "mine.toml: parameters.case (entry 1): wro",
        ),
        ("mine.toml", TEMPLATE.replace("wrong", "worng"), "unknown key 'worng'"),
    ],
)
def test_a_mistake_in_the_prompts_is_one_message_and_leaves_nothing_behind(
    tmp_path, trajectory, monkeypatch, capsys, name, text, says
):
    path = tmp_path / name
    path.write_text(text)
    task = ["--tasks", path]
    if path.suffix == ".toml":
        task = ["--tasks", "mine", "--specs", tmp_path]
    code, out, err = run_cli(
        monkeypatch, capsys, "run", "--trajectory", f"dir:{trajectory}", *task,
        "--ablations", "zero", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert says in " ".join(err.split())
    assert err.count("error:") == 1
    assert "Traceback" not in err + out
    assert not (tmp_path / "run").exists()


def test_a_column_that_is_named_stands_before_that_of_a_known_layout(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("clean,corrupted,correct_idx,incorrect_idx,other_idx\ngave the,gave on,3,4,5\n")
    [usual], [named] = prompts_of(path), prompts_of(path, columns={"wrong": "other_idx"})
    assert (usual.decoys.tolist(), named.decoys.tolist()) == ([4], [5])
    assert named.targets.tolist() == usual.targets.tolist() == [3]
