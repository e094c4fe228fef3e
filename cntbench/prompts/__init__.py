"""Prompts: single ones, which generators make, and the batch that the engine measures on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cntbench.errors import CntbenchError

Tokens = NDArray[np.int64]

#: Pads prompts that are shorter than others of their batch.
PADDING = -1


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
    size
        Number of token ids of the model, if known: a user's prompts may use all of them.
    context
        Longest prompt of the model [tokens], if known.
    """

    vocabulary: Tokens
    chain: NDArray[np.float64] | None = None
    tokenizer: Tokenizer | None = None
    beginning: int | None = None
    size: int | None = None
    context: int | None = None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises a `CntbenchError` if the model has no tokenizer, or one with more tokens than it has
        itself.
        """
        if self.tokenizer is None:
            raise CntbenchError(
                "consists of text, but the model has no tokenizer",
                hint="Put its tokenizer.json beside the checkpoints (of a GGUF file, AutoTokenizer "
                "with gguf_file= and save_pretrained write it), pass tokenizer= in Python, or "
                "choose tasks that consist of tokens.",
            )
        tokens = self.tokenizer.encode(text)
        if self.size is not None and tokens and max(tokens) >= self.size:
            raise CntbenchError(
                f"{text!r} has token {max(tokens)}, outside the vocabulary of {self.size} tokens",
                hint="The tokenizer is not that of the model.",
            )
        return tokens

    def sample(self, rng: np.random.RandomState, size: int) -> Tokens:
        """Draw tokens independently and uniformly, dims ``token``."""
        return self.vocabulary[rng.randint(0, len(self.vocabulary), size)]

    def distinct(
        self, rng: np.random.RandomState, size: int, *, excluding: Sequence[int] | Tokens = ()
    ) -> Tokens:
        """Draw tokens uniformly without replacement, dims ``token``.

        Raises a `CntbenchError` if the vocabulary is too small.
        """
        pool = self.vocabulary
        if len(excluding):  # of a single token, numpy.isin would take 20 times as long
            excluded = pool == excluding[0] if len(excluding) == 1 else np.isin(pool, excluding)
            pool = pool[~excluded]
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
        """Draw a different token for each token: the decoys; errors are those of `distinct`."""
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
        The correct next token and a wrong one for comparison, dims ``scored``; or sets of them,
        dims ``scored, alternative``, with `PADDING` at the end of smaller ones.
    reference
        The corrupted twin, dims ``position``, without the structure that the task tests. It may
        only differ in length if no ablation needs its positions to correspond to the prompt's.
    origin
        File and line of a user's prompt, for messages.
    summed
        Whether the scored positions are those of one answer's tokens, over which readouts are
        summed; else readouts are means over them.
    """

    tokens: Tokens
    scored: Tokens
    targets: Tokens
    decoys: Tokens
    reference: Tokens | None = None
    origin: str | None = None
    summed: bool = False

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
    """A batch of prompts; shorter ones are padded with `PADDING`.

    Parameters
    ----------
    index
        Identity of each prompt, dims ``prompt``. It seeds random draws, which therefore do not
        depend on the order or size of a batch.
    tokens, reference, other
        Token ids, dims ``prompt, position``: the clean prompts, their corrupted twins (or None),
        and another prompt of the task for each prompt.
    scored, targets, decoys
        Dims ``prompt, scored``, padded like the prompts; of sets ``prompt, scored, alternative``.
    further
        Further prompts for each prompt, dims ``prompt, draw, position``, if there are several
        draws.
    anchors
        The first scored position, at which prompts are aligned, dims ``prompt, which``: of the
        prompt and its twin, of the other prompt, and of further ones. None if all prompts have the
        same length and the same first scored position, and so are aligned from the start.
    origin
        File and line of each prompt, dims ``prompt``; None if they are generated.
    summed
        See `Prompt`, dims ``prompt``, all alike; None if readouts are means.
    """

    index: Tokens
    tokens: Tokens
    other: Tokens
    scored: Tokens
    targets: Tokens
    decoys: Tokens
    reference: Tokens | None = None
    further: Tokens | None = None
    anchors: Tokens | None = None
    origin: NDArray[np.str_] | None = None
    summed: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: slice | Tokens) -> Prompts:
        """Return some of the prompts, chosen along ``prompt``."""
        arrays: dict[str, Any] = {
            name: None if array is None else array[rows] for name, array in vars(self).items()
        }
        return Prompts(**arrays)

    @property
    def distinct(self) -> Prompts:
        """The prompts without those that repeat another one's ``index``."""
        _, first = np.unique(self.index, return_index=True)
        return self if len(first) == len(self) else self.take(np.sort(first))

    def groups(self) -> list[Tokens | slice]:
        """Return the rows of prompts that have length, anchor and number of scored positions in
        common: each group is a batch of one shape, as soon as it is `cut`."""
        if self.anchors is None:
            return [slice(None)]
        keys = np.stack([lengths(self.tokens), self.anchors[:, 0], lengths(self.scored)], axis=1)
        _, group = np.unique(keys, axis=0, return_inverse=True)
        return [np.flatnonzero(group == number) for number in range(group.max() + 1)]

    def cut(self, corpora: Collection[str]) -> Prompts:
        """Return the prompts of a group without the padding that they do not need.

        Prompts that run together keep the length of the longest one; twins and others run beside
        the clean prompts if ``corpora`` names ``"reference"`` and ``"other"``.
        """
        if self.anchors is None:
            return self
        beside = {"reference": [self.reference], "other": [self.other, self.further]}
        used = [self.tokens, *(array for name in corpora for array in beside.get(name, ()))]
        width = max(int(lengths(array).max()) for array in used if array is not None)
        scored = int(lengths(self.scored).max())
        texts = {
            name: None if (array := getattr(self, name)) is None else array[..., :width]
            for name in ("tokens", "reference", "other", "further")
        }
        answers = {
            name: getattr(self, name)[:, :scored] for name in ("scored", "targets", "decoys")
        }
        arrays: dict[str, Any] = {**texts, **answers}
        return replace(self, **arrays)

    @property
    def length(self) -> int:
        """Length of each prompt of a group [tokens]."""
        return int(lengths(self.tokens[0]))

    @property
    def unequal_twin(self) -> int | None:
        """The first row whose twin is not as long as the prompt itself, or None."""
        if self.anchors is None or self.reference is None:
            return None
        rows = np.flatnonzero(lengths(self.reference) != lengths(self.tokens))
        return int(rows[0]) if len(rows) else None

    def with_draws(self, draws: int) -> Prompts:
        """Return the prompts with one other prompt per draw for each of them.

        Draw d takes the prompt d + 1 places later in the cyclic order of ``index``; draw 0 is
        ``other``. Raises a `CntbenchError` if there are too few prompts.
        """
        if self.further is not None and self.further.shape[1] == draws - 1:
            return self
        _, first, rank = np.unique(self.index, return_index=True, return_inverse=True)
        if draws >= len(first):
            raise CntbenchError(
                f"{draws} draws from other prompts need {draws + 1} prompts, but there are "
                f"{len(first)}",
                hint="Measure more prompts (--prompts), or name an ablation with fewer draws.",
            )
        rows = first[(rank[:, None] + np.arange(2, draws + 1)) % len(first)]
        anchors = self.anchors
        if anchors is not None:
            anchors = np.concatenate([anchors[:, :2], anchors[rows, 0]], axis=1)
        return replace(self, further=self.tokens[rows], anchors=anchors)


def lengths(tokens: Tokens) -> Tokens:
    """Return the lengths of prompts, dims ``…, position``, without their padding."""
    counts: Tokens = (tokens != PADDING).sum(axis=-1)
    return counts


def batch(prompts: Sequence[Prompt]) -> Prompts:
    """Return prompts as a batch, numbered in order; the ``other`` of each is the next one.

    Raises a `CntbenchError` if some prompts have a twin and others have none.
    """
    twins = [prompt.reference for prompt in prompts if prompt.reference is not None]
    if 0 < len(twins) < len(prompts):
        raise CntbenchError(
            f"{len(twins)} of {len(prompts)} prompts have a corrupted twin",
            hint="Make a reference for every prompt of the task, or for none.",
        )
    longest = max(len(tokens) for tokens in [*(prompt.tokens for prompt in prompts), *twins])
    tokens = _stack([prompt.tokens for prompt in prompts], longest)
    anchors = np.array([prompt.scored[0] for prompt in prompts])
    count = max(len(prompt.scored) for prompt in prompts)
    shapes = {(len(p.tokens), p.scored[0], len(p.scored)) for p in prompts}
    shapes |= {(len(tokens), anchors[0], count) for tokens in twins}
    targets, decoys = (
        _stack_answers([getattr(prompt, name) for prompt in prompts])
        for name in ("targets", "decoys")
    )
    if targets.ndim != decoys.ndim:
        targets, decoys = (x if x.ndim == 3 else x[..., None] for x in (targets, decoys))
    return Prompts(
        index=np.arange(len(prompts)),
        tokens=tokens,
        other=np.roll(tokens, -1, axis=0),
        scored=_stack([prompt.scored for prompt in prompts], count),
        targets=targets,
        decoys=decoys,
        reference=_stack(twins, longest) if twins else None,
        anchors=np.stack([anchors, np.roll(anchors, -1)], axis=1) if len(shapes) > 1 else None,
        origin=np.array([p.origin for p in prompts]) if prompts[0].origin is not None else None,
        # One token is its own sum.
        summed=np.ones(len(prompts), dtype=bool) if any(p.summed for p in prompts) else None,
    )


def _stack(rows: Sequence[Tokens], *sizes: int) -> Tokens:
    """Return arrays side by side, each padded to the given sizes."""
    stacked = np.full((len(rows), *sizes), PADDING, dtype=np.result_type(*rows))
    for row, padded in zip(rows, stacked, strict=True):
        padded[tuple(map(slice, row.shape))] = row
    return stacked


def _stack_answers(rows: Sequence[Tokens]) -> Tokens:
    """Return next tokens, dims ``prompt, scored``, or sets of them, one more dim."""
    count = max(len(row) for row in rows)
    if all(row.ndim == 1 for row in rows):
        return _stack(rows, count)
    sets = [row if row.ndim == 2 else row[:, None] for row in rows]
    return _stack(sets, count, max(row.shape[1] for row in sets))


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
    """Make a batch of prompts by the ``make`` of a generator's parameters.

    Seed, stream and index determine the random draws of a prompt: the first *n* do not depend on
    the size of the batch. ``bos`` is a token to prepend to every prompt.
    """
    prompts = [make(language, random_state(seed, stream, i)) for i in range(n_prompts)]
    if bos is not None:
        prompts = [prompt.after(bos) for prompt in prompts]
    return batch(prompts)
