"""Texts filled with words: the shipped tasks, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.models import random_model
from support.text import write_llama2, write_tokenizer

import cntbench
from cntbench.errors import CntbenchError, SpecError
from cntbench.models.tokenizer import TokenizerFile
from cntbench.prompts import PADDING, Language, random_state
from cntbench.prompts.generators.template import Parameters
from cntbench.runs.catalogue import load_catalogue
from cntbench.specs import build

TASKS = load_catalogue().tasks
SHIPPED = ("ioi", "greater_than", "gendered_pronoun")


def texts(parameters):
    """Texts from which a tokenizer learns all words and answers, each where it stands."""
    for case in parameters["case"]:
        pieces = re.split(r"\{([^{}]*)\}", case["text"])
        for place in range(1, len(pieces), 2):
            for name in pieces[place].split("|"):
                for word in parameters["words"][name.split(".")[0]]:
                    before, after = pieces[place - 1], pieces[place + 1]
                    # Years stand behind a century, and are tokens of their own.
                    yield from [before + word + after] if before.endswith(" ") else [before, word]
        for answer in ("answer", "wrong"):
            yield from [pieces[-1] + case[answer]] * 9 if case[answer][0] == " " else [pieces[-1]]


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    """For each shipped task, a tokenizer that knows its words."""
    vocabularies = {}
    for name in SHIPPED:
        folder = tmp_path_factory.mktemp(name)
        parameters = TASKS[name].spec.parameters
        write_tokenizer(folder, texts(parameters), size=1500)
        vocabularies[name] = Language(np.arange(1500), tokenizer=TokenizerFile.beside(folder))
    return vocabularies


def read(language, tokens):
    return language.tokenizer._fast.decode([int(t) for t in np.ravel(tokens) if t != PADDING])


def rows(languages, name, count=12):
    """Prompts of a shipped task: text, twin, targets and decoys."""
    language = languages[name]
    prompts = TASKS[name].prompts(language, count=count, seed=0)
    assert (prompts.scored == prompts.tokens.shape[1] - 1).all()
    for row in range(count):
        arrays = (prompts.tokens, prompts.reference, prompts.targets, prompts.decoys)
        yield [read(language, array[row]) for array in arrays]


def test_the_answer_of_ioi_is_the_name_that_stands_there_once(languages):
    seen = set()
    for text, twin, right, wrong in rows(languages, "ioi"):
        names = [word for word in re.findall(r"\w+", text) if word in WORDS["name"]]
        assert len(names) == 3
        assert [f" {name}" for name in names if names.count(name) == 1] == [right]
        assert [f" {name}" for name in names if names.count(name) == 2] == [wrong] * 2
        assert text.split(", ")[0] == twin.split(", ")[0]
        others = [word for word in re.findall(r"\w+", twin) if word in WORDS["name"]]
        assert len(set(others)) == 3
        seen.add(text.split()[0])
    assert seen == {"When", "After"}


WORDS = TASKS["ioi"].spec.parameters["words"]


def test_the_answers_of_greater_than_are_all_later_years(languages):
    for text, twin, right, wrong in rows(languages, "greater_than"):
        year = int(re.search(r"17(\d\d) to the year 17$", text)[1])
        years = [f"{y:02}" for y in range(2, 100)]
        assert re.findall("..", right) == [y for y in years if int(y) > year]
        assert re.findall("..", wrong) == [y for y in years if int(y) <= year]
        assert twin == text.replace(f"17{year:02}", "1701", 1)


def test_the_pronoun_follows_the_name(languages):
    words = TASKS["gendered_pronoun"].spec.parameters["words"]
    seen = set()
    for text, twin, right, wrong in rows(languages, "gendered_pronoun"):
        man = text.split()[1] in words["man"]
        assert (right, wrong) == ((" he", " she") if man else (" she", " he"))
        assert twin.split()[1] in words["woman" if man else "man"]
        assert text.split()[2:] == twin.split()[2:]
        seen.add(man)
    assert len(seen) == 2


@pytest.mark.parametrize("name", SHIPPED)
def test_the_first_prompts_do_not_know_how_many_follow(languages, name):
    few, many = (TASKS[name].prompts(languages[name], count=n, seed=3) for n in (2, 5))
    np.testing.assert_array_equal(few.tokens, many.tokens[:2])


@pytest.mark.parametrize(
    ("text", "has_twin"),
    [
        ("{w} {w.2}", False),
        ("{w|w.2}", True),
        ("{w} {w|w.2}", True),
    ],
)
def test_only_texts_with_two_words_in_one_place_have_a_twin(text, has_twin):
    case = {"text": text, "answer": " {w}", "wrong": " {w.2}"}
    parameters = build(Parameters, {"case": [case], "words": {"w": ["a", "b"]}}, where="here")
    [result] = parameters.cases
    assert result.has_twin == has_twin


#: How the only text below is named.
CASE = "case (entry 1)"

PARAMETERS = {
    "case": [{"text": "The {animal} and the {animal.2} ate a", "answer": " {food}", "wrong": " x"}],
    "words": {"animal": ["cat", "dog", "horse"], "food": ["pear", "plum"]},
}


def case(**changes):
    return {"case": [{**PARAMETERS["case"][0], **changes}]}


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        (case(text="The {animl} ate a"), f"{CASE}: text", "Did you mean 'animal'?"),
        (case(wrong=" {fod}"), f"{CASE}: wrong", "unknown list of words 'fod'"),
        (case(text="The {animal ate a"), f"{CASE}: text", "an unmatched brace"),
        (case(text="The {} ate a"), f"{CASE}: text", "'{}' is not a place for a word"),
        (case(text="The {animal.0} ate a"), f"{CASE}: text", "'{animal.0}' is not a place"),
        (case(text="The {animal|animal.2|food} ate"), f"{CASE}: text", "is not a place for a word"),
        (case(text="The {after animal} ate a"), f"{CASE}: text", "stands alone in an answer"),
        (case(answer=" {food} {after food}"), f"{CASE}: answer", "stands alone in an answer"),
        (case(text="The cat ate a"), f"{CASE}: text", "has no place that words fill"),
        (case(text="The {animal} ate a "), CASE, "does not end with it"),
        (case(text="The {animal.4} ate a"), "words.animal", "has 3 of the 4 words that are"),
        ({**case(answer=" {after food}"), "words": {**PARAMETERS["words"], "food": ["x"]}},
         "words.food", "has 1 of the 2 words that are needed"),
        (case(answer=" pear"), "words.food", "is used by no text"),
        (case(answer=[]), CASE, "not be empty"),
        (case(anser=" pear"), CASE, "unknown key 'anser'"),
        ({"words": {**PARAMETERS["words"], "food": ["a", "a"]}}, "words.food", "appear once"),
        ({"answer": "all"}, "answer", "Allowed: first, sum of log"),
        (
            {"case": [*PARAMETERS["case"], *case(text="A {animal|animal.2} ate a")["case"]]},
            "case",
            "some texts have a twin",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_by_file_and_key(changes, where, what):
    with pytest.raises(SpecError) as caught:
        build(Parameters, {**PARAMETERS, **changes}, where="mine.toml", prefix="parameters.")
    assert str(caught.value).startswith(f"mine.toml: parameters.{where}") or (
        str(caught.value).startswith(f"mine.toml: parameters.{where.split('.')[0]}")
    )
    assert what in str(caught.value)


class Words:
    """A tokenizer with one token for each word with the space before it, and for each letter."""

    def __init__(self, *words):
        self.words = [f" {word}" for word in words]

    def encode(self, text):
        pieces = re.findall(r" ?\w+|\W", text)
        return [
            token
            for piece in pieces
            for token in (
                [self.words.index(piece)] if piece in self.words else [100 + ord(c) for c in piece]
            )
        ]


def made(language_words, *, seed=0, **changes):
    language = Language(np.arange(500), tokenizer=Words(*language_words))
    parameters = build(Parameters, {**PARAMETERS, **changes}, where="mine.toml")
    return parameters.make(language, random_state(seed))


KNOWN = ("and", "the", "ate", "a", "cat", "dog", "horse", "pear", "x")


def test_words_of_several_tokens_are_not_used():
    prompt = made(("and", "the", "ate", "a", "cat", "horse", "pear", "plum", "x"))
    assert ord("d") + 100 not in prompt.tokens[3:-1]


def test_words_of_one_token_come_before_more_of_several():
    words = {"animal": ["fox", "cat", "owl", "dog", "hen"], "food": ["pear"]}
    prompts = [made(KNOWN, words=words, seed=seed) for seed in range(9)]
    assert {len(prompt.tokens) for prompt in prompts} == {len("The") + 6}


def test_a_twin_of_another_length_is_refused():
    changes = case(text="The {animal|animal.2}s ate a") | {
        "words": {"animal": ["cat", "horse"], "food": ["pear"]}
    }
    with pytest.raises(CntbenchError, match="and its twin differ in their number of tokens"):
        made(KNOWN, **changes)


def test_too_few_words_of_one_token_are_said_to_be():
    with pytest.raises(CntbenchError) as caught:
        made(("and", "the", "ate", "a", "cat"))
    assert str(caught.value).startswith(
        "of the 3 words of parameters.words.animal, 1 have one number of tokens of this model "
        "where {animal} stands, and 2 are needed"
    )


def test_a_tokenizer_of_letters_uses_words_of_one_length():
    words = {"animal": ["cat", "horse", "dog", "ox"], "food": ["pear", "plum"]}
    for seed in range(9):
        prompt = made((), words=words, answer="sum of log probabilities", seed=seed)
        text = "".join(chr(token - 100) for token in prompt.tokens)
        assert re.match("The (cat and the dog|dog and the cat) ate a p", text)


def test_no_word_comes_after_the_last_which_is_never_drawn():
    for words in (["a", "b"], ["a", "b", "c"]):
        changes = case(text="year {w}", answer="{after w}", wrong="{until w}")
        prompts = [made((), **changes, words={"w": words}, seed=seed) for seed in range(40)]
        assert {chr(prompt.tokens[-1] - 100) for prompt in prompts} == {*words[:-1]}


def test_words_have_one_number_of_tokens_wherever_they_stand():
    """At the start of a text, a word has a token for each letter: of one word, as after a space."""
    changes = case(text="{w} and {w.2} ate", answer=" x", wrong=" cat")
    words = {"w": ["a", "i", "dog"]}
    prompts = [made((*KNOWN, "i"), **changes, words=words, seed=seed) for seed in range(40)]
    assert {len(prompt.tokens) for prompt in prompts} == {4}


def test_words_that_change_the_text_before_them_are_not_used():
    """Three words are one token with the ``a`` before them, and have none of their own."""
    changes = case(text="so a{w}", answer=" x", wrong=" cat")
    words = {"w": ["cat", "dog", "horse", "owl"]}
    known = ("x", "cat", "acat", "adog", "ahorse")
    assert made(known, **changes, words=words).tokens.tolist()[-3:] == [100 + ord(c) for c in "owl"]


def test_an_answer_of_several_tokens_needs_a_rule():
    changes = case(answer=" plume", wrong=" plant") | {
        "words": {"animal": PARAMETERS["words"]["animal"]}
    }
    with pytest.raises(CntbenchError, match="6 tokens of this model, and one is needed") as caught:
        made(KNOWN, **changes)
    assert 'answer = "first" or "sum of log probabilities"' in str(caught.value)
    with pytest.raises(CntbenchError, match="begin with the same token"):
        made(KNOWN, **changes, answer="first")
    prompt = made(KNOWN, **changes, answer="sum of log probabilities")
    letters = [ord(c) + 100 for c in " plume"]
    assert prompt.targets.tolist() == letters
    assert prompt.decoys.tolist() == [*letters[:3], ord("a") + 100, *letters[4:]]
    assert prompt.tokens[-5:].tolist() == letters[:-1]
    assert prompt.scored.tolist() == list(range(len(prompt.tokens) - 6, len(prompt.tokens)))


def test_an_answer_that_joins_the_text_has_its_own_tokens():
    assert made(KNOWN, **case(answer="{food}", wrong="y"), answer="first").targets == 100 + ord("p")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_task_is_measured(languages, name):
    model = random_model("gpt_neox", vocabulary=1500)
    tokenizer = languages[name].tokenizer._fast
    film = cntbench.influence(model, name, "resample", tokenizer=tokenizer, prompts=3)
    effects = film["readout_effect"].sel(readout=TASKS[name].spec.effects[0])
    assert np.isfinite(effects).all()
    assert (effects != 0).any()


@pytest.fixture(scope="module")
def llama2(tmp_path_factory):
    """A tokenizer that puts a space before every text and splits numbers into digits."""
    sentence = TASKS["induction_text"].spec.parameters
    filled = [
        sentence["sentence"].format(first=a, second=b)
        for a, b in zip(sentence["first"], sentence["second"], strict=True)
    ]
    learnt = [text for name in SHIPPED for text in texts(TASKS[name].spec.parameters)]
    folder = tmp_path_factory.mktemp("llama2")
    write_llama2(folder, [*learnt, *filled * 9, *(f"to {w}" for w in WORDS["name"] * 9)])
    return Language(np.arange(30000), tokenizer=TokenizerFile.beside(folder))


@pytest.mark.parametrize("name", [*SHIPPED, "induction_text"])
def test_shipped_tasks_suit_a_tokenizer_as_that_of_llama_2(llama2, name):
    assert len(llama2.encode(" Mary")) == 2, "a space of its own stands before a text"
    prompts = TASKS[name].prompts(llama2, count=6, seed=0)
    assert prompts.summed is None, "answers are one token"
    for row in range(6):
        text, right = read(llama2, prompts.tokens[row]), read(llama2, prompts.targets[row])
        assert llama2.encode(text) == [t for t in prompts.tokens[row] if t != PADDING]
        if name == "greater_than":
            year = int(re.search(r"17\d(\d) to the year 17\d$", text)[1])
            assert right == "".join(map(str, range(year + 1, 10)))
            assert read(llama2, prompts.decoys[row]) == "".join(map(str, range(1, year + 1)))
        elif name == "ioi":
            assert text.split().count(right) == 1


def test_other_texts_serve_where_the_first_do_not():
    other = {"text": "{food} and", "answer": " {food}", "wrong": " cat"}
    known = (*KNOWN, "plum")
    assert made(known, otherwise=[other]).tokens.tolist() == made(known).tokens.tolist()
    prompt = made(("and", "pear", "plum", "cat"), otherwise=[other])
    assert prompt.tokens[-1] == 0
    assert len(prompt.tokens) <= 5
    with pytest.raises(SpecError, match=r"otherwise \(entry 1\): text: unknown list"):
        made(KNOWN, otherwise=[{**other, "text": "{fod} and"}])
