"""Trajectories: the ordered checkpoints of one training run, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.errors import CheckpointError, CntbenchError
from cntbench.models import checkpoint_files, named_weights, parity
from cntbench.models.adapters._base import Shape
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign
from cntbench.models.named_weights import Weights
from cntbench.models.origin import Folder, Origin
from cntbench.models.outline import Outline
from cntbench.models.parity import Parity
from cntbench.models.precision import converted
from cntbench.models.products import wide
from cntbench.models.tokenizer import ModelTokenizer
from cntbench.output import file_status
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
        SHA-256 over the tensors that the model uses, as `cntbench.models.named_weights.revision`
        takes it; empty as long as nobody has read them.
    origin
        Where its files come from.
    tokens_seen
        Training tokens up to the step, if known.
    former, unused
        As `cntbench.models.named_weights.Weights` has them, once the weights are read.
    """

    name: str
    step: int
    revision: str
    origin: Origin
    tokens_seen: int | None = None
    former: str = ""
    unused: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What people are told that it is: its name."""
        return self.name

    @property
    def identity(self) -> str:
        """What fixes its weights, as far as that is known before they are read; else empty."""
        return self.origin.identity or self.revision

    def at(self, identity: str) -> Checkpoint:
        """Return the checkpoint at another identity if its origin has a way back to it.

        Or if that is how the revision of the same weights was taken formerly.
        """
        revision = identity if identity and identity == self.former else self.revision
        return replace(self, origin=self.origin.at(identity), revision=revision)


@dataclass(frozen=True)
class Untrained:
    """A model of a trajectory's shape that has not been trained.

    Parameters
    ----------
    seed
        Of its initial weights; of another range than those that trajectories are trained with.
    label
        What people are told that it is: which of how many.
    """

    seed: int
    label: str = field(default="untrained model", compare=False)

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"untrained{self.seed}"


#: What can be measured.
ModelRef = Checkpoint | Untrained

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
    config
        Folder of the ``config.json`` that the shape was read from, if there is one.
    outline
        The model as far as its config says, if no checkpoint is to be read: see
        `outline_trajectory`.
    """

    identity: str
    shape: Shape
    checkpoints: tuple[Checkpoint, ...]
    chain: NDArray[np.float64] | None = None
    tokenizer: ModelTokenizer | None = None
    initialisable: bool = True
    config: Path | None = None
    outline: Outline | None = None

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

    def at(self, identities: Mapping[str, str]) -> Trajectory:
        """Return the trajectory with checkpoints, by their names, at other identities."""
        moved = [c.at(identities.get(c.name) or c.identity) for c in self.checkpoints]
        return replace(self, checkpoints=tuple(moved))

    def untrained(self, count: int) -> tuple[Untrained, ...]:
        """Return so many untrained models, none if the trajectory has no such thing."""
        possible = self.initialisable and (self.config or self.outline) is not None
        return tuple(
            Untrained(FIRST_UNTRAINED + i, f"untrained model {i + 1} of {count}")
            for i in range(count * possible)
        )

    def fetch(self, subject: ModelRef, room: Path | None = None) -> Path:
        """Return the folder of a checkpoint's files, or of an untrained model's config.

        Parameters and errors are those of `cntbench.models.origin.Origin.fetch`.
        """
        if isinstance(subject, Checkpoint):
            return subject.origin.fetch(room)
        if self.config is None:
            raise CheckpointError("has no config to make a model by", where=self.identity)
        return self.config

    def load(self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Decoder:
        """Fetch a checkpoint if need be and read its weights; see `read`."""
        return self.read(checkpoint, self.fetch(checkpoint), dtype)[1]

    def read(
        self, subject: ModelRef, folder: Path, dtype: torch.dtype = torch.float32
    ) -> tuple[Checkpoint, Decoder]:
        """Read and check a checkpoint's weights, or make an untrained model as transformers does.

        Parameters
        ----------
        subject
            What to read or make.
        folder
            Where its files are, as `fetch` says.
        dtype
            Floating-point type of the decoder. The revision is that of the stored weights, of
            those that the model uses.

        Returns
        -------
        Checkpoint
            The same one, its revision known; of an untrained model, what it would be as the start
            of a training run.
        Decoder
            Its weights.

        Raises
        ------
        CheckpointError
            If the weights cannot be read, are not those that the trajectory was opened with, are
            not finite, or are of another shape.
        """
        with foreign("cannot be read", folder):
            if isinstance(subject, Untrained):
                tensors = checkpoint_files.initialise(folder, subject.seed)
                weights = Weights(tensors, tensors)
                subject = Checkpoint(subject.name, 0, "", Folder(folder))
            else:
                weights = self._checked(folder)
            if subject.revision not in ("", weights.revision, weights.former):
                raise CheckpointError(
                    "the weights are not those that the trajectory was opened with",
                    where=str(folder),
                    hint="If the trajectory was changed on purpose, run into a new output folder.",
                )
            model = checkpoint_files.decoder(folder, weights.named, dtype)
            read = replace(
                subject,
                revision=subject.revision or weights.revision,
                former=weights.former,
                unused=weights.unused,
            )
            return read, model

    def verified(
        self, checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32
    ) -> tuple[Checkpoint, Decoder, Parity]:
        """Read a checkpoint, see `read`, and hold it to what transformers loads from its files.

        Raises
        ------
        CheckpointError
            As `read`; a `ParityError` if the two do not compute the same logits.
        """
        checkpoint, exact = self.read(checkpoint, folder, wide(dtype))
        held = parity.of_folder(checkpoint.name, folder, exact)
        return checkpoint, exact if exact.dtype == dtype else converted(exact, dtype), held

    def _checked(self, folder: Path) -> Weights:
        if checkpoint_files.read_shape(folder) != self.shape:
            raise CheckpointError(
                "has other components, vocabulary or context than the rest of the trajectory",
                where=str(folder),
                hint="All checkpoints of a trajectory come from one training run.",
            )
        weights = checkpoint_files.read_weights(folder)
        named_weights.check_finite(weights.stored, where=str(folder))
        return weights


def open_trajectory(text: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Open a trajectory by its name: ``SOURCE`` or ``SOURCE:WHERE``.

    Parameters
    ----------
    text
        For instance ``nano``, ``nano:seed=3``, ``dir:PATH`` or ``hub:ORG/NAME@REVISIONS``.
    progress
        Told about what takes long.
    specs
        Folders of the user's specs, beside those of always.

    Raises
    ------
    CntbenchError
        If there is no such source, or it has no usable trajectory.
    """
    scheme, _, where = text.partition(":")
    source = _source(text, scheme)
    trajectory: Trajectory = source.open_trajectory(where, progress, specs)
    return trajectory


def outline_trajectory(
    text: str, progress: Progress, specs: Sequence[Path] = (), *, tokenizer: bool
) -> Trajectory:
    """Open a trajectory to say what it would cost: where weights would be downloaded, without them.

    Parameters
    ----------
    text, progress, specs
        As `open_trajectory` takes them.
    tokenizer
        Whether the model's tokenizer is needed, if it has one.

    Raises
    ------
    CntbenchError
        If there is no such source, or it has no usable trajectory.
    """
    scheme, _, where = text.partition(":")
    source = _source(text, scheme)
    if not hasattr(source, "outline_trajectory"):
        return open_trajectory(text, progress, specs)
    trajectory: Trajectory = source.outline_trajectory(where, progress, tokenizer=tokenizer)
    return trajectory


def _source(text: str, scheme: str) -> ModuleType:
    """Return the source of a trajectory; of a bare path, the error says how it is written."""
    sources = plugins.room("trajectory source")
    if scheme not in sources and (file_status(Path(text)) or "/" in text):
        raise CntbenchError(
            "is no trajectory",
            where=text,
            hint=f"A folder of checkpoints is written dir:{text}; other sources: "
            f"{', '.join(sources)}.",
        )
    return plugins.find("trajectory source", scheme)
