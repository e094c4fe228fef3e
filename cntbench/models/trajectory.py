"""Trajectories: the ordered checkpoints of one training run, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.errors import CheckpointError
from cntbench.models import checkpoint_files
from cntbench.models.adapters._base import Shape
from cntbench.models.decoder import Decoder
from cntbench.models.tokenizer import ModelTokenizer
from cntbench.prompts import Language

#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a trajectory.

    Parameters
    ----------
    name
        What it is called where it comes from, such as ``step1000``.
    step
        Training step.
    revision
        SHA-256 over the tensors.
    folder
        Where ``config.json`` and the safetensors lie.
    tokens_seen
        Training tokens up to the step, if known.
    """

    name: str
    step: int
    revision: str
    folder: Path
    tokens_seen: int | None = None


@dataclass(frozen=True)
class Untrained:
    """A model of a trajectory's shape that has not been trained.

    Parameters
    ----------
    seed
        Of its initial weights; of another range than those that trajectories are trained with.
    """

    seed: int

    @property
    def name(self) -> str:
        """What its results are called."""
        return f"untrained{self.seed}"


#: What can be measured.
Subject = Checkpoint | Untrained

#: Seed of the first untrained model; seeds of trajectories have nine digits at most.
FIRST_UNTRAINED = 2**31


@dataclass(frozen=True)
class Trajectory:
    """The ordered checkpoints of one training run.

    Parameters
    ----------
    identity
        What it was opened by, in full: ``nano:seed=0``.
    shape
        Components, vocabulary and context, the same at every checkpoint.
    checkpoints
        By rising step.
    chain
        Transition probabilities of the Markov chain it was trained on, if it was.
    tokenizer
        The tokenizer that lies beside the checkpoints, if there is one.
    initialisable
        Whether a model of its config with random initial weights is one that has not been trained.
    """

    identity: str
    shape: Shape
    checkpoints: tuple[Checkpoint, ...]
    chain: NDArray[np.float64] | None = None
    tokenizer: ModelTokenizer | None = None
    initialisable: bool = True

    @property
    def language(self) -> Language:
        """The tokens that prompts may be made of: those that stand for ordinary text."""
        size, tokenizer = self.shape.vocabulary, self.tokenizer
        return Language(
            vocabulary=np.arange(size) if tokenizer is None else tokenizer.safe(size),
            chain=self.chain,
            tokenizer=tokenizer,
            beginning=self.shape.beginning,
        )

    def load(self, checkpoint: Checkpoint) -> Decoder:
        """Read a checkpoint's weights, in float32.

        Raises
        ------
        CheckpointError
            If the weights cannot be read, or are not those that the trajectory was opened with.
        """
        tensors = checkpoint_files.read_tensors(checkpoint.folder)
        if checkpoint_files.revision(tensors) != checkpoint.revision:
            raise CheckpointError(
                "the weights are not those that the trajectory was opened with",
                where=str(checkpoint.folder),
                hint="If the trajectory was changed on purpose, run into a new output folder.",
            )
        return checkpoint_files.decoder(checkpoint.folder, tensors)

    def untrained(self, count: int) -> tuple[Untrained, ...]:
        """Return so many untrained models, none if the trajectory has no such thing."""
        return tuple(Untrained(FIRST_UNTRAINED + i) for i in range(count * self.initialisable))

    def initialise(self, model: Untrained) -> tuple[Checkpoint, Decoder]:
        """Make an untrained model by the first checkpoint's config, as transformers does it.

        Returns
        -------
        Checkpoint
            What it would be as the start of a training run.
        Decoder
            Its weights, in float32.
        """
        folder = self.checkpoints[0].folder
        tensors = checkpoint_files.initialise(folder, model.seed)
        revision = checkpoint_files.revision(tensors)
        checkpoint = Checkpoint(model.name, 0, revision, folder)
        return checkpoint, checkpoint_files.decoder(folder, tensors)


def open_trajectory(text: str, progress: Progress) -> Trajectory:
    """Open a trajectory by its name: ``SOURCE`` or ``SOURCE:WHERE``.

    Parameters
    ----------
    text
        For instance ``nano``, ``nano:seed=3`` or ``dir:PATH``.
    progress
        Told about what takes long.

    Raises
    ------
    CntbenchError
        If there is no such source, or it has no usable trajectory.
    """
    scheme, _, where = text.partition(":")
    source = plugins.find("trajectory source", scheme)
    trajectory: Trajectory = source.open_trajectory(where, progress)
    return trajectory
