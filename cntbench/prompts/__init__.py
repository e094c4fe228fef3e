"""Prompts: what a generator makes, one at a time, and the batch that the engine measures on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cntbench.errors import CntbenchError

Tokens = NDArray[np.int64]


class Tokenizer(Protocol):
    """What turns text into tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special ones at its ends."""
        ...


@dataclass(frozen=True)
class Language:
    """What a prompt may be made of.

    Parameters
    ----------
    vocabulary
        Token ids that may be used, dims ``token``.
    chain
        Transition probabilities of the Markov chain that the model was trained on, dims
        ``token, next token`` in the order of ``vocabulary``, if there is such a chain.
    tokenizer
        The model's, if it has one.
    beginning
        Token that stands before every text where a task asks for it, if the model has one.
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
                "is made of text, and the model has no tokenizer",
                hint="Put its tokenizer.json beside the checkpoints, or in Python name it by "
                "tokenizer=; or choose tasks that are made of tokens.",
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
                f"tokens are needed, the model has {len(self.vocabulary)}",
                hint="Make the task's blocks shorter, or use a model with a larger vocabulary.",
            )
        if size * 4 < len(pool):  # rejection spares a permutation of a large vocabulary
            chosen: dict[int, None] = {}
            while len(chosen) < size:
                chosen.setdefault(int(rng.randint(0, len(pool))))
            return pool[np.fromiter(chosen, dtype=np.int64)]
        return pool[rng.permutation(len(pool))[:size]]

    def avoiding(self, rng: np.random.RandomState, size: int, tokens: Tokens) -> Tokens:
        """Draw tokens uniformly from those not given, dims ``token``; from all if none is left.

        Draws are distinct as long as there are enough tokens to choose from.
        """
        pool = self.vocabulary[~np.isin(self.vocabulary, tokens)]
        if len(pool) >= size:
            return self.distinct(rng, size, excluding=tokens)
        spare = Language(pool if len(pool) else self.vocabulary)
        return spare.sample(rng, size)

    def other(self, rng: np.random.RandomState, tokens: Tokens) -> Tokens:
        """Draw, for each token, a different one: the decoys.

        Raises
        ------
        CntbenchError
            If the vocabulary has one token only.
        """
        return np.concatenate([self.distinct(rng, 1, excluding=[int(t)]) for t in tokens])


@dataclass(frozen=True)
class Prompt:
    """One prompt, as a generator makes it.

    Parameters
    ----------
    tokens
        What the model reads, dims ``position``.
    scored
        Positions whose next token is asked for, dims ``scored``.
    targets, decoys
        The right next token and a wrong one to hold it against, dims ``scored``.
    reference
        The corrupted twin, dims ``position``: equal in length, without what the task is about.
    """

    tokens: Tokens
    scored: Tokens
    targets: Tokens
    decoys: Tokens
    reference: Tokens | None = None

    def after(self, token: int) -> Prompt:
        """Return the prompt, and its twin, with a token before it."""
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
        Identity of each prompt, dims ``prompt``: random draws belong to it, so that they do not
        depend on the order or the size of a batch.
    tokens, reference, other
        Token ids, dims ``prompt, position``: the clean prompts, their corrupted twins (or None),
        and for each prompt another one of the task.
    scored, targets, decoys
        Dims ``prompt, scored``.
    further
        More prompts than ``other`` for each prompt, dims ``prompt, draw, position``, where several
        draws are asked for.
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
        return Prompts(
            index=self.index[rows],
            tokens=self.tokens[rows],
            other=self.other[rows],
            scored=self.scored[rows],
            targets=self.targets[rows],
            decoys=self.decoys[rows],
            reference=None if self.reference is None else self.reference[rows],
            further=None if self.further is None else self.further[rows],
        )

    def with_draws(self, draws: int) -> Prompts:
        """Return the prompts with as many others for each as there are draws.

        Draw d takes the prompt that stands d + 1 further on in the order of ``index``, which starts
        again at its end; draw 0 is ``other``.

        Raises
        ------
        CntbenchError
            If there are fewer others.
        """
        _, first, place = np.unique(self.index, return_index=True, return_inverse=True)
        if draws >= len(first):
            raise CntbenchError(
                f"{draws} draws from other prompts need {draws + 1} prompts, and there are "
                f"{len(first)}"
            )
        further = self.tokens[first][(place[:, None] + np.arange(2, draws + 1)) % len(first)]
        return replace(self, further=further)


def seed_sequence(*entropy: int | str) -> np.random.SeedSequence:
    """Return a seed that is fixed by what it is given: numbers, and names of any length."""
    words = [
        int.from_bytes(hashlib.sha256(part.encode()).digest()[:8], "big")
        if isinstance(part, str)
        else part
        for part in entropy
    ]
    return np.random.SeedSequence(words)


def random_state(*entropy: int | str) -> np.random.RandomState:
    """Return a generator whose stream is fixed for all time by what it is given.

    `numpy.random.RandomState` is the one generator whose streams NumPy promises never to change
    (NEP 19), so a spec gives the same prompts under every version.
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
    """Make a batch of prompts; the first *n* are the same however many are asked for.

    Parameters
    ----------
    make
        A generator with its parameters bound.
    language
        Tokens that may be used.
    n_prompts
        How many prompts.
    seed, stream
        Together with a prompt's index they fix its random draws.
    bos
        Token to put before every prompt.
    """
    made = [make(language, random_state(seed, stream, i)) for i in range(n_prompts)]
    if bos is not None:
        made = [prompt.after(bos) for prompt in made]
    tokens = np.stack([prompt.tokens for prompt in made])
    references = [prompt.reference for prompt in made if prompt.reference is not None]
    return Prompts(
        index=np.arange(n_prompts),
        tokens=tokens,
        other=np.roll(tokens, -1, axis=0),
        scored=np.stack([prompt.scored for prompt in made]),
        targets=np.stack([prompt.targets for prompt in made]),
        decoys=np.stack([prompt.decoys for prompt in made]),
        reference=np.stack(references) if references else None,
    )
