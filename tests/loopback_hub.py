"""A small hub on loopback: the routes of the hub's API that huggingface_hub and Earshot call, and ways to fail."""

import hashlib
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")
"""Files in Git LFS: they have a SHA-256, and are read from another place, to which the hub redirects."""
TOKEN = "hf_right"
BLOCK_BYTES = 4096


@dataclass
class Repository:
    """A model on the hub.

    commits    folder of each; refs: branches and tags
    access     public, private or gated
    """

    commits: dict[str, Path]
    refs: dict[str, str]
    access: str = "public"


@dataclass
class Behaviour:
    """How the hub fails.

    silent          it accepts and never answers
    status          it answers all with this status
    break_bytes     the body of a large file ends after so many bytes; once each time that this is set
    pause_seconds   before each block of a large file
    wrong           names of files whose bytes are not those that were listed
    page            it answers with a page for people, as what is no hub does
    mute            its listing has neither sizes nor hashes, as of some mirrors
    """

    silent: bool = False
    status: int = 0
    break_bytes: int | None = None
    pause_seconds: float = 0.0
    wrong: set[str] = field(default_factory=set)
    page: bool = False
    mute: bool = False


@dataclass(frozen=True)
class Request:
    """What was asked for: GET, /acme/small/resolve/..., and with what header."""

    method: str
    path: str
    headers: dict[str, str]


class LoopbackHub:
    """with LoopbackHub() as hub: hub.add("acme/small", folder); os.environ["HF_ENDPOINT"] = hub.url"""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.behaviour = Behaviour()
        self.requests: list[Request] = []
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, model: str, folder: Path, commit: str = "a" * 40, *, access: str = "public", **refs: str) -> None:
        """A commit of a model, which is the newest from now on."""
        repository = self.repositories.setdefault(model, Repository({}, {}, access))
        repository.commits[commit] = folder
        repository.refs |= {"main": commit, **refs}

    @property
    def files(self) -> list[str]:
        """The names of the files that were read, in order."""
        return [
            request.path.rpartition("/")[2]
            for request in self.requests
            if request.method == "GET" and "/resolve/" in request.path
        ]

    def wait(self, seconds: float) -> None:
        """Waits, unless the hub ends."""
        self._ended.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(Request(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        how = self.hub.behaviour
        if how.silent:
            self.close_connection = True
            return self.hub.wait(3600)
        if how.status:
            return self._send(how.status, b"", {})
        if how.page:
            return self._send(200, b"<html>Welcome</html>", {"Content-Type": "text/html"})
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            return self._large("/".join(parts[1:3]), parts[3], "/".join(parts[4:]))
        api = parts[:2] == ["api", "models"]
        model = "/".join(parts[2:4] if api else parts[:2])
        rest = parts[4:] if api else parts[2:]
        if (commit := self._allowed(model, rest[1] if len(rest) > 1 else "main")) is None:
            return None
        return self._listing(model, commit) if api else self._resolve(model, commit, "/".join(rest[2:]))

    def _allowed(self, model: str, revision: str) -> str | None:
        """The commit; None if that was refused, as the real hub says it."""
        sent = self.headers.get("Authorization")
        known = sent == f"Bearer {TOKEN}"
        repository = self.hub.repositories.get(model)
        if sent and not known:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (repository.access == "private" and not known):
            self._refuse(404 if known else 401, "RepoNotFound", "Repository not found")
        elif repository.access == "gated" and not known:
            self._refuse(401, "GatedRepo", f"Access to model {model} is restricted.")
        elif repository.access == "gated for you":
            self._refuse(403, "GatedRepo", f"Access to model {model} is restricted and you are not authorized.")
        elif (commit := repository.refs.get(revision, revision)) not in repository.commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return commit
        return None

    def _listing(self, model: str, commit: str) -> None:
        folder = self.hub.repositories[model].commits[commit]
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [self._sibling(path, path.relative_to(folder).as_posix()) for path in paths]
        about = {"_id": "1", "id": model, "modelId": model, "sha": commit, "private": False, "gated": False, "tags": []}
        body = json.dumps({**about, "downloads": 1, "likes": 1, "siblings": siblings}).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _sibling(self, path: Path, name: str) -> dict[str, Any]:
        if self.hub.behaviour.mute:
            return {"rfilename": name}
        tag, size = _tag(path), path.stat().st_size
        if not name.endswith(LARGE):
            return {"rfilename": name, "size": size, "blobId": tag}
        return {
            "rfilename": name,
            "size": size,
            "blobId": "0" * 40,
            "lfs": {"sha256": tag, "size": size, "pointerSize": 1},
        }

    def _resolve(self, model: str, commit: str, name: str) -> None:
        path = self.hub.repositories[model].commits[commit] / name
        if not path.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_tag(path)}"'}
        if not name.endswith(LARGE):
            return self._send(200, path.read_bytes(), headers)
        headers |= {"X-Linked-ETag": f'"{_tag(path)}"', "X-Linked-Size": str(path.stat().st_size)}
        place = f"http://localhost:{self.hub.port}/cdn/{model}/{commit}/{name}"
        return self._send(302, b"", {**headers, "Location": place})

    def _large(self, model: str, commit: str, name: str) -> None:
        how = self.hub.behaviour
        body = (self.hub.repositories[model].commits[commit] / name).read_bytes()
        if name in how.wrong:
            body = bytes(len(body))
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end, how.break_bytes = how.break_bytes, None
        body = body[start:] if end is None else body[start : start + end]
        for at in range(0, len(body), BLOCK_BYTES):
            self.hub.wait(how.pause_seconds)
            self.wfile.write(body[at : at + BLOCK_BYTES])
        self.close_connection = end is not None

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(path: Path) -> str:
    content = path.read_bytes()
    if path.name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    """Waits until a condition holds; fails after a time that no machine should need."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
