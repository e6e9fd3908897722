"""Web servers on loopback: one that receives alerts, as a person's webhook would, one that lets nobody in,
and one that says the same to everybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Webhook:
    """What was received, in order, and whether the next messages are refused."""

    def __init__(self, port: int) -> None:
        self.address = f"json://127.0.0.1:{port}/lorry"
        self.messages: list[dict[str, Any]] = []
        self.refuses = False

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@contextmanager
def webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not received.refuses:
                received.messages.append(body)
            self.send_response(500 if received.refuses else 200)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            return

    with _served(Handler) as port:
        received = Webhook(port)
        yield received


class Refusing:
    """What was asked of a server that lets nobody in."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []


@contextmanager
def refusing_server() -> Iterator[Refusing]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.asked.append(self.path)
            self.send_response(401)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the name that the server calls

        def log_message(self, *_args: Any) -> None:
            return

    with _served(Handler) as port:
        server = Refusing(port)
        yield server


@contextmanager
def answering_server(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            return

    with _served(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of a server that answers until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
