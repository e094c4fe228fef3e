"""A model's tokenizer: the tokens of a text, and the tokens that are safe to sample."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from cntbench.errors import CheckpointError
from cntbench.models.foreign import foreign
from cntbench.prompts import Tokens

FILE = "tokenizer.json"


class ModelTokenizer(ABC):
    """A model's tokenizer, in a file or in memory."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of its definition."""

    @property
    @abstractmethod
    def _fast(self) -> tokenizers.Tokenizer:
        """The tokenizer of the tokenizers library."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens at its ends.

        Raises a `CheckpointError` if the tokenizer cannot encode it, for example an unknown word if
        no token stands for those.
        """
        fast = self._fast
        with foreign(f"the tokenizer has no tokens for {text!r}", "tokenizer"):
            tokens: list[int] = fast.encode(text, add_special_tokens=False).ids
        return tokens

    @cached_property
    def beginning(self) -> int | None:
        """The token that it puts before every text unless told otherwise, or None."""
        for text in ("a", "1", "."):  # it may know few words
            with suppress(CheckpointError):
                first = self.encode(text)[:1]
                begun = self._fast.encode(text).ids
                return begun[0] if begun[:1] != first else None
        return None

    def safe(self, vocabulary: int) -> Tokens:
        """Return the ids that stand for ordinary text, in ascending order.

        Special tokens are left out, and so are ids without text: models pad their vocabulary to a
        round number. ``vocabulary`` is the number of token ids of the model.
        """
        special = {i for i, token in self._fast.get_added_tokens_decoder().items() if token.special}
        known = set(self._fast.get_vocab(with_added_tokens=True).values())
        return np.array(sorted(i for i in known - special if i < vocabulary), dtype=np.int64)


@dataclass(frozen=True)
class TokenizerFile(ModelTokenizer):
    """The ``tokenizer.json`` beside a model, as ``save_pretrained`` writes it."""

    path: Path

    @classmethod
    def beside(cls, *folders: Path) -> TokenizerFile | None:
        """Return the first readable tokenizer in the folders, as `first` does."""
        paths = (folder / FILE for folder in folders)
        return cls.first(path for path in paths if path.is_file())

    @classmethod
    def first(cls, paths: Iterable[Path]) -> TokenizerFile | None:
        """Return the first readable tokenizer of some files, or None if there are no files.

        Raises a `CheckpointError` if there are files, but none can be read.
        """
        problem: CheckpointError | None = None
        for path in paths:
            tokenizer = cls(path)
            try:
                tokenizer.safe(0)
            except CheckpointError as error:
                problem = problem or error
            else:
                return tokenizer
        if problem is not None:
            raise problem
        return None

    @property
    def identity(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @cached_property
    def _fast(self) -> tokenizers.Tokenizer:
        with foreign("is not a tokenizer", self.path):
            return _whole(tokenizers.Tokenizer.from_file(str(self.path)))


@dataclass(frozen=True)
class TokenizerObject(ModelTokenizer):
    """A tokenizer in memory, ``fast``."""

    fast: tokenizers.Tokenizer

    @classmethod
    def of(cls, tokenizer: Any) -> TokenizerObject:
        """Wrap a tokenizer of transformers or tokenizers.

        Raises a `CheckpointError` if it is neither, or a slow tokenizer of transformers.
        """
        fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(fast, tokenizers.Tokenizer):
            raise CheckpointError(
                "is not a tokenizer that tasks can use",
                where=type(tokenizer).__name__,
                hint="Pass what transformers' AutoTokenizer.from_pretrained returns for a model "
                f"that has a {FILE}, or a tokenizers.Tokenizer.",
            )
        # Transformers sets this at every call, so the one before must not count.
        split = getattr(tokenizer, "split_special_tokens", fast.encode_special_tokens)
        return cls(_whole(fast, split_special=split))

    @property
    def identity(self) -> str:
        """SHA-256 of its ``tokenizer.json``."""
        return hashlib.sha256(self.fast.to_str().encode()).hexdigest()

    @property
    def _fast(self) -> tokenizers.Tokenizer:
        return self.fast


def _whole(fast: tokenizers.Tokenizer, *, split_special: bool = False) -> tokenizers.Tokenizer:
    """Return a tokenizer that neither cuts nor pads texts, nor merges at random.

    Transformers leaves the former switched on; the latter, BPE dropout, is meant for training.
    ``split_special`` says whether special tokens that a text names are text as any other.
    """
    dropout = getattr(fast.model, "dropout", None)
    limited = fast.padding is not None or fast.truncation is not None
    if not (limited or dropout) and fast.encode_special_tokens == split_special:
        return fast
    whole = tokenizers.Tokenizer.from_str(fast.to_str())
    whole.encode_special_tokens = split_special
    whole.no_padding()
    whole.no_truncation()
    if dropout:
        whole.model.dropout = None
    return whole
