"""Sentences that say who goes with what, then the beginning of one of them again.

Some sentences of one form are filled with different words, and the last one repeats one of the
first up to its second word, which is asked for: what followed last time. The decoy is the second
word of another sentence. The corrupted twin fills the sentences with other words and keeps the
last, incomplete one, so that nothing is to be looked up.

Words are taken as far as they are one token each, with the space before them, so that all prompts
are equally long. This is induction on text (Olsson et al. 2022, "In-context learning and induction
heads"; Wang et al. 2022, arXiv 2211.00593, for templates filled with names).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompt, Tokens
from cntbench.specs import spec

#: The task cannot be made of tokens alone: it asks for a model with a tokenizer.
NEEDS_TEXT = True


def _fillable(sentence: str) -> str:
    first, second = sentence.find(" {first}"), sentence.find(" {second}")
    if not 0 <= first < second or sentence.count("{") != 2:
        raise ValueError("it has ' {first}' once, and after it ' {second}' once")
    return sentence


def _different(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(words)) < len(words) or any(not word.isalpha() for word in words):
        raise ValueError("words are letters only, and each may stand once")
    return words


Words = Annotated[tuple[str, ...], Field(min_length=2, strict=False), AfterValidator(_different)]


@spec
class Parameters:
    """Parameters of the generator.

    Parameters
    ----------
    sentence
        A sentence with ``{first}`` and, after it, ``{second}``, each with a space before it.
    first, second
        Words for either place.
    sentences
        Whole sentences in a prompt.
    """

    sentence: Annotated[str, AfterValidator(_fillable)]
    first: Words
    second: Words
    sentences: Annotated[int, Field(ge=2, le=256)] = 4

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt, scored at its last position."""
        start, rest = self.sentence.split(" {first}")
        middle, end = rest.split(" {second}")
        pieces = [np.array(language.encode(part), dtype=np.int64) for part in (start, middle, end)]

        def sentence(first: int, second: int) -> Tokens:
            return np.concatenate(
                [pieces[0], [first], pieces[1], [second], pieces[2]], dtype=np.int64
            )

        first, second, others, answers = self._words(language, rng)
        asked = rng.randint(self.sentences)
        query = np.concatenate([pieces[0], first[asked : asked + 1], pieces[1]])
        decoys = np.delete(second, asked)
        return Prompt(
            tokens=np.concatenate([*map(sentence, first, second), query]),
            scored=np.array([self.sentences * len(sentence(0, 0)) + len(query) - 1]),
            targets=second[asked : asked + 1],
            decoys=decoys[[rng.randint(len(decoys))]],
            reference=np.concatenate([*map(sentence, others, answers), query]),
        )

    def _words(self, language: Language, rng: np.random.RandomState) -> tuple[Tokens, ...]:
        """Draw the words of the prompt, then those of its twin, dims ``sentence``."""
        drawn = []
        for name in ("first", "second"):
            tokens = [language.encode(f" {word}") for word in getattr(self, name)]
            single = np.array([ids[0] for ids in tokens if len(ids) == 1], dtype=np.int64)
            if len(np.unique(single)) < 2 * self.sentences:
                raise CntbenchError(
                    f"{len(np.unique(single))} of the {len(tokens)} words of parameters.{name} are "
                    f"one token of this model, and {2 * self.sentences} are needed",
                    hint="Give more words, or ask for fewer sentences.",
                )
            chosen = Language(np.unique(single)).distinct(rng, 2 * self.sentences)
            drawn.append((chosen[: self.sentences], chosen[self.sentences :]))
        (first, others), (second, answers) = drawn
        return first, second, others, answers
