"""Texts that are filled with words and end before an answer, such as IOI and greater-than.

In a text, ``{name}`` stands for a word of the list ``name``, and ``{name.2}``, ``{name.3}`` for
other words of it. A place that appears twice gets the same word. ``{name.2|name.3}`` is
``{name.2}`` in the prompt and ``{name.3}`` in its corrupted twin, which is otherwise the same; only
texts with such places have a twin. The answer follows the end of the text.

An answer is a text with places, too, or an array of them: a set of answers. ``{after year}`` is
every word of the list ``year`` that comes after ``{year}``, ``{until year}`` every other one.

Only words that are one token where they stand are used, so that positions of a prompt and its twin
correspond. If a tokenizer has too few of them, words of another, common number of tokens are used.
Where no words fill a text, or its answers are several tokens and one is needed, ``otherwise``
replaces it.

Sources of the shipped tasks: Wang et al. 2022 (arXiv 2211.00593), indirect object identification;
Hanna et al. 2023 (arXiv 2305.00586), greater-than; Mathwin et al. 2023, gendered pronouns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from cntbench.errors import CntbenchError, SpecError, unknown
from cntbench.prompts import Language, Prompt, Tokens
from cntbench.prompts.continuations import AnswerRule, answered, tokens_after
from cntbench.specs import build, spec

#: The task needs a model with a tokenizer.
NEEDS_TEXT = True

_BRACES = re.compile(r"(\{[^{}]*\})")
_WORD = re.compile(r"(?:(after|until) )?([A-Za-z_]\w*?)(?:\.([1-9]\d?))?")


def _different(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(words)) < len(words) or any(not w.strip() or set(w) & set("{}|") for w in words):
        raise ValueError("words are not empty, have no braces or bars, and each may appear once")
    return words


def _open_end(text: str) -> str:
    if text != text.rstrip():
        raise ValueError("the answer begins with the space, so that the text does not end with it")
    return text


def _array(value: object) -> object:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], Field(min_length=1, strict=False), AfterValidator(_different)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_array), Field(min_length=1, strict=False)]


@spec
class CaseSpec:
    """A text and its answers, one entry of ``parameters.case``.

    Parameters
    ----------
    text
        The text, up to the answer.
    answer, wrong
        The right continuation, and the wrong one: a text, or an array of texts.
    """

    text: Annotated[str, AfterValidator(_open_end)]
    answer: Texts
    wrong: Texts


class Word(NamedTuple):
    """A word of a list: the first that is drawn, the second, …; or those around it."""

    list: str
    number: int
    range: str | None = None


@dataclass(frozen=True)
class Text:
    """A text with places for words.

    ``literals`` are the text before each place and after the last one; ``places`` are the word of
    each place in the prompt, and in its twin.
    """

    literals: tuple[str, ...]
    places: tuple[tuple[Word, Word], ...]

    @classmethod
    def parse(cls, text: str, where: str) -> Text:
        """Return the text, or raise a `SpecError`."""
        pieces = _BRACES.split(text)
        for literal in pieces[::2]:
            if set(literal) & set("{}"):
                raise SpecError(f"has an unmatched brace: {text!r}", where=where)
        return cls(tuple(pieces[::2]), tuple(_place(piece, where) for piece in pieces[1::2]))

    @property
    def words(self) -> Iterator[Word]:
        """The words of the prompt and of its twin."""
        return (word for place in self.places for word in place)

    def filled(self, words: Mapping[Word, str], *, twin: bool = False) -> str:
        """Return the text with its words."""
        fills = [words[place[twin]] for place in self.places]
        return "".join(a + b for a, b in zip(self.literals, [*fills, ""], strict=True))


def _place(braces: str, where: str) -> tuple[Word, Word]:
    matches = [_WORD.fullmatch(part) for part in braces[1:-1].split("|")]
    if len(matches) > 2 or None in matches:
        raise SpecError(
            f"{braces!r} is not a place for a word",
            where=where,
            hint="Places are {name}, {name.2}, {name|name.2} and, in answers, {after name} and "
            "{until name}, with the name of a list of words.",
        )
    words = [Word(m[2], int(m[3] or 1), m[1]) for m in matches if m is not None]
    return words[0], words[-1]


class Case(NamedTuple):
    """A parsed text with its answers."""

    text: Text
    right: tuple[Text, ...]
    wrong: tuple[Text, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        """All of them."""
        return (self.text, *self.right, *self.wrong)

    @property
    def has_twin(self) -> bool:
        """Whether the twin differs from the prompt."""
        return any(clean != twin for clean, twin in self.text.places)

    def count(self, name: str) -> int:
        """Return how many different words of a list it has."""
        return max((word.number for word in self._of(name)), default=0)

    def needed(self, name: str) -> int:
        """Return how many words of a list it needs: no word comes after the last one."""
        return self.count(name) + any(word.range == "after" for word in self._of(name))

    def _of(self, name: str) -> list[Word]:
        return [word for text in self.texts for word in text.words if word.list == name]


@spec
class Parameters:
    """Parameters of the generator.

    Parameters
    ----------
    case
        Texts and their answers, ``[[parameters.case]]`` with the keys ``text``, ``answer`` and
        ``wrong``; each prompt draws one of them.
    words
        Lists of words by name.
    otherwise
        Texts and their answers as in ``case``, for tokenizers that do not suit those.
    answer
        What is scored for answers of several tokens: ``"first"``, their first token, or ``"sum of
        log probabilities"``, all of them. Without it, every answer is one token.
    """

    case: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, strict=False)]
    words: dict[str, Words]
    answer: AnswerRule | None = None
    otherwise: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()

    def __post_init__(self) -> None:
        """Refuse texts and lists that do not fit together; see `cntbench.specs.build`."""
        cases = [*self.cases, *self.other_cases]
        used = {word.list for case in cases for text in case.texts for word in text.words}
        for name in self.words:
            if name not in used:
                raise SpecError("is used by no text", where=f"words.{name}")
        if len({case.has_twin for case in cases}) > 1:
            raise SpecError(
                "some texts have a twin, with places such as {name|name.2}, and others have none",
                where="case",
            )

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The parsed texts and their answers."""
        return tuple(self._case(f"case (entry {i})", table) for i, table in enumerate(self.case, 1))

    @cached_property
    def other_cases(self) -> tuple[Case, ...]:
        """The cases for tokenizers that do not suit `cases`."""
        return tuple(
            self._case(f"otherwise (entry {i})", spec) for i, spec in enumerate(self.otherwise, 1)
        )

    def _case(self, where: str, table: Mapping[str, Any]) -> Case:
        case_spec = build(CaseSpec, table, where=where)
        case = Case(
            self._text(case_spec.text, f"{where}: text", answer=False),
            tuple(self._text(text, f"{where}: answer") for text in case_spec.answer),
            tuple(self._text(text, f"{where}: wrong") for text in case_spec.wrong),
        )
        if not case.text.places:
            raise SpecError("has no place that words fill, such as {name}", where=f"{where}: text")
        for name, words in self.words.items():
            if case.needed(name) > len(words):
                raise SpecError(
                    f"has {len(words)} of the {case.needed(name)} words that are needed",
                    where=f"words.{name}",
                )
        return case

    def _text(self, text: str, where: str, *, answer: bool = True) -> Text:
        parsed = Text.parse(text, where)
        for word in parsed.words:
            if word.list not in self.words:
                raise unknown("list of words", word.list, self.words, where=where)
            if word.range and (not answer or len(parsed.places) > 1):
                raise SpecError(
                    f"{{{word.range} {word.list}}} stands alone in an answer", where=where
                )
        return parsed

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt, scored where its answer follows."""
        try:
            return self._filled(self.cases[rng.randint(len(self.cases))], language, rng)
        except CntbenchError:
            if not self.other_cases:
                raise
        return self._filled(self.other_cases[rng.randint(len(self.other_cases))], language, rng)

    def _filled(self, case: Case, language: Language, rng: np.random.RandomState) -> Prompt:
        words, lists = self._draw(case, language, rng)
        text = case.text.filled(words)
        tokens = _encoded(language, text)
        reference = None
        if case.has_twin:
            reference = _encoded(language, case.text.filled(words, twin=True))
            if len(reference) != len(tokens):
                raise CntbenchError(
                    f"{text!r} and its twin differ in their number of tokens",
                    hint="Put text between the places of words.",
                )
        right, wrong = (
            [
                np.array(tokens_after(language, text, answer), dtype=np.int64)
                for template in templates
                for answer in _answers(template, words, lists)
            ]
            for templates in (case.right, case.wrong)
        )
        return answered(tokens, right, wrong, self.answer, reference=reference)

    def _draw(
        self, case: Case, language: Language, rng: np.random.RandomState
    ) -> tuple[dict[Word, str], dict[str, list[str]]]:
        """Draw different words of each list; returns them, and all words that fit the text."""
        lists = {
            name: self._fitting(case, name, language) for name in self.words if case.count(name)
        }
        words = {}
        for name, fitting in lists.items():
            count = case.count(name)
            candidates = len(fitting) - (case.needed(name) - count)
            for number, index in enumerate(rng.permutation(candidates)[:count], start=1):
                words[Word(name, number)] = fitting[index]
        return words, lists

    def _fitting(self, case: Case, name: str, language: Language) -> list[str]:
        """Return the words of a list that are one token wherever the text has them.

        If there are too few, the words of the most frequent other number of tokens.
        """
        before = {
            literal
            for literal, place in zip(case.text.literals[:-1], case.text.places, strict=True)
            if name in (word.list for word in place)
        }
        if not before:  # it stands in answers only
            return list(self.words[name])
        by_count: dict[int, list[str]] = {}
        for word in self.words[name]:
            counts = {_count(language, literal, word) for literal in before}
            if len(counts) == 1:
                by_count.setdefault(counts.pop(), []).append(word)
        by_count.pop(0, None)
        needed = case.needed(name)
        if len(by_count.get(1, ())) >= needed:
            return by_count[1]
        most = max(by_count.values(), key=len, default=[])
        if len(most) < needed:
            raise CntbenchError(
                f"of the {len(self.words[name])} words of parameters.words.{name}, {len(most)} "
                f"have one number of tokens of this model where {{{name}}} stands, and {needed} "
                "are needed",
                hint="Add words.",
            )
        return most


def _encoded(language: Language, text: str) -> Tokens:
    return np.array(language.encode(text), dtype=np.int64)


def _count(language: Language, before: str, word: str) -> int:
    """Return the number of tokens of a word after a text; 0 if it changes the text's own tokens."""
    head = before.rstrip(" ")
    space = before[len(head) :]
    if space and not head:
        head = "a"
    head_tokens = language.encode(head) if head else []
    together = language.encode(head + space + word)
    return len(together) - len(head_tokens) if together[: len(head_tokens)] == head_tokens else 0


def _answers(
    template: Text, words: Mapping[Word, str], lists: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield an answer, or the answers of a range of words."""
    [*ranges] = (word for word, _ in template.places if word.range)
    if not ranges:
        yield template.filled(words)
        return
    [word] = ranges
    fitting = lists[word.list]
    middle = fitting.index(words[Word(word.list, word.number)]) + 1
    for text in fitting[middle:] if word.range == "after" else fitting[:middle]:
        yield template.filled({word: text})
