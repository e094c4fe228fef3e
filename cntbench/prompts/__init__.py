"""Prompts: single ones, which generators make, and the batch that the engine measures on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cntbench.errors import CntbenchError

Tokens = NDArray[np.int64]


class Tokenizer(Protocol):
    """Converts text to tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens at its ends."""
        ...


@dataclass(frozen=True)
class Language:
    """What a prompt may consist of.

    Parameters
    ----------
    vocabulary
        Allowed token ids, dims ``token``.
    chain
        Transition probabilities of the Markov chain that the model was trained on, if any, dims
        ``token, next token`` in the order of ``vocabulary``.
    tokenizer
        The model's tokenizer, if it has one.
    beginning
        Token for the beginning of a text, if the model has one; put first if a task asks for it.
    """

    vocabulary: Tokens
    chain: NDArray[np.float64] | None = None
    tokenizer: Tokenizer | None = None
    beginning: int | None = None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises
        ------
        CntbenchError
            If the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise CntbenchError(
                "consists of text, but the model has no tokenizer",
                hint="Put its tokenizer.json beside the checkpoints, pass tokenizer= in Python, or "
                "choose tasks that consist of tokens.",
            )
        return self.tokenizer.encode(text)

    def sample(self, rng: np.random.RandomState, size: int) -> Tokens:
        """Draw tokens independently and uniformly, dims ``token``."""
        return self.vocabulary[rng.randint(0, len(self.vocabulary), size)]

    def distinct(
        self, rng: np.random.RandomState, size: int, *, excluding: Sequence[int] | Tokens = ()
    ) -> Tokens:
        """Draw tokens uniformly without replacement, dims ``token``.

        Raises
        ------
        CntbenchError
            If the vocabulary is too small.
        """
        pool = self.vocabulary
        if len(excluding):
            pool = pool[~np.isin(pool, np.asarray(excluding))]
        if size > len(pool):
            raise CntbenchError(
                f"the vocabulary is too small: {size + len(self.vocabulary) - len(pool)} distinct "
                f"tokens are needed, but the model has {len(self.vocabulary)}",
                hint="Make the task's blocks shorter, or use a model with a larger vocabulary.",
            )
        if size * 4 < len(pool):  # rejection avoids permuting a large vocabulary
            chosen: dict[int, None] = {}
            while len(chosen) < size:
                chosen.setdefault(int(rng.randint(0, len(pool))))
            return pool[np.fromiter(chosen, dtype=np.int64)]
        return pool[rng.permutation(len(pool))[:size]]

    def avoiding(self, rng: np.random.RandomState, size: int, tokens: Tokens) -> Tokens:
        """Draw tokens uniformly from those other than ``tokens``, or from all if none is left.

        Draws are distinct if there are enough tokens. Dims ``token``.
        """
        pool = self.vocabulary[~np.isin(self.vocabulary, tokens)]
        if len(pool) >= size:
            return self.distinct(rng, size, excluding=tokens)
        return Language(pool if len(pool) else self.vocabulary).sample(rng, size)

    def other(self, rng: np.random.RandomState, tokens: Tokens) -> Tokens:
        """Draw a different token for each token: the decoys.

        Raises
        ------
        CntbenchError
            If the vocabulary has only one token.
        """
        return np.concatenate([self.distinct(rng, 1, excluding=[int(t)]) for t in tokens])


@dataclass(frozen=True)
class Prompt:
    """One prompt, made by a generator.

    Parameters
    ----------
    tokens
        Token ids, dims ``position``.
    scored
        Positions at which the next token is predicted, dims ``scored``.
    targets, decoys
        The correct next token and a wrong one for comparison, dims ``scored``.
    reference
        The corrupted twin, dims ``position``: of equal length, without the structure that the task
        tests.
    """

    tokens: Tokens
    scored: Tokens
    targets: Tokens
    decoys: Tokens
    reference: Tokens | None = None

    def after(self, token: int) -> Prompt:
        """Return the prompt and its twin with a token prepended."""
        return replace(
            self,
            tokens=np.concatenate([[token], self.tokens]),
            scored=self.scored + 1,
            reference=None if self.reference is None else np.concatenate([[token], self.reference]),
        )


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts of equal shape.

    Parameters
    ----------
    index
        Identity of each prompt, dims ``prompt``. It seeds random draws, which therefore do not
        depend on the order or size of a batch.
    tokens, reference, other
        Token ids, dims ``prompt, position``: the clean prompts, their corrupted twins (or None),
        and another prompt of the task for each prompt.
    scored, targets, decoys
        Dims ``prompt, scored``.
    further
        Further prompts for each prompt, dims ``prompt, draw, position``, if there are several
        draws.
    """

    index: Tokens
    tokens: Tokens
    other: Tokens
    scored: Tokens
    targets: Tokens
    decoys: Tokens
    reference: Tokens | None = None
    further: Tokens | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: slice | Tokens) -> Prompts:
        """Return some of the prompts, chosen along ``prompt``."""
        arrays: dict[str, Any] = {
            name: None if array is None else array[rows] for name, array in vars(self).items()
        }
        return Prompts(**arrays)

    def with_draws(self, draws: int) -> Prompts:
        """Return the prompts with one other prompt per draw for each of them.

        Draw d takes the prompt d + 1 places later in the cyclic order of ``index``; draw 0 is
        ``other``.

        Raises
        ------
        CntbenchError
            If there are too few prompts.
        """
        _, first, rank = np.unique(self.index, return_index=True, return_inverse=True)
        if draws >= len(first):
            raise CntbenchError(
                f"{draws} draws from other prompts need {draws + 1} prompts, but there are "
                f"{len(first)}"
            )
        further = self.tokens[first][(rank[:, None] + np.arange(2, draws + 1)) % len(first)]
        return replace(self, further=further)


def seed_sequence(*entropy: int | str) -> np.random.SeedSequence:
    """Return the seed that numbers and names of any length determine."""
    words = [
        int.from_bytes(hashlib.sha256(part.encode()).digest()[:8], "big")
        if isinstance(part, str)
        else part
        for part in entropy
    ]
    return np.random.SeedSequence(words)


def random_state(*entropy: int | str) -> np.random.RandomState:
    """Return the random generator that numbers and names determine.

    `numpy.random.RandomState` is the only generator whose streams NumPy promises never to change
    (NEP 19), so that a spec gives the same prompts under every version.
    """
    return np.random.RandomState(np.random.MT19937(seed_sequence(*entropy)))


def generate(
    make: Callable[[Language, np.random.RandomState], Prompt],
    language: Language,
    *,
    n_prompts: int,
    seed: int,
    stream: str,
    bos: int | None = None,
) -> Prompts:
    """Make a batch of prompts; the first *n* do not depend on the size of the batch.

    Parameters
    ----------
    make
        The ``make`` method of a generator's parameters.
    language
        What prompts may consist of.
    n_prompts
        Number of prompts.
    seed, stream
        Together with a prompt's index, they determine its random draws.
    bos
        Token to prepend to every prompt.
    """
    prompts = [make(language, random_state(seed, stream, i)) for i in range(n_prompts)]
    if bos is not None:
        prompts = [prompt.after(bos) for prompt in prompts]
    tokens = np.stack([prompt.tokens for prompt in prompts])
    references = [prompt.reference for prompt in prompts if prompt.reference is not None]
    return Prompts(
        index=np.arange(n_prompts),
        tokens=tokens,
        other=np.roll(tokens, -1, axis=0),
        scored=np.stack([prompt.scored for prompt in prompts]),
        targets=np.stack([prompt.targets for prompt in prompts]),
        decoys=np.stack([prompt.decoys for prompt in prompts]),
        reference=np.stack(references) if references else None,
    )
