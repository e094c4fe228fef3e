"""Training of the embedded model, a small GPT-NeoX that learns bigrams, then induction.

Half of every batch consists of walks on a fixed Markov chain, which teach bigram statistics; the
other half of random segments repeated with a random period, which only induction predicts. Bigrams
are learnt within the first steps; induction emerges abruptly a few hundred steps later.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import GPTNeoXConfig

from cntbench.models import checkpoint_files, named_weights
from cntbench.models.foreign import silenced
from cntbench.parallel import Progress
from cntbench.parallel.processes import one_thread
from cntbench.prompts import random_state
from cntbench.prompts.markov import random_chain, walk
from cntbench.specs import spec

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM


@spec
class Recipe:
    """All parameters of the embedded trajectory.

    Parameters
    ----------
    version
        Incremented when the same recipe gives a different trajectory.
    seed
        Seed of the initial weights, of the chain and of the batches.
    layers, hidden, heads, mlp, vocabulary, context
        Sizes of the model.
    initializer_range
        Standard deviation of the initial weights; with the usual 0.02, induction does not emerge
        in such a short training run.
    batch, length
        Sequences in a batch, and tokens in a sequence.
    shortest_period, longest_period
        Range of the period of the repeated segments [tokens].
    sharpness
        Sharpness of the Markov chain; see `cntbench.prompts.markov.random_chain`.
    learning_rate, warmup, weight_decay, clip
        Parameters of AdamW: peak rate, steps of linear warm-up, decay, largest gradient norm.
    spacing, last
        Checkpoints are at steps 0, 1, 2, 4, and every ``spacing`` steps from 8 to ``last``.
    """

    version: int = 1
    seed: int = 0
    layers: int = 3
    hidden: int = 64
    heads: int = 4
    mlp: int = 256
    vocabulary: int = 32
    context: int = 64
    initializer_range: float = 0.1
    batch: int = 48
    length: int = 48
    shortest_period: int = 6
    longest_period: int = 24
    sharpness: float = 1.5
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    spacing: int = 8
    last: int = 1112

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """Training steps of the checkpoints."""
        return (0, 1, 2, 4, *range(8, self.last + 1, self.spacing))

    def chain(self) -> NDArray[np.float64]:
        """Return the chain's transition probabilities, dims ``token, next token``."""
        return random_chain(random_state(self.seed, "chain"), self.vocabulary, self.sharpness)

    def config(self) -> GPTNeoXConfig:
        """Return the model's config."""
        return GPTNeoXConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.mlp,
            max_position_embeddings=self.context,
            rotary_pct=1.0,
            initializer_range=self.initializer_range,
            use_parallel_residual=True,
            bos_token_id=None,
            eos_token_id=None,
        )

    def batches(self) -> Iterator[Tensor]:
        """Yield batches endlessly, dims ``sequence, position``."""
        rng = random_state(self.seed, "batches")
        chain = self.chain()
        walkers = self.batch // 2
        while True:
            tokens = np.empty((self.batch, self.length), dtype=np.int64)
            tokens[:walkers] = walk(rng, chain, self.length, walkers)
            for row in range(walkers, self.batch):
                period = rng.randint(self.shortest_period, self.longest_period + 1)
                tokens[row] = np.resize(rng.randint(0, self.vocabulary, period), self.length)
            yield torch.from_numpy(tokens)


def train(recipe: Recipe, folder: Path, progress: Progress) -> dict[str, str]:
    """Train the model and write each checkpoint to ``folder/step{N}`` in float32.

    Each has its name when it is complete. Returns the revision (SHA-256 of the tensors) of each
    checkpoint by its name.
    """
    # Three seconds, which a trained model does not need.
    from transformers import GPTNeoXForCausalLM

    with silenced(stderr=False), one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = GPTNeoXForCausalLM(recipe.config())
        return _train(model, recipe, folder, progress)


def _train(
    model: GPTNeoXForCausalLM, recipe: Recipe, folder: Path, progress: Progress
) -> dict[str, str]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    warm_up = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / recipe.warmup)
    )
    steps = set(recipe.checkpoint_steps)
    revisions = {}
    for step, tokens in enumerate(recipe.batches()):
        progress("training the embedded model", step, recipe.last)
        if step in steps:
            name = f"step{step}"
            unfinished = folder / f"{name}.unfinished"
            model.save_pretrained(unfinished)
            saved = checkpoint_files.read_tensors(unfinished)
            revisions[name] = named_weights.revision(saved)
            unfinished.rename(folder / name)
        if step == recipe.last:
            break
        logits = model(tokens, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        warm_up.step()
    return revisions
