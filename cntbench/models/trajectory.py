"""Trajectories: the ordered checkpoints of one training run, from any source."""

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
from cntbench.files.output import file_status
from cntbench.models import checkpoint_files, named_weights, parity
from cntbench.models.adapters._base import Shape
from cntbench.models.checkpoint_choice import choose
from cntbench.models.decoder import Decoder
from cntbench.models.foreign import foreign
from cntbench.models.named_weights import Weights
from cntbench.models.origin import Folder, Origin
from cntbench.models.outline import Outline
from cntbench.models.parity import Parity
from cntbench.models.precision import converted
from cntbench.models.products import wide
from cntbench.models.tokenizer import ModelTokenizer
from cntbench.parallel import Progress
from cntbench.prompts import Language


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a trajectory.

    Parameters
    ----------
    name
        Its name at the source, such as ``step1000``.
    step
        Training step.
    revision
        SHA-256 of the tensors that the model uses, see `cntbench.models.named_weights.revision`;
        empty until they have been read.
    origin
        Where its files come from.
    tokens_seen
        Training tokens up to the step, if known.
    unused
        See `cntbench.models.named_weights.Weights`; known once the weights have been read.
    """

    name: str
    step: int
    revision: str
    origin: Origin
    tokens_seen: int | None = None
    unused: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name in messages."""
        return self.name

    @property
    def identity(self) -> str:
        """What identifies its weights before they are read, or empty."""
        return self.origin.identity or self.revision

    def at(self, identity: str) -> Checkpoint:
        """Return the checkpoint at another identity, if its origin can go back to it."""
        return replace(self, origin=self.origin.at(identity))


@dataclass(frozen=True)
class Untrained:
    """An untrained model of a trajectory's shape, by the seed of its initial weights.

    Seeds are outside the range of those of trajectories. ``label`` is its name in messages.
    """

    seed: int
    label: str = field(default="untrained model", compare=False)

    @property
    def name(self) -> str:
        """Its name in files."""
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
        Its full name, such as ``nano:seed=0``.
    shape
        Components, vocabulary and context, the same at every checkpoint.
    checkpoints
        By ascending step.
    chain
        Transition probabilities of the Markov chain that it was trained on, if any.
    tokenizer
        The tokenizer beside the checkpoints, if there is one.
    initialisable
        Whether random initial weights for its config give an untrained model.
    config
        Folder of the ``config.json`` that the shape was read from, if there is one.
    outline
        What the config says of the model, if no checkpoint will be read: see `outline_trajectory`.
    experts
        Whether each expert of a mixture is a component.
    finish
        Waits for the end of the training, if the model is being trained, and returns the
        trajectory.
    """

    identity: str
    shape: Shape
    checkpoints: tuple[Checkpoint, ...]
    chain: NDArray[np.float64] | None = None
    tokenizer: ModelTokenizer | None = None
    initialisable: bool = True
    config: Path | None = None
    outline: Outline | None = None
    experts: bool = False
    finish: Callable[[], Trajectory] | None = None

    def finished(self) -> Trajectory:
        """Return the trajectory when its model has been trained, with all revisions."""
        if self.finish is None:
            return self
        trained = {checkpoint.name: checkpoint for checkpoint in self.finish().checkpoints}
        checkpoints = tuple(trained[checkpoint.name] for checkpoint in self.checkpoints)
        return replace(self, checkpoints=checkpoints, finish=None)

    @property
    def language(self) -> Language:
        """The tokens that prompts may contain: those that stand for ordinary text."""
        size, tokenizer = self.shape.vocabulary, self.tokenizer
        return Language(
            vocabulary=np.arange(size) if tokenizer is None else tokenizer.safe(size),
            chain=self.chain,
            tokenizer=tokenizer,
            beginning=self.shape.beginning,
            size=size,
            context=self.shape.context,
        )

    def at(self, identities: Mapping[str, str]) -> Trajectory:
        """Return the trajectory with the named checkpoints at other identities."""
        moved = [c.at(identities.get(c.name) or c.identity) for c in self.checkpoints]
        return replace(self, checkpoints=tuple(moved))

    def chosen(self, checkpoints: str) -> Trajectory:
        """Return the trajectory with some of its checkpoints.

        Errors are those of `cntbench.models.checkpoint_choice.choose`.
        """
        names, steps = ([getattr(c, key) for c in self.checkpoints] for key in ("name", "step"))
        indices = choose(checkpoints, names, steps)
        return replace(self, checkpoints=tuple(self.checkpoints[index] for index in indices))

    def by_experts(self, *, where: str) -> Trajectory:
        """Return the trajectory with each expert of a mixture as a component of its own.

        Raises a `SpecError` that names ``where`` if the model has none.
        """
        return replace(self, shape=self.shape.by_experts(where=where), experts=True)

    def untrained(self, count: int) -> tuple[Untrained, ...]:
        """Return ``count`` untrained models, or none if the trajectory cannot initialise one."""
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
            raise CheckpointError("has no config to make a model from", where=self.identity)
        return self.config

    def load(self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Decoder:
        """Fetch a checkpoint if necessary and read its weights; see `read`."""
        return self.read(checkpoint, self.fetch(checkpoint), dtype)[1]

    def read(
        self, subject: ModelRef, folder: Path, dtype: torch.dtype = torch.float32
    ) -> tuple[Checkpoint, Decoder]:
        """Read and check a checkpoint's weights, or initialise an untrained model.

        Takes the folder that `fetch` returned for it. Returns the checkpoint with the revision of
        its stored weights (for an untrained model, a checkpoint at step 0) and its decoder. Raises
        a `CheckpointError` if the weights cannot be read, differ from those that the trajectory was
        opened with, are not finite, or have another shape.
        """
        with foreign("cannot be read", folder):
            if isinstance(subject, Untrained):
                tensors = checkpoint_files.initialise(folder, subject.seed)
                weights = Weights(tensors, tensors)
                subject = Checkpoint(subject.name, 0, "", Folder(folder))
            else:
                weights = self._checked(folder)
            if subject.revision not in ("", weights.revision):
                raise CheckpointError(
                    "the weights have changed since the trajectory was opened",
                    where=str(folder),
                    hint="If the trajectory was changed on purpose, run into a new output folder.",
                )
            checkpoint = replace(subject, revision=weights.revision, unused=weights.unused)
            decoder = checkpoint_files.decoder(folder, weights.named, dtype)
            return checkpoint, decoder.by_experts() if self.experts else decoder

    def verified(
        self, checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32
    ) -> tuple[Checkpoint, Decoder, Parity]:
        """Read a checkpoint and compare it with the model that transformers loads from its files.

        Errors are those of `read`, and a `ParityError` if the two compute different logits.
        """
        checkpoint, exact = self.read(checkpoint, folder, wide(dtype))
        held = parity.of_folder(checkpoint.name, folder, exact)
        return checkpoint, converted(exact, dtype), held

    def _checked(self, folder: Path) -> Weights:
        shape = checkpoint_files.read_shape(folder)
        if (shape.by_experts(where=str(folder)) if self.experts else shape) != self.shape:
            raise CheckpointError(
                "differs from the rest of the trajectory in components, vocabulary or context",
                where=str(folder),
                hint="All checkpoints of a trajectory have to come from one training run.",
            )
        weights = checkpoint_files.read_weights(folder)
        named_weights.check_finite(weights.stored, where=str(folder))
        return weights


def open_trajectory(
    text: str,
    progress: Progress,
    specs: Sequence[Path] = (),
    *,
    checkpoints: str = "",
    early: bool = False,
) -> Trajectory:
    """Open a trajectory by its name: ``SOURCE`` or ``SOURCE:WHERE``.

    Raises a `CntbenchError` if there is no such source, or it has no usable trajectory or no such
    checkpoint.

    Parameters
    ----------
    text
        For instance ``nano``, ``nano:seed=3``, ``dir:PATH`` or ``hub:ORG/NAME@REVISIONS``.
    specs
        Folders of the user's specs, in addition to the standard ones.
    checkpoints
        Which checkpoints; see `cntbench.models.checkpoint_choice`. By default all.
    early
        Whether to return while the model is still being trained by another process.
    """
    source, where = _source(text)
    trajectory: Trajectory
    if getattr(source, "CHOOSES", False):
        trajectory = source.open_trajectory(where, progress, specs, checkpoints)
        return trajectory
    if hasattr(source, "planned_steps"):  # report a mistake before training starts
        planned: dict[str, int] = source.planned_steps(where)
        choose(checkpoints, [*planned], [*planned.values()])
    begin = getattr(source, "begin_trajectory", None) if early else None
    trajectory = (begin or source.open_trajectory)(where, progress, specs)
    return trajectory.chosen(checkpoints)


def outline_trajectory(
    text: str,
    progress: Progress,
    specs: Sequence[Path] = (),
    *,
    tokenizer: bool,
    checkpoints: str = "",
) -> Trajectory:
    """Open a trajectory to estimate its cost, without downloading weights.

    Parameters and errors are those of `open_trajectory`; ``tokenizer`` says whether the model's
    tokenizer is needed.
    """
    source, where = _source(text)
    if not hasattr(source, "outline_trajectory"):
        return open_trajectory(text, progress, specs, checkpoints=checkpoints)
    trajectory: Trajectory = source.outline_trajectory(where, progress, tokenizer=tokenizer)
    return trajectory.chosen(checkpoints)


def seeded(text: str, seed: int) -> str:
    """Return the name of a trajectory with another seed.

    Raises a `CntbenchError` if there is no such source, or its trajectories have no seed, or the
    name has one.

    Examples
    --------
    >>> seeded("nano", 3), seeded("planted:chain", 3)
    ('nano:seed=3', 'planted:chain,seed=3')
    """
    source, where = _source(text)
    scheme = text.partition(":")[0]
    if not hasattr(source, "with_seed"):
        sources = plugins.room("trajectory source")
        having = [name for name, plugin in sources.items() if hasattr(plugin.module, "with_seed")]
        raise CntbenchError(
            f"trajectories of {scheme} have no seed",
            hint=f"Those of {' and '.join(having)} have. Measure each training by a run; "
            "cntbench claims FILE FILE ... pools them.",
        )
    return f"{scheme}:{source.with_seed(where, seed)}"


def _source(text: str) -> tuple[ModuleType, str]:
    """Return the source of a trajectory, and what it opens; a bare path gets a hint."""
    scheme, _, where = text.partition(":")
    sources = plugins.room("trajectory source")
    if scheme not in sources and (file_status(Path(text)) or "/" in text):
        raise CntbenchError(
            "is not a trajectory",
            where=text,
            hint=f"A folder of checkpoints is written dir:{text}; other sources: "
            f"{', '.join(sources)}.",
        )
    return plugins.find("trajectory source", scheme), where
