"""Sentences that pair two words, then the beginning of one of them again.

A template is filled with different words, and the last, incomplete sentence repeats one of the
others up to its second word, which is to be predicted. The decoy is the second word of another
sentence. The corrupted twin fills the complete sentences with other words, so that the answer does
not occur.

Only words that are a single token with the space before them are used, so that all prompts are
equally long. This is induction on text (Olsson et al. 2022, "In-context learning and induction
heads"; Wang et al. 2022, arXiv 2211.00593, for templates filled with names).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from cntbench.errors import CntbenchError
from cntbench.prompts import Language, Prompt, Tokens
from cntbench.prompts.continuations import A_WORD, tokens_after
from cntbench.specs import spec

#: The task needs a model with a tokenizer.
NEEDS_TEXT = True


def _fillable(sentence: str) -> str:
    first, second = sentence.find(" {first}"), sentence.find(" {second}")
    if not 0 <= first < second or sentence.count("{") != 2:
        raise ValueError("it has to contain ' {first}' once, and ' {second}' once after it")
    return sentence


def _different(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(words)) < len(words) or any(not word.isalpha() for word in words):
        raise ValueError("words consist of letters, and each may appear once")
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
        Words for the two places.
    sentences
        Number of complete sentences in a prompt.
    """

    sentence: Annotated[str, AfterValidator(_fillable)]
    first: Words
    second: Words
    sentences: Annotated[int, Field(ge=2, le=256)] = 4

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt, scored at its last position."""
        start, rest = self.sentence.split(" {first}")
        middle, end = rest.split(" {second}")
        pieces = [
            np.array(tokens_after(language, A_WORD, part) if part else [], dtype=np.int64)
            for part in (start, middle, end)
        ]

        def sentence(first: int, second: int) -> Tokens:
            return np.concatenate(
                [pieces[0], [first], pieces[1], [second], pieces[2]], dtype=np.int64
            )

        first, second, others, answers = self._words(language, rng)
        repeated = rng.randint(self.sentences)
        query = np.concatenate([pieces[0], first[repeated : repeated + 1], pieces[1]])
        decoys = np.delete(second, repeated)
        return Prompt(
            tokens=np.concatenate([*map(sentence, first, second), query]),
            scored=np.array([self.sentences * len(sentence(0, 0)) + len(query) - 1]),
            targets=second[repeated : repeated + 1],
            decoys=decoys[[rng.randint(len(decoys))]],
            reference=np.concatenate([*map(sentence, others, answers), query]),
        )

    def _words(self, language: Language, rng: np.random.RandomState) -> tuple[Tokens, ...]:
        """Draw the words of the prompt and of its twin, dims ``sentence``."""
        words = []
        for name in ("first", "second"):
            tokens = [tokens_after(language, A_WORD, f" {word}") for word in getattr(self, name)]
            single = np.array([ids[0] for ids in tokens if len(ids) == 1], dtype=np.int64)
            if len(np.unique(single)) < 2 * self.sentences:
                raise CntbenchError(
                    f"{len(np.unique(single))} of the {len(tokens)} words of parameters.{name} are "
                    f"one token of this model, but {2 * self.sentences} are needed",
                    hint="Add words, or use fewer sentences.",
                )
            chosen = Language(np.unique(single)).distinct(rng, 2 * self.sentences)
            words.append((chosen[: self.sentences], chosen[self.sentences :]))
        (first, others), (second, answers) = words
        return first, second, others, answers
