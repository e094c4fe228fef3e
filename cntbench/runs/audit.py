"""The integrity of a trajectory: checkpoints that are missing, damaged, repeated or out of line.

Its checkpoints are read whole or by samples. `cntbench.results.integrity` looks at a result.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from cntbench.models import checkpoint_files, gguf_files, weight_files
from cntbench.models.adapters import adapter
from cntbench.models.hub.origin import HubRevision
from cntbench.models.outline import parameters
from cntbench.models.trajectory import Checkpoint, Trajectory
from cntbench.models.weight_samples import WeightSample, joined, sample_safetensors, sample_tensors
from cntbench.parallel import Progress
from cntbench.results.failure import Failure
from cntbench.results.film import originals
from cntbench.results.integrity import Audited
from cntbench.runs.lineage import lineage_breaks
from cntbench.runs.prefetch import THREADS, Prefetch
from cntbench.specs import content_hash


@dataclass(frozen=True)
class AuditedWeights(Audited):
    """The integrity of one checkpoint, and what was read of its weights."""

    sample: WeightSample = field(default_factory=WeightSample)

    @property
    def hashes_only(self) -> bool:
        """Whether no more than hashes of the files are known."""
        return self.sampled and not self.sample.values


def audit_trajectory(
    trajectory: Trajectory, progress: Progress, *, keep: int = 2, whole: bool = False
) -> list[AuditedWeights]:
    """Check all checkpoints of a trajectory.

    Checkpoints on this machine are read and hashed. Of those of a hub, only the headers of the
    files and samples of the tensors are read.

    Parameters
    ----------
    keep
        Number of downloaded checkpoints to keep on disk besides the one being read.
    whole
        Whether checkpoints of a hub are downloaded, read and deleted.
    """
    sampled = {} if whole else _sampled(trajectory, progress)
    others = [checkpoint for checkpoint in trajectory.checkpoints if checkpoint not in sampled]
    read = sampled | _read(trajectory, others, progress, keep)
    return checked([read[checkpoint] for checkpoint in trajectory.checkpoints])


def _sampled(trajectory: Trajectory, progress: Progress) -> dict[Checkpoint, AuditedWeights]:
    """Read samples of the checkpoints that are on a hub only, several at a time."""
    origins = {
        checkpoint: checkpoint.origin
        for checkpoint in trajectory.checkpoints
        if isinstance(checkpoint.origin, HubRevision) and not checkpoint.origin.is_here()
    }
    buffers = _buffers(trajectory)

    def audited(checkpoint: Checkpoint) -> AuditedWeights:
        origin = origins[checkpoint]
        try:
            sample = origin.sample(buffers)
        except Exception as error:
            failure = Failure.of(error, origin)
            return _row(checkpoint, failure.status, failure.reason)
        row = _row(replace(checkpoint, revision=_revision(sample)), "ok", "")
        return replace(row, sample=sample, sampled=True)

    rows: dict[Checkpoint, AuditedWeights] = {}
    with ThreadPoolExecutor(THREADS) as threads:
        for checkpoint, row in zip(origins, threads.map(audited, origins), strict=True):
            rows[checkpoint] = row
            progress("sampling checkpoints", len(rows), len(origins))
    return rows


def _revision(sample: WeightSample) -> str:
    """Return the hash of a checkpoint by those of its files, or empty if one is unknown."""
    digests = [*sample.files.values()]
    if len(digests) == 1 or not all(digests):
        return digests[0] if len(digests) == 1 else ""
    return content_hash(sample.files)


def _buffers(trajectory: Trajectory) -> tuple[str, ...]:
    """Return the endings of the names of stored tensors that are no weights of their own."""
    if trajectory.config is None:
        return ()
    config = checkpoint_files.read_config(trajectory.config)
    tied = parameters(config).tied if config.tie_word_embeddings else ()
    return (*getattr(adapter(config.model_type), "BUFFERS", ()), *tied)


def _read(
    trajectory: Trajectory, checkpoints: Sequence[Checkpoint], progress: Progress, keep: int
) -> dict[Checkpoint, AuditedWeights]:
    """Fetch, read and hash checkpoints, and delete those that were downloaded for it."""
    rows: dict[Checkpoint, AuditedWeights] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cntbench-") as folder,
        Prefetch(checkpoints, trajectory.fetch, Path(folder) / "rooms", 1 + keep) as ahead,
    ):
        fetching = deque(ahead.start())
        while fetching:
            checkpoint, fetched = fetching.popleft()
            assert isinstance(checkpoint, Checkpoint)
            progress("reading checkpoints", len(rows), len(checkpoints))
            if not ahead.postpone(checkpoint, fetched.exception()):
                rows[checkpoint] = _audited(trajectory, checkpoint, fetched)
                ahead.release(checkpoint)
            fetching.extend(ahead.start())
    if checkpoints:
        progress("reading checkpoints", len(checkpoints), len(checkpoints))
    return rows


def _audited(
    trajectory: Trajectory, checkpoint: Checkpoint, fetched: Future[Path]
) -> AuditedWeights:
    location: object = checkpoint.origin
    try:
        location = fetched.result()
        read, _ = trajectory.read(checkpoint, fetched.result())
        sample = _folder_sample(fetched.result(), _buffers(trajectory))
    except Exception as error:
        failure = Failure.of(error, location)
        return _row(checkpoint, failure.status, failure.reason)
    return replace(_row(read, "ok", ""), sample=sample)


def _folder_sample(folder: Path, buffers: Sequence[str]) -> WeightSample:
    """Return the sample of a checkpoint in a folder, with the hashes of its files."""
    if gguf_files.find(folder) is not None:
        return sample_tensors(checkpoint_files.read_tensors(folder), buffers)
    samples = {path.name: _file_sample(path, buffers) for path in weight_files.find(folder)}
    return joined(samples)


def _file_sample(path: Path, buffers: Sequence[str]) -> WeightSample:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()

        def read(start: int, stop: int) -> bytes:
            file.seek(start)
            return file.read(stop - start)

        if path.suffix == ".safetensors":
            size = path.stat().st_size
            sample = sample_safetensors(read, size, buffers=buffers, where=str(path))
        else:
            sample = sample_tensors(dict(weight_files.tensors(path)), buffers)
    return replace(sample, files={path.name: digest})


def _row(checkpoint: Checkpoint, status: str, reason: str) -> AuditedWeights:
    return AuditedWeights(checkpoint.name, checkpoint.step, checkpoint.revision, status, reason)


def checked(rows: Sequence[AuditedWeights]) -> list[AuditedWeights]:
    """Mark checkpoints that repeat others, wholly or in a file, or break the lineage."""
    rows = _with_duplicates(rows)
    ok = [index for index, row in enumerate(rows) if row.status == "ok"]
    samples = [rows[index].sample for index in ok]
    reasons: dict[int, list[str]] = {index: [] for index in ok}
    for index, repeated in zip(ok, _repeated([rows[i] for i in ok]), strict=True):
        reasons[index] += repeated
    for at, reason in lineage_breaks([rows[i].step for i in ok], samples).items():
        reasons[ok[at]].append(reason)
    marked = list(rows)
    for index in ok:
        if reasons[index]:
            marked[index] = replace(rows[index], status="suspect", reason="; ".join(reasons[index]))
    return marked


def _repeated(rows: Sequence[AuditedWeights]) -> Iterator[list[str]]:
    """Yield what each checkpoint shares with an earlier one, or how it differs from most."""
    known = (frozenset(row.sample.tensors.items()) for row in rows if row.sample.tensors)
    usual = Counter(known).most_common(1)
    first: dict[str, str] = {}
    for index, row in enumerate(rows):
        reasons = [
            f"{file} is that of {first[digest]}"
            for file, digest in row.sample.files.items()
            if digest in first
        ]
        before = rows[index - 1]
        if not reasons and row.sampled and index and row.sample.distance(before.sample) == 0:
            reasons = [f"its samples are those of {before.checkpoint}, in another file"]
        own = row.sample.tensors
        if own and (other := sorted({*own.items()} ^ usual[0][0])):
            reasons.append(f"its tensors are not those of most checkpoints: {other[0][0]!r}")
        for digest in filter(None, row.sample.files.values()):
            first.setdefault(digest, row.checkpoint)
        yield reasons


def _with_duplicates(rows: Sequence[AuditedWeights]) -> list[AuditedWeights]:
    """Mark checkpoints with the weights of an earlier one as duplicates."""
    ok = [row for row in rows if row.status == "ok" and row.revision]
    first = originals([row.checkpoint for row in ok], [row.revision for row in ok])
    duplicates = {
        row.checkpoint: replace(row, status="duplicate", reason=f"same weights as {original}")
        for row, original in zip(ok, first, strict=True)
        if original is not None
    }
    return [duplicates.get(row.checkpoint, row) for row in rows]
