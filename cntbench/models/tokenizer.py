"""A model's tokenizer: how words become tokens, and which tokens are safe to sample."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
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
    """A model's tokenizer, wherever it is."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of what it is made by."""

    @property
    @abstractmethod
    def _fast(self) -> tokenizers.Tokenizer:
        """The library's object."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special ones at its ends."""
        found: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return found

    def safe(self, vocabulary: int) -> Tokens:
        """Return the ids that stand for ordinary text, rising.

        Special tokens are left out, and so are ids that the model has logits for but the tokenizer
        no text: models pad their vocabulary to a round number.

        Parameters
        ----------
        vocabulary
            Number of token ids that the model has.
        """
        special = {i for i, token in self._fast.get_added_tokens_decoder().items() if token.special}
        known = set(self._fast.get_vocab(with_added_tokens=True).values())
        return np.array(sorted(i for i in known - special if i < vocabulary), dtype=np.int64)


@dataclass(frozen=True)
class TokenizerFile(ModelTokenizer):
    """The tokenizer that lies beside a model.

    Parameters
    ----------
    path
        A ``tokenizer.json``, as ``save_pretrained`` writes it.
    """

    path: Path

    @classmethod
    def beside(cls, *folders: Path) -> TokenizerFile | None:
        """Return the tokenizer of the first folder whose can be read, None if there is none.

        Raises
        ------
        CheckpointError
            If there are some, and none can be read.
        """
        problem: CheckpointError | None = None
        for path in (folder / FILE for folder in folders):
            if not path.is_file():
                continue
            try:
                return cls.read(path)
            except CheckpointError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return None

    @classmethod
    def read(cls, path: Path) -> TokenizerFile:
        """Return the tokenizer of a file.

        Raises
        ------
        CheckpointError
            If it is none.
        """
        made = cls(path)
        made.safe(0)
        return made

    @property
    def identity(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @cached_property
    def _fast(self) -> tokenizers.Tokenizer:
        with foreign("is not a tokenizer", self.path):
            return tokenizers.Tokenizer.from_file(str(self.path))


@dataclass(frozen=True)
class TokenizerObject(ModelTokenizer):
    """A tokenizer in memory.

    Parameters
    ----------
    fast
        The library's object.
    """

    fast: tokenizers.Tokenizer

    @classmethod
    def of(cls, tokenizer: Any) -> TokenizerObject:
        """Return a tokenizer of transformers, or of tokenizers, as what tasks use.

        Raises
        ------
        CheckpointError
            If it is neither, or one of transformers that is not built on tokenizers.
        """
        fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(fast, tokenizers.Tokenizer):
            raise CheckpointError(
                "is not a tokenizer that tasks can use",
                where=type(tokenizer).__name__,
                hint="Give what transformers' AutoTokenizer.from_pretrained returns for a model "
                f"that has a {FILE}, or a tokenizers.Tokenizer.",
            )
        return cls(fast)

    @property
    def identity(self) -> str:
        """SHA-256 of the ``tokenizer.json`` that it would be saved as."""
        return hashlib.sha256(self.fast.to_str().encode()).hexdigest()

    @property
    def _fast(self) -> tokenizers.Tokenizer:
        return self.fast
