"""A server on loopback that gives images, in pieces and as slowly as a test wants."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def serving(pause: float = 0.0) -> Generator[tuple[str, dict[str, list[bytes] | str]]]:
    """Where it is, and its pages: pieces of content with a pause after each, or where a path leads on to."""
    pages: dict[str, list[bytes] | str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 302 if isinstance(page, str) else 200)
            if isinstance(page, str):
                self.send_header("Location", page)
            self.end_headers()
            try:
                for piece in page if isinstance(page, list) else []:
                    self.wfile.write(piece)
                    time.sleep(pause)
            except OSError:  # nobody listens any more
                return

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", pages
    finally:
        server.shutdown()
        server.server_close()
