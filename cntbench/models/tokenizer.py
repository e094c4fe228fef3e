"""A model's tokenizer: how words become tokens, and which tokens are safe to sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from cntbench.errors import CheckpointError
from cntbench.prompts import Tokens

FILE = "tokenizer.json"


@dataclass(frozen=True)
class ModelTokenizer:
    """The tokenizer that lies beside a model.

    Parameters
    ----------
    path
        A ``tokenizer.json``, as ``save_pretrained`` writes it.
    """

    path: Path

    @classmethod
    def beside(cls, *folders: Path) -> ModelTokenizer | None:
        """Return the tokenizer of the first folder that has one."""
        paths = (folder / FILE for folder in folders)
        return next((cls(path) for path in paths if path.is_file()), None)

    @cached_property
    def _fast(self) -> tokenizers.Tokenizer:
        try:
            return tokenizers.Tokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"is not a tokenizer: {error}", where=str(self.path)) from None

    @property
    def identity(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

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
