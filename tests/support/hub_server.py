"""A hub on loopback: one repository with revisions, and faults that can be asked for.

It answers what huggingface_hub asks: the references of a repository, the commit of a revision and
its list of files, and HEAD and GET of single files, with their ETags, their commit, and ranges.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

REPOSITORY = "lab/tiny"
JSON = {"Content-Type": "application/json"}

#: What may go wrong with a file: the server answers ``status``; never answers; closes the
#: connection after ``size`` bytes; serves the file's first ``size`` bytes as if they were all; or
#: sends nothing after ``size`` bytes.
Kind = Literal["status", "hang", "cut", "short", "stall"]


@dataclass
class Fault:
    """Something that goes wrong with a file, so many times, for one method or both."""

    kind: Kind
    times: int = 10**9
    method: str = ""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 1000


@dataclass
class Hub:
    """The repository, what goes wrong with it, and what was asked of it.

    Parameters
    ----------
    folder
        Has a subfolder of files for each revision; they may change while it serves.
    endpoint
        Its address.
    repository
        Its name.
    faults
        By revision and file; ``("", "refs")`` are the references, ``(REVISION, "revision")`` and
        ``(REVISION, "tree")`` what is told of a revision.
    hidden
        Revisions that are served, but not listed among the references.
    moved
        Revisions whose branch has a new commit.
    gated
        Whether files are for people who have accepted terms.
    hanging
        Requests that wait for an answer that never comes, or in half a minute a closed connection.
    requests
        Method, revision (or ``""``), and file of each request about the repository, in order.
    hashes
        Whether the lists of files have hashes of large ones.
    page
        Files on a page of such a list.
    sent
        Bytes of files, by revision and file.
    slept
        How long clients would have waited between attempts, see `use` [s].
    """

    folder: Path
    endpoint: str = ""
    repository: str = REPOSITORY
    faults: dict[tuple[str, str], list[Fault]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    gated: bool = False
    hanging: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    hashes: bool = True
    page: int = 1000
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    slept: list[float] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def commit(self, revision: str, *, moved: bool | None = None) -> str:
        """Return the commit that a branch stands for, or stood for before it was moved."""
        again = "again" if (revision in self.moved if moved is None else moved) else ""
        return hashlib.sha1(f"{revision}{again}".encode()).hexdigest()

    def by_commit(self) -> dict[str, str]:
        """Return the branches by their commits, those before a move too."""
        names = self.revisions()
        return {self.commit(name, moved=moved): name for name in names for moved in (False, True)}

    def revisions(self) -> list[str]:
        """Return the names of all branches."""
        return sorted(path.name for path in self.folder.iterdir())

    def break_(self, revision: str, file: str, kind: Kind, **options: object) -> None:
        """Make something go wrong; faults of a file happen one after the other."""
        self.faults.setdefault((revision, file), []).append(Fault(kind, **options))  # type: ignore[arg-type]

    def mend(self) -> None:
        """Let nothing go wrong any more, and forget what was asked."""
        self.faults.clear()
        self.requests.clear()

    def asked(self, file: str = "model.safetensors", method: str = "GET") -> list[str]:
        """Return the revisions of which a file was asked for, in order, each once."""
        return list(dict.fromkeys(r for m, r, f in self.requests if (m, f) == (method, file)))

    def fault(self, method: str, revision: str, file: str) -> Fault | None:
        """Return what goes wrong with a request, which counts."""
        for fault in self.faults.get((revision, file), ()):
            if fault.times > 0 and fault.method in ("", method):
                fault.times -= 1
                return fault
        return None


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *arguments: object) -> None:
        self.hub = hub
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.answer()

    def do_GET(self) -> None:
        """Answer with a body."""
        self.answer()

    def answer(self) -> None:
        """Find out what is asked for, and answer or fail."""
        match = re.fullmatch(
            rf"/{self.hub.repository}/resolve/(?P<of>[^/]+)/(?P<file>[^/]+)"
            rf"|/api/models/{self.hub.repository}/(?P<list>refs|(revision|tree)/(?P<at>[^/]+))",
            self.path.partition("?")[0],
        )
        if match is None:
            self.refuse(401, "RepoNotFound")
            return
        named = match["of"] or match["at"] or ""
        revision = self.hub.by_commit().get(named, named)
        commit = self.hub.commit(revision) if named == revision else named
        file = match["file"] or match["list"].partition("/")[0]
        self.hub.requests.append((self.command, revision, file))
        fault = self.hub.fault(self.command, revision, file)
        if fault is not None and fault.kind == "hang":
            self.hang()
            return
        if fault is not None and fault.kind == "status":
            self.refuse(fault.status, "", **fault.headers)
            return
        if file == "refs":
            listed = self.references()[: fault.size if fault else None]
            self.reply(200, listed, {"Content-Type": "application/json"})
        elif revision not in self.hub.revisions():
            self.refuse(404, "RevisionNotFound")
        elif file == "tree":
            self.listing(self.files(revision))
        elif match["list"]:
            told = {"id": self.hub.repository, "sha": commit}
            self.reply(200, json.dumps(told).encode(), JSON)
        elif self.hub.gated:
            self.refuse(403, "GatedRepo")
        else:
            self.serve(revision, file, {"X-Repo-Commit": commit}, fault)

    def references(self) -> bytes:
        """Return the list of branches."""
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": self.hub.commit(name)}
            for name in self.hub.revisions()
            if name not in self.hub.hidden
        ]
        return json.dumps({"branches": branches, "tags": [], "converts": []}).encode()

    def listing(self, files: list[dict[str, object]]) -> None:
        """Answer with a page of a list of files, and the address of the next one."""
        path, _, query = self.path.partition("?")
        start = int(query.partition("cursor=")[2] or 0)
        stop = start + self.hub.page
        link = f'<{self.hub.endpoint}{path}?cursor={stop}>; rel="next"'
        headers = {**JSON, "Link": link} if stop < len(files) else JSON
        self.reply(200, json.dumps(files[start:stop]).encode(), headers)

    def files(self, revision: str) -> list[dict[str, object]]:
        """Return the list of a revision's files."""
        return [
            {
                **{"type": "file", "path": path.name, "size": path.stat().st_size},
                **{"oid": path.name, **self.stored_apart(path)},
            }
            for path in sorted((self.hub.folder / revision).iterdir())
        ]

    def stored_apart(self, path: Path) -> dict[str, object]:
        """Return the hash that is listed of a large file."""
        if not self.hub.hashes or path.suffix == ".json":
            return {}
        content = path.read_bytes()
        listed = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return {"lfs": {**listed, "pointerSize": 130}}

    def serve(self, revision: str, file: str, commit: dict[str, str], fault: Fault | None) -> None:
        """Answer with a file of a revision, or what a fault leaves of it."""
        path = self.hub.folder / revision / file
        if not path.is_file():
            self.refuse(404, "EntryNotFound", **commit)
            return
        content = path.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **commit}
        if fault is not None and fault.kind == "short":
            content = content[: fault.size]
        start, status = 0, 200
        wanted_range = self.headers.get("Range", "")
        if wanted_range.startswith("bytes=") and self.command == "GET":
            first, _, last = wanted_range.removeprefix("bytes=").partition("-")
            start, status = int(first), 206
            stop = int(last or len(content) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            content = content[:stop]
        sent = content[start:]
        if self.command == "GET":
            self.hub.sent[revision, file] += len(sent)
        self.reply(status, sent, headers, fault)

    def hang(self) -> None:
        """Send nothing more."""
        self.hub.hanging += 1
        self.hub.stopped.wait(30)
        self.hub.hanging -= 1
        self.close_connection = True

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Answer with an error."""
        reason = {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        self.reply(status, b"", {**reason, **headers})

    def reply(
        self, status: int, content: bytes, headers: dict[str, str], fault: Fault | None = None
    ) -> None:
        """Send an answer, or the beginning of one."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        kind, size = (fault.kind, fault.size) if fault else ("", 0)
        if self.command == "GET":
            self.wfile.write(content[:size] if kind in ("cut", "stall") else content)
        if kind == "stall":
            self.hang()
        if kind == "cut":
            self.close_connection = True


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """Serve a folder that has a subfolder of files for each revision."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process ask a hub, with caches of its own, and wait for nothing for long."""
    from huggingface_hub import constants, file_download, utils
    from huggingface_hub.utils import _http

    from cntbench.models.hub import client

    url = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.5)
    harnesses = str(home / "harnesses.json")
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", harnesses, raising=False)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.5)
    hurried = SimpleNamespace(sleep=hub.slept.append)
    for module in (_http, file_download, client):
        monkeypatch.setattr(module, "time", hurried)
    monkeypatch.setenv("CNTBENCH_CACHE", str(home / "cntbench"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    utils.close_session()
