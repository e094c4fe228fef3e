"""A small tokenizer, made as those of real models are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = "<|endoftext|>"


def write_tokenizer(folder: Path, texts: Iterable[str], *, size: int = 600) -> Tokenizer:
    """Train a byte-level BPE on some texts and save it as ``tokenizer.json``.

    Its first token is special.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def tokenizer_of(words: Iterable[str], *, unknown: int) -> Tokenizer:
    """Return a tokenizer with the ids 0, 1 … for words between spaces, and one for all others."""
    ids = {**{word: i for i, word in enumerate(words)}, "?": unknown}
    tokenizer = Tokenizer(models.WordLevel(ids, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def write_words(folder: Path, text: str) -> Tokenizer:
    """Save a tokenizer of which each word of a text, whatever is around it, is one token."""
    words = {word: i for i, word in enumerate(dict.fromkeys(re.findall(r"\w+|[.,?]", text)))}
    tokenizer = Tokenizer(models.WordLevel({**words, "[UNK]": len(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_llama2(folder: Path, texts: Iterable[str]) -> Tokenizer:
    """Save a tokenizer as that of Llama 2: a space before every text, and digits one by one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [space, pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([*texts, "0123456789"], trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer
