"""Errors of the hub and the network: their meaning, and messages for users."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cntbench.errors import CheckpointError, HubTimeoutError, MissingCheckpointError
from cntbench.models.hub.patience import VARIABLE, SilentHubError

#: Status codes that ask to retry.
_AGAIN = (408, 429)
#: Message of huggingface_hub for a file of the wrong size.
_INCOMPLETE = "Consistency check failed"
_LOG_IN = "log in with hf auth login, or set HF_TOKEN"


def refusal(
    error: BaseException, repository: str, where: str, cut_off: str = ""
) -> CheckpointError:
    """Return the error to show for an error of the hub or the network."""
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            "the repository is gated",
            where=where,
            hint=f"Accept its terms at {constants.ENDPOINT}/{repository}, then {_LOG_IN}.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"there is no repository {repository!r} at {constants.ENDPOINT}, or it is private",
            where=where,
            hint=f"Check the name; for a private repository, {_LOG_IN}.",
        )
    if isinstance(error, RevisionNotFoundError):
        return MissingCheckpointError("the repository has no such revision", where=where)
    if status_of(error) == 404:
        return MissingCheckpointError("the hub cannot find its files", where=where)
    if status_of(error) in (401, 403):
        return CheckpointError(
            f"access is refused: {explained(error)}",
            where=where,
            hint=f"{_LOG_IN[0].upper()}{_LOG_IN[1:]}.",
        )
    if isinstance(error, SilentHubError):
        return HubTimeoutError(
            f"could not be downloaded: {error}",
            where=where,
            hint=f"{VARIABLE} says how many seconds to wait.",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return CheckpointError(
            f"could not be stored: {error.strerror}",
            where=where,
            hint="Free some space, or use another folder: -o for a run's downloads, HF_HUB_CACHE "
            "for the hub cache.",
        )
    return CheckpointError(
        f"could not be downloaded: {cut_off or explained(error)}",
        where=where,
        hint=offline_hint(repository),
    )


def offline_hint(repository: str) -> str:
    """Return how to continue without a network."""
    return (
        "To work offline, download it into the hub cache on a machine with a network: hf download "
        f"{repository} config.json tokenizer.json model.safetensors --revision REVISION"
    )


def explained(error: BaseException) -> str:
    """Return in a few words why a request failed."""
    status = status_of(error)
    if status is not None:
        return f"the hub answers {status}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    message = str(error).partition("\n")[0] or type(error).__name__
    if not isinstance(error, OSError):
        return f"the hub cannot be reached ({message})"
    return f"the download is incomplete ({message})" if message.startswith(_INCOMPLETE) else message


def is_from_outside(error: BaseException) -> bool:
    """Return whether an error comes from the hub, the network or the disk, and is no defect."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in ("httpx", "httpx2")


def is_cut_off(error: BaseException) -> bool:
    """Return whether an error means that there is no network."""
    names = ("ConnectError", "ConnectTimeout")
    return isinstance(error, OfflineModeIsEnabled) or type(error).__name__ in names


def is_worth_another_attempt(error: BaseException) -> bool:
    """Return whether an error may be temporary and huggingface_hub does not retry."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _AGAIN
    return (
        isinstance(error, OSError) and error.errno is None and not isinstance(error, SilentHubError)
    )


def status_of(error: BaseException) -> int | None:
    """Return the status code of the hub's answer, or None."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
