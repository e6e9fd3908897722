"""A proxy before an API that passes the first request of a kind on and keeps its answer, as a connection does that breaks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class HoldingProxy:
    """On loopback; `held` is set once a request that begins with `what` was passed on; later ones are answered."""

    def __init__(self, url: str, what: bytes) -> None:
        parts = urlsplit(url)
        self._to = (str(parts.hostname), int(parts.port or 80))
        self._what = what
        self.held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                self._open += [client, server]
                holds = threading.Event()
                threading.Thread(target=self._requests, args=(client, server, holds), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client, holds), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, holds: threading.Event) -> None:
        with suppress(OSError):
            while piece := client.recv(1 << 16):
                if piece.startswith(self._what) and not self.held.is_set():
                    holds.set()
                server.sendall(piece)
                if holds.is_set():
                    self.held.set()

    def _answers(self, server: socket.socket, client: socket.socket, holds: threading.Event) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 16):
                if not holds.is_set():
                    client.sendall(piece)
