"""A Hub on loopback: data-set repositories as folders, and the few endpoints that HfFileSystem asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(root: Path, failing: list[int] | None = None) -> Iterator[str]:
    """Serves `root/OWNER/NAME/...` as data sets; gives the endpoint. Each request takes a status from `failing`, if any."""
    fields = {"root": root, "failing": [] if failing is None else failing}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), fields))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    failing: list[int]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:  # noqa: ARG002 - the base class calls it so
        return

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        asked = json.loads(self.rfile.read(length) or b"{}")
        repo = self._parts()[2:4]
        paths = asked.get("paths", [])
        self._json([self._entry(repo, path) for path in paths if (self._folder(repo) / path).exists()])

    def _answer(self, *, send_body: bool) -> None:
        parts = self._parts()
        if self.failing:
            self.send_response(self.failing.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if parts[:2] == ["api", "datasets"]:
            repo, rest = parts[2:4], parts[4:]
            if not self._folder(repo).is_dir():
                self._missing("RepoNotFound")
            elif rest[:1] == ["tree"]:
                self._json(self._tree(repo, "/".join(rest[2:])))
            elif rest[:1] == ["revision"] and rest[1:] != ["main"]:
                self._missing("RevisionNotFound")
            else:
                self._json({"id": "/".join(repo), "sha": COMMIT, "siblings": [], "tags": []})
        elif parts[:1] == ["datasets"]:
            self._file(self._folder(parts[1:3]) / "/".join(parts[5:]), send_body)
        else:
            self._missing("EntryNotFound")

    def _parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _folder(self, repo: list[str]) -> Path:
        return self.root / "/".join(repo)

    def _tree(self, repo: list[str], below: str) -> list[dict]:
        folder = self._folder(repo)
        return [self._entry(repo, path.relative_to(folder).as_posix()) for path in sorted((folder / below).rglob("*"))]

    def _entry(self, repo: list[str], path: str) -> dict:
        file = self._folder(repo) / path
        if file.is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        content = file.read_bytes()
        entry = {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}  # noqa: S324
        if path.endswith(".parquet"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, path: Path, send_body: bool) -> None:
        if not path.is_file():
            self._missing("EntryNotFound")
            return
        content = path.read_bytes()
        wanted = self.headers.get("Range")
        begin, end = 0, len(content) - 1
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or end), end)
        part = content[begin : end + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {begin}-{end}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if send_body:
            self.wfile.write(part)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
