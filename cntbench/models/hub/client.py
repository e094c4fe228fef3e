"""Requests to the hub: the commits of a repository's revisions, and single files.

The last list of a repository's revisions is stored in the user's cache folder, so that the same
trajectory can be opened without a network.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    _CACHED_NO_EXIST,
    constants,
    get_cached_repo_tree,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import (
    build_hf_headers,
    disable_progress_bars,
    hf_raise_for_status,
    http_backoff,
    http_stream_backoff,
)

from cntbench.errors import CheckpointError, without_credentials
from cntbench.files.parsing import parse_json
from cntbench.models.cache import cache_folder
from cntbench.models.hub import problems
from cntbench.models.hub.patience import patient

#: Retries of requests to the hub's API.
ATTEMPTS = 2
#: Pauses before retrying a file, in addition to the retries of huggingface_hub [s].
PAUSES = (2.0, 10.0)


@dataclass(frozen=True)
class References:
    """Commit hashes by the names of a repository's branches and tags.

    ``unreachable`` says why they come from the cache, or is empty; ``cut_off`` whether there is no
    network, so that files are not requested either; ``all_known`` whether all of the repository's
    are there.
    """

    commits: dict[str, str]
    unreachable: str = ""
    cut_off: bool = False
    all_known: bool = True


def references(repository: str, revisions: Iterable[str]) -> References:
    """Return the commits of the branches and tags of a repository, ``ORG/NAME``.

    If the hub cannot be reached, they are those of the last list, or, where their files are not in
    the hub cache, those that the cache has of the wanted revisions. Raises a `CheckpointError` if
    there is no such repository, or access is refused.
    """
    silence_hub()
    try:
        commits = _commits(next(_pages(f"{repository}/refs")))
    except Exception as error:
        if not problems.is_from_outside(error):
            raise
        if isinstance(error, RepositoryNotFoundError) or problems.status_of(error) in (401, 403):
            raise problems.refusal(error, repository, f"hub:{repository}") from None
        recorded = _recorded(repository)
        names = {*revisions, *(() if recorded else _names_in_cache(repository))}
        newer = [n for n in names if n not in recorded or not cached(repository, recorded[n])]
        commits = recorded | _cached(repository, newer)
        reason, cut_off = problems.explained(error), problems.is_cut_off(error)
        return References(commits, reason, cut_off=cut_off, all_known=bool(recorded))
    _record(repository, commits)
    return References(commits)


def file(
    repository: str, commit: str, name: str, *, where: str, room: Path | None, cut_off: str
) -> Path | None:
    """Return a file of a commit, downloading it if necessary; None if the commit has no such file.

    It is downloaded into the folder ``room``, or into the hub cache. ``cut_off`` says why nothing
    can be downloaded, or is empty.
    """
    silence_hub()
    if room is None and _is_known_to_lack(repository, commit, name):
        return None
    for pause in (*PAUSES, None):
        try:
            with patient():
                path = hf_hub_download(
                    repository,
                    name,
                    revision=commit,
                    local_dir=room,
                    local_files_only=bool(cut_off),
                )
            return Path(path)
        except LocalEntryNotFoundError as error:
            raise problems.refusal(error.__cause__ or error, repository, where, cut_off) from None
        except EntryNotFoundError:
            return None
        except Exception as error:
            if not problems.is_from_outside(error):
                raise
            if pause is None or not problems.is_worth_another_attempt(error):
                raise problems.refusal(error, repository, where) from None
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


class ListedFile(NamedTuple):
    """A file of a commit, as the hub lists it: its size [bytes], and its SHA-256 or empty."""

    size: int
    sha256: str


def listing(repository: str, commit: str, *, where: str) -> dict[str, ListedFile]:
    """Return the files of a commit by name."""
    silence_hub()
    try:
        return {
            str(file["path"]): ListedFile(
                int(file["size"]), str((file.get("lfs") or {}).get("oid", ""))
            )
            for page in _pages(f"{repository}/tree/{commit}")
            for file in parse_json(page)
            if file["type"] == "file"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError("the hub does not list its files", where=where) from None
    except Exception as error:
        if not problems.is_from_outside(error):
            raise
        raise problems.refusal(error, repository, where) from None


def part(repository: str, commit: str, name: str, start: int, stop: int, *, where: str) -> bytes:
    """Return a range of a file's bytes, from `start` to before `stop`.

    Raises a `CheckpointError` if it could not be obtained, or the server sends only whole files.
    """
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    try:
        with (
            patient(),
            http_stream_backoff(
                "GET",
                hf_hub_url(repository, name, revision=commit),
                max_retries=ATTEMPTS,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                headers=build_hf_headers() | headers,
            ) as response,
        ):
            hf_raise_for_status(response)
            content: bytes = response.read() if response.status_code == 206 else b""
    except Exception as error:
        if not problems.is_from_outside(error):
            raise
        raise problems.refusal(error, repository, where) from None
    if len(content) != stop - start:
        raise CheckpointError(
            f"the hub does not send parts of {name}",
            where=where,
            hint="cntbench audit --whole downloads it.",
        )
    return content


def cached(repository: str, commit: str) -> Path | None:
    """Return the folder of a commit in the hub cache, if its config is there."""
    path = try_to_load_from_cache(repository, "config.json", revision=commit)
    return Path(path).parent if isinstance(path, str) else None


def _pages(path: str) -> Iterator[str]:
    """Yield the answers of the hub's API about a model: one, or the pages of a long list."""
    url = f"{constants.ENDPOINT}/api/models/{path}"
    while url:
        with patient():
            response = http_backoff(
                "GET",
                url,
                max_retries=ATTEMPTS,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
                headers=build_hf_headers(),
            )
        hf_raise_for_status(response)
        yield response.text
        url = response.links.get("next", {}).get("url", "")


def _is_known_to_lack(repository: str, commit: str, name: str) -> bool:
    """Return whether the hub cache records that a commit has no such file."""
    if try_to_load_from_cache(repository, name, revision=commit) is _CACHED_NO_EXIST:
        return True
    try:
        tree = get_cached_repo_tree(repository, revision=commit)
    except CachedRepoTreeNotFoundError:
        return False
    return name not in {file.path for file in tree}


def _commits(answer: str) -> dict[str, str]:
    try:
        references = parse_json(answer)
        return {
            str(reference["name"]): str(reference["targetCommit"])
            for kind in ("tags", "branches")
            for reference in references[kind]
        }
    except (ValueError, KeyError, TypeError):
        raise OSError("the server is not a hub: it lists no revisions") from None


def silence_hub() -> None:
    """Turn off the reports of huggingface_hub, unless the user has turned them on."""
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    if "HF_HUB_VERBOSITY" not in os.environ:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _cached(repository: str, revisions: Iterable[str]) -> dict[str, str]:
    """Return the commits of revisions that are in the hub cache."""
    folders = {name: cached(repository, name) for name in revisions}
    return {name: folder.name for name, folder in folders.items() if folder is not None}


def _names_in_cache(repository: str) -> list[str]:
    """Return the names of the revisions that are in the hub cache."""
    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"))
    return sorted(path.name for path in (folder / "refs").glob("*") if path.is_file())


def _record_path(repository: str) -> Path:
    return cache_folder() / "hub" / f"{repository.replace('/', '--')}.json"


def _record(repository: str, commits: dict[str, str]) -> None:
    path = _record_path(repository)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    text = json.dumps({"endpoint": _endpoint(), "commits": commits}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        return  # only a later run without a network needs it
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _recorded(repository: str) -> dict[str, str]:
    try:
        record = parse_json(_record_path(repository).read_text(encoding="utf-8"))
        commits = {str(name): str(commit) for name, commit in record["commits"].items()}
        return commits if record["endpoint"] == _endpoint() else {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _endpoint() -> str:
    """Return the hub's address without credentials."""
    return without_credentials(constants.ENDPOINT)
