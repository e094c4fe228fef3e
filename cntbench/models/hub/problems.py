"""Errors of the hub and the network: what they mean, and what a user is told."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cntbench.errors import CheckpointError, MissingCheckpointError

#: Answers that ask to come again.
_AGAIN = (408, 429)
#: What huggingface_hub says of a file of another size than it should have.
_HALF = "Consistency check failed"


def refusal(
    error: BaseException, repository: str, where: str, cut_off: str = ""
) -> CheckpointError:
    """Return what a user is told about an error of the hub or the network."""
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            "the repository is gated",
            where=where,
            hint=f"Accept its terms at {constants.ENDPOINT}/{repository}, then log in with hf auth "
            "login, or set HF_TOKEN.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"there is no repository {repository!r} at {constants.ENDPOINT}, or it is private",
            where=where,
            hint="Check the name; for a private repository log in with hf auth login, or set "
            "HF_TOKEN.",
        )
    if isinstance(error, RevisionNotFoundError):
        return MissingCheckpointError("the repository has no such revision", where=where)
    if status_of(error) == 404:
        return MissingCheckpointError("the hub does not find its files", where=where)
    if status_of(error) in (401, 403):
        return CheckpointError(
            f"access is refused: {explained(error)}",
            where=where,
            hint="Log in with hf auth login, or set HF_TOKEN.",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return CheckpointError(
            f"could not be kept: {error.strerror}",
            where=where,
            hint="Make room, or name another folder: -o for a run's downloads, HF_HUB_CACHE for "
            "the hub cache.",
        )
    return CheckpointError(
        f"could not be had: {cut_off or explained(error)}",
        where=where,
        hint=offline_hint(repository),
    )


def offline_hint(repository: str) -> str:
    """Return how to go on without a network."""
    return (
        "To go on without a network, put it into the hub cache where there is one: hf download "
        f"{repository} config.json tokenizer.json model.safetensors --revision REVISION"
    )


def explained(error: BaseException) -> str:
    """Return in a few words why the hub gave nothing."""
    status = status_of(error)
    if status is not None:
        return f"the hub answers {status}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    said = str(error).partition("\n")[0] or type(error).__name__
    if not isinstance(error, OSError):
        return f"the hub cannot be reached ({said})"
    return f"the download is not whole ({said})" if said.startswith(_HALF) else said


def is_from_outside(error: BaseException) -> bool:
    """Whether an error is the hub's, the network's or the disk's, and no mistake of a program."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in ("httpx", "httpx2")


def is_cut_off(error: BaseException) -> bool:
    """Whether no request can get through, as far as one error can tell."""
    names = ("ConnectError", "ConnectTimeout")
    return isinstance(error, OfflineModeIsEnabled) or type(error).__name__ in names


def is_worth_another_attempt(error: BaseException) -> bool:
    """Whether huggingface_hub gives up at once on what may pass: an error, half a file."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _AGAIN
    return isinstance(error, OSError) and error.errno is None


def status_of(error: BaseException) -> int | None:
    """Return the status that the hub answered with, None if it did not."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
