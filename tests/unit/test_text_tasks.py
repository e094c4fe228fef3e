"""Tasks made of text, tokens that are safe, and the token before every text."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from support.runs import quiet, write_study
from support.text import SPECIAL, write_tokenizer
from support.trajectories import run_cli, write_trajectory
from transformers import PreTrainedTokenizerFast

from cntbench.errors import CntbenchError, SpecError
from cntbench.models.tokenizer import TokenizerFile, TokenizerObject
from cntbench.models.trajectory import open_trajectory
from cntbench.prompts import Language, generate, random_state
from cntbench.prompts.generators.sentences import Parameters
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import load_catalogue
from cntbench.specs import build

TASK = load_catalogue().tasks["induction_text"]
WORDS = TASK.spec.parameters
FILLED = [
    WORDS["sentence"].format(first=a, second=b) for a in WORDS["first"] for b in WORDS["second"]
]
#: More rows than the tokenizer has tokens, as real models have.
VOCABULARY = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trajectory with a tokenizer beside its checkpoints."""
    folder = tmp_path_factory.mktemp("with text") / "checkpoints"
    write_trajectory(folder, steps=(0, 8), vocabulary=VOCABULARY, bos_token_id=0)
    write_tokenizer(folder, FILLED)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    file = TokenizerFile.beside(folder)
    assert file is not None
    return file


@pytest.fixture(scope="module")
def language(folder):
    return open_trajectory(f"dir:{folder}", quiet).language


def test_a_prompt_reads_as_sentences_and_asks_for_what_was_said(language, tokenizer):
    prompts = TASK.prompts(language, count=20, seed=0)
    decode = tokenizer._fast.decode
    for row in range(20):
        text = decode(list(prompts.tokens[row]))
        *whole, query = text.split(".")
        assert len(whole) == WORDS["sentences"]
        belongings = dict(
            sentence.removeprefix(" The ").split(" belongs to ") for sentence in whole
        )
        name = query.removeprefix(" The ").removesuffix(" belongs to")
        target, decoy = (decode(list(part[row])) for part in (prompts.targets, prompts.decoys))
        assert target == f" {belongings[name]}"
        assert decoy != target
        assert decoy.strip() in belongings.values()
        assert list(prompts.scored[row]) == [prompts.tokens.shape[1] - 1]


def test_the_twin_has_other_words_and_the_same_question(language, tokenizer):
    prompts = TASK.prompts(language, count=20, seed=0)
    for clean, twin in zip(prompts.tokens, prompts.reference, strict=True):
        texts = [tokenizer._fast.decode(list(tokens)) for tokens in (clean, twin)]
        assert texts[0].rsplit(".", 1)[1] == texts[1].rsplit(".", 1)[1]
        words = [set(text.rsplit(".", 1)[0].replace(".", "").split()) for text in texts]
        assert words[0] & words[1] == {"The", "belongs", "to"}


@given(seed=st.integers(0, 2**32 - 1), sentences=st.integers(2, 5))
def test_prompts_are_those_of_the_text(language, seed, sentences):
    made = Parameters(**{**WORDS, "sentences": sentences})
    prompt = made.make(language, random_state(seed))
    for tokens in (prompt.tokens, prompt.reference):
        text = language.tokenizer._fast.decode(list(tokens))
        assert language.encode(text) == list(tokens)
    assert np.isin(prompt.tokens, language.vocabulary).all()
    assert prompt.targets[0] != prompt.decoys[0]


def test_the_first_prompts_do_not_know_how_many_follow(language):
    few, many = (TASK.prompts(language, count=n, seed=3) for n in (2, 5))
    np.testing.assert_array_equal(few.tokens, many.tokens[:2])
    np.testing.assert_array_equal(few.targets, many.targets[:2])


def test_only_tokens_that_stand_for_text_are_sampled(folder, language):
    known = TokenizerFile.beside(folder)._fast
    special = known.token_to_id(SPECIAL)
    assert special not in language.vocabulary
    assert len(language.vocabulary) == known.get_vocab_size() - 1 < VOCABULARY
    prompts = load_catalogue().tasks["induction"].prompts(language, count=50, seed=0)
    assert np.isin(prompts.tokens, language.vocabulary).all()


def test_ids_beyond_the_models_rows_are_not_safe(tokenizer):
    assert tokenizer.safe(100).max() == 99


def test_without_a_tokenizer_every_token_is_used(tmp_path):
    write_trajectory(tmp_path, steps=(0,))
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert trajectory.tokenizer is None
    np.testing.assert_array_equal(trajectory.language.vocabulary, np.arange(40))


def test_a_tokenizer_may_lie_in_a_checkpoint(tmp_path):
    write_trajectory(tmp_path, steps=(0,), vocabulary=VOCABULARY)
    write_tokenizer(tmp_path / "step0", FILLED)
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    assert trajectory.tokenizer == TokenizerFile(tmp_path / "step0" / "tokenizer.json")


def test_no_token_stands_before_a_prompt_unless_the_task_says_so(language):
    made = Parameters(**WORDS)
    plain, begun = (
        generate(made.make, language, n_prompts=3, seed=0, stream="", bos=bos) for bos in (None, 0)
    )
    assert (begun.tokens[:, 0] == 0).all()
    assert (begun.reference[:, 0] == 0).all()
    np.testing.assert_array_equal(begun.tokens[:, 1:], plain.tokens)
    np.testing.assert_array_equal(begun.reference[:, 1:], plain.reference)
    np.testing.assert_array_equal(begun.other[:, 1:], plain.other)
    np.testing.assert_array_equal(begun.scored, plain.scored + 1)
    np.testing.assert_array_equal(begun.targets, plain.targets)


def task_with(tmp_path, **changes):
    """The text task with other keys, from a folder of one's own."""
    lines = [f'"{key}" = {value}' for key, value in changes.items()]
    text = TASK.path.read_text().replace('summary = "', "\n".join([*lines, 'summary = "']), 1)
    (tmp_path / "mine.toml").write_text(text)
    return load_catalogue([tmp_path]).tasks["mine"]


def test_a_task_may_ask_for_the_token_before_every_text(language, tmp_path):
    task = task_with(tmp_path, bos="true")
    prompts = task.prompts(language, count=2, seed=0)
    assert (prompts.tokens[:, 0] == language.beginning).all()
    with pytest.raises(CntbenchError, match="no token for the beginning"):
        task.prompts(Language(language.vocabulary, tokenizer=language.tokenizer), count=2, seed=0)


def test_words_of_several_tokens_are_not_used_and_too_few_are_said_to_be(language):
    longer = {**WORDS, "first": [*WORDS["first"], "zyzzyva"]}
    prompt = Parameters(**longer).make(language, random_state(0))
    assert prompt.tokens.shape == Parameters(**WORDS).make(language, random_state(0)).tokens.shape
    few = {**WORDS, "first": [*WORDS["first"][:9], "zyzzyva"]}
    with pytest.raises(CntbenchError) as caught:
        Parameters(**few).make(language, random_state(0))
    assert "9 of the 10 words of parameters.first are one token of this model, but 10" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sentence": " The {first} is here."}, "{second}"),
        ({"sentence": " {second} has the {first}."}, "{second}"),
        ({"sentence": " The {first} of {second} and {third}."}, "{second}"),
        ({"first": ["one", "one"]}, "each may appear once"),
        ({"first": ["one", "two words"]}, "consist of letters"),
        ({"sentences": 1}, "be 2 or more"),
    ],
)
def test_bad_templates_are_refused(changes, what):
    with pytest.raises(SpecError) as caught:
        build(Parameters, {**WORDS, **changes}, where="mine.toml", prefix="parameters.")
    assert what in str(caught.value)
    assert f"parameters.{next(iter(changes))}" in str(caught.value)


def test_a_text_task_is_run_from_the_command_line(folder, tmp_path, monkeypatch, capsys):
    write_study(tmp_path / "specs", "tiny", folder, untrained=0)
    arguments = ["--tasks", "induction_text,induction", "--ablations", "resample"]
    code, _, err = run_cli(
        monkeypatch, capsys, "run", "tiny", "--trajectory", f"dir:{folder}", *arguments,
        "--prompts", "3", "-j", "1", "-o", tmp_path / "run", "--specs", tmp_path / "specs",
    )  # fmt: skip
    assert code == 0, err
    dataset = open_results(tmp_path / "run" / "results.nc").to_dataset()
    assert dataset["influence"].sel(task="induction_text").notnull().any()


def test_a_model_without_a_tokenizer_is_refused_a_text_task(tmp_path, monkeypatch, capsys):
    write_trajectory(tmp_path / "plain", steps=(0,))
    code, _, err = run_cli(
        monkeypatch, capsys, "run", "nano", "--trajectory", f"dir:{tmp_path / 'plain'}",
        "--tasks", "induction_text", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "task 'induction_text': consists of text, but the model has no tokenizer" in err
    assert "tokenizer.json" in err
    assert not (tmp_path / "run").exists()


def test_what_is_no_tokenizer_is_said(tmp_path, monkeypatch, capsys):
    write_trajectory(tmp_path / "broken", steps=(0,))
    (tmp_path / "broken" / "tokenizer.json").write_text("{}")
    code, _, err = run_cli(
        monkeypatch, capsys, "run", "nano", "--trajectory", f"dir:{tmp_path / 'broken'}",
        "--tasks", "induction", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "tokenizer.json: is not a tokenizer" in err


@pytest.mark.parametrize("limit", [{"pad": 12}, {"cut": 2}, {"pad": 12, "cut": 2}])
def test_a_tokenizer_that_has_made_batches_neither_cuts_nor_pads(tmp_path, limit):
    text = "the cat sat on the mat"
    fast = write_tokenizer(tmp_path, [text])
    expected = TokenizerObject.of(fast)
    tokens, identity = expected.encode(text), expected.identity
    if "pad" in limit:
        fast.enable_padding(length=limit["pad"])
    if "cut" in limit:
        fast.enable_truncation(limit["cut"])
    fast.save(str(tmp_path / "tokenizer.json"))
    for tokenizer in (TokenizerObject.of(fast), TokenizerFile(tmp_path / "tokenizer.json")):
        assert tokenizer.encode(text) == tokens
    assert TokenizerObject.of(fast).identity == identity
    assert (fast.padding is not None, fast.truncation is not None) == (
        "pad" in limit,
        "cut" in limit,
    )


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_special_tokens_in_a_text_do_not_depend_on_earlier_calls(tmp_path, split, cut):
    """Transformers keeps what its last call said of them in the tokenizer of its own."""
    text = f"the cat{SPECIAL}the mat"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=write_tokenizer(tmp_path, [text]),
        eos_token=SPECIAL,
        split_special_tokens=split,
    )
    expected = fast(text, add_special_tokens=False)["input_ids"]
    for last in (False, True):
        options = {"truncation": True, "max_length": 2} if cut else {}
        fast(text, split_special_tokens=last, **options)
        assert TokenizerObject.of(fast).encode(text) == expected
        assert fast.backend_tokenizer.encode_special_tokens == last


def test_a_tokenizer_that_merges_at_random_in_training_does_not_here(tmp_path):
    text = "the cat sat on the mat " * 8
    fast = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="?"))
    fast.train_from_iterator([text], tokenizers.trainers.BpeTrainer(show_progress=False))
    expected = TokenizerObject.of(fast).encode(text)
    fast.model.dropout = 0.5
    fast.save(str(tmp_path / "tokenizer.json"))
    for tokenizer in (TokenizerObject.of(fast), TokenizerFile(tmp_path / "tokenizer.json")):
        assert tokenizer.encode(text) == expected
    assert fast.model.dropout == 0.5
