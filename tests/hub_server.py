"""A Hub on loopback: serves model folders over the endpoints that huggingface_hub asks, and fails when told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "a" * 40


@dataclass
class Hub:
    """`models` by id; the first `failures` requests get a 503; `gated` ids let nobody read files."""

    models: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    failures: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        if self.failures > 0:
            self.failures -= 1
            return 503, {}, b"busy"
        parts = urlsplit(path).path.strip("/").split("/")
        if parts[0] == "api":
            return self._api("/".join(parts[2:4]), parts[4:])
        return self._file("/".join(parts[:2]), "/".join(parts[4:]))

    def _api(self, name: str, rest: list[str]) -> tuple[int, dict[str, str], bytes]:
        if name not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = sorted(self.models[name].iterdir())
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _git(file), **_lfs(file)}
                for file in files
            ]
            return 200, {}, json.dumps(tree).encode()
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
        return 200, {}, json.dumps(info).encode()

    def _file(self, name: str, file: str) -> tuple[int, dict[str, str], bytes]:
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        path = self.models[name] / file
        return 200, {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": COMMIT}, path.read_bytes()


@contextmanager
def hub(**models: Path) -> Iterator[Hub]:
    """Serves each model as `owner/<name>`."""
    served = Hub({f"owner/{name}": folder for name, folder in models.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send(body=False)

        def do_GET(self) -> None:
            self._send(body=True)

        def _send(self, *, body: bool) -> None:
            status, headers, content = served.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _etag(file: Path) -> str:
    """As the Hub has it: SHA-256 for what lies in LFS, git's hash of a blob for the rest."""
    lfs = _lfs(file)
    return lfs["lfs"]["oid"] if lfs else _git(file)


def _git(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _lfs(file: Path) -> dict[str, dict]:
    if file.suffix != ".safetensors":
        return {}
    content = file.read_bytes()
    return {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
