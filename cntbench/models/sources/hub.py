"""hub:ORG/NAME@step1000..step143000:1000, revisions of a repository of the Hugging Face hub.

Revisions are names separated by commas (``step0,step512``), ranges with their stride, or a schedule
(``pythia``). They are resolved to commits once. Files come from the hub cache or are downloaded.
The config and the tokenizer of the first revision stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from cntbench.errors import CheckpointError, CntbenchNote, MissingCheckpointError, warn
from cntbench.models import checkpoint_files
from cntbench.models.hub import client, revisions
from cntbench.models.hub.origin import CONFIG, HubRevision
from cntbench.models.hub.problems import offline_hint
from cntbench.models.outline import Outline, pythia
from cntbench.models.stages import place_of
from cntbench.models.steps import NamedStep
from cntbench.models.tokenizer import FILE as TOKENIZER
from cntbench.models.tokenizer import TokenizerFile
from cntbench.models.trajectory import Checkpoint, Trajectory
from cntbench.parallel import Progress

#: Largest number of revisions named in an error.
_NAMED = 8
#: Number of revisions whose file is tried if those before cannot be read.
_TRIED = 3


def open_trajectory(where: str, progress: Progress, specs: Sequence[Path] = ()) -> Trajectory:
    """Resolve revisions to commits; read config and tokenizer of the first existing one.

    Revisions that the repository does not have are gaps in the trajectory. Raises a
    `CheckpointError` if ``where`` is malformed, there is no such repository, it has none of the
    revisions, or the hub cannot be reached and the cache has none of them.
    """
    checkpoints, present = _resolved(where, progress)
    config, tokenizer = _described(present)
    return Trajectory(
        f"hub:{where.partition('@')[0]}",
        checkpoint_files.read_shape(config),
        checkpoints,
        tokenizer=tokenizer,
        config=config,
    )


def outline_trajectory(where: str, progress: Progress, *, tokenizer: bool) -> Trajectory:
    """Resolve revisions if the hub can be reached, downloading at most a config and a tokenizer.

    The config is not downloaded for models whose config comes with cntbench, nor the tokenizer if
    it is not needed. Errors are those of `open_trajectory`, except that these models need no hub.
    """
    repository = where.partition("@")[0]
    outline = pythia().get(repository)
    checkpoints, present = _resolved(where, progress, unknown=outline is not None)
    config = None
    if outline is None:
        config, tokenizer_file = _described(present, only_config=not tokenizer)
        outline = Outline(checkpoint_files.read_config(config))
    else:
        tokenizer_file = _tokenizer(present, download=tokenizer)
    return Trajectory(
        f"hub:{repository}",
        checkpoint_files.shape_of(outline.config),
        checkpoints,
        tokenizer=tokenizer_file,
        config=config,
        outline=outline,
    )


def _resolved(
    where: str, progress: Progress, *, unknown: bool = False
) -> tuple[tuple[Checkpoint, ...], list[HubRevision]]:
    """Return the requested checkpoints, and the revisions whose commits are known.

    With ``unknown``, there may be none.
    """
    repository, _, text = where.partition("@")
    opened = f"hub:{where}"
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise CheckpointError(
            f"{repository!r} is not the name of a repository", where=opened, hint=revisions.EXPECTED
        ) from None
    listed = client.references(repository, ()) if "*" in text else None
    if listed and listed.unreachable and not listed.commits:
        raise _unreachable(listed, repository, opened)
    names = listed.commits if listed else ()
    steps = revisions.named_steps(text, where=opened, present=names)
    progress("resolving revisions", 0, len(steps))
    known = client.references(repository, steps)
    if not known.all_known and ("*" in text or _in_stages(steps)):
        what = "its revisions are not known here, only those in the hub cache"
        warn(f"hub:{repository}: {what}: {known.unreachable}.", CntbenchNote)
    requested = revisions.in_order(steps, where=opened, present=known.commits)
    origins = [
        HubRevision(repository, name, known.commits.get(name, ""), known.unreachable, known.cut_off)
        for name, *_ in requested
    ]
    present = [origin for origin in origins if origin.commit]
    if not present and not (unknown and known.unreachable):
        raise _no_revision(origins, known, repository)
    progress("resolving revisions", len(requested), len(requested))
    checkpoints = tuple(
        Checkpoint(name, step, "", origin, tokens_seen)
        for (name, step, tokens_seen), origin in zip(requested, origins, strict=True)
    )
    return checkpoints, present


def _described(
    present: Sequence[HubRevision], *, only_config: bool = False
) -> tuple[Path, TokenizerFile | None]:
    """Return the folder of the first readable config, and the tokenizer from there on.

    With ``only_config``, the tokenizer comes from the hub cache only.
    """
    problem: CheckpointError | None = None
    unreadable: list[CheckpointError] = []
    for index, origin in enumerate(present):
        try:
            config = _named_file(origin, CONFIG)
        except CheckpointError as error:
            if not origin.cut_off:
                raise
            problem = error
            continue
        if config is None:
            continue
        try:
            checkpoint_files.read_shape(config.parent)
        except CheckpointError as error:
            unreadable.append(error)
            if len(unreadable) == _TRIED:
                break
        else:
            checkpoint_files.note_own_code(config.parent, f"hub:{origin.repository}")
            return config.parent, _tokenizer(present[index:], download=not only_config)
    missing = "none of the revisions has a config.json"
    first = unreadable[0] if unreadable else problem
    raise first or MissingCheckpointError(missing, where=str(present[0]))


def _tokenizer(present: Sequence[HubRevision], *, download: bool) -> TokenizerFile | None:
    """Return the tokenizer of the first revision, if it has one, from the hub or its cache.

    If it cannot be read, those of the next revisions are tried.
    """

    def paths() -> Iterator[Path]:
        for origin in present[:_TRIED]:
            if download:
                path = _named_file(origin, TOKENIZER)
            else:
                folder = client.cached(origin.repository, origin.commit)
                path = folder / TOKENIZER if folder else None
            if path is None or not path.is_file():
                return
            yield path

    return TokenizerFile.first(paths())


def _named_file(origin: HubRevision, name: str) -> Path | None:
    """Return a file of a revision, or None; errors name the file."""
    try:
        return origin.file(name)
    except CheckpointError as error:
        raise type(error)(f"{name} {error.what}", where=error.where, hint=error.hint) from None


def _no_revision(
    origins: Sequence[HubRevision], known: client.References, repository: str
) -> CheckpointError:
    """Return the error for a trajectory without any existing revision."""
    first = origins[0]
    if known.unreachable:
        return _unreachable(known, repository, str(first))
    return CheckpointError(
        f"the repository has no revision {first.name!r}"
        + (f", nor any of the other {len(origins) - 1}" if len(origins) > 1 else ""),
        where=f"hub:{repository}",
        hint=_nearest(first.name, known.commits),
    )


def _in_stages(steps: Mapping[str, NamedStep]) -> bool:
    return any(place_of(named).stage is not None for named in steps.values())


def _unreachable(known: client.References, repository: str, where: str) -> CheckpointError:
    what = f"could not be downloaded: {known.unreachable}"
    return CheckpointError(what, where=where, hint=offline_hint(repository))


def _nearest(name: str, present: Iterable[str]) -> str:
    """Suggest the revision with the nearest step, and list the existing ones."""
    steps = {other: step for other in present if (step := revisions.step_of(other)) is not None}
    if not steps:
        return f"Its revisions are: {', '.join(sorted(present))}. None has a training step."
    target = revisions.step_of(name) or 0
    close = min(steps, key=lambda other: abs(steps[other] - target))
    names = sorted(steps, key=steps.__getitem__)
    if len(names) > _NAMED:
        names[_NAMED - 1 : -1] = ["…"]
    return f"Did you mean {close!r}? {len(steps)} revisions have a step: {', '.join(names)}."
