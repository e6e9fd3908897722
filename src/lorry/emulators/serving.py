"""Serves an emulated cloud on loopback until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from lorry.emulators import control_api
from lorry.emulators.cloud import Cloud
from lorry.errors import InputError, RefusedError


@dataclass(frozen=True)
class Serving:
    """How a cloud is served."""

    home: Path
    """Where everything about it lies."""
    port: int = 0
    """0 for the one it had last, or any that is free."""
    key: str = ""
    """The account's key; empty for the one it had last, or a new one."""
    seconds: float | None = None
    """After so many it ends by itself."""
    keep_machines: bool = False
    """Whether its machines go on when it ends."""


def serve(kind: type[Cloud], how: Serving, announce: Callable[[dict[str, Any]], None]) -> None:
    """Blocks until the time is over, or SIGTERM or SIGINT comes; `announce` is told where it listens, once it does.

    Raises InputError where the port is taken or no machine can be made, and RefusedError where another server has the home.
    """
    how.home.mkdir(parents=True, exist_ok=True)
    home = how.home.resolve()
    try:
        with FileLock(home / "server.lock", timeout=0):
            cloud = kind(home, key=how.key)
            with _listening(how.port, cloud.account.port) as listener:
                asyncio.run(_serve(cloud, listener, how, announce))
    except Timeout:
        hint = "end it first, or give another `--home`"
        raise RefusedError(f"another emulator runs on {home}", hint=hint) from None


async def _serve(
    cloud: Cloud, listener: socket.socket, how: Serving, announce: Callable[[dict[str, Any]], None]
) -> None:
    port = listener.getsockname()[1]
    cloud.base = f"http://127.0.0.1:{port}"
    cloud.account.port = port
    cloud.fleet.save()
    server = _Server(
        uvicorn.Config(
            application(cloud),
            log_level="error",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
        )
    )
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    told = {"cloud": cloud.name, "url": cloud.base, "control": cloud.base, "pid": os.getpid(), "port": port}
    serving = asyncio.create_task(server.serve([listener]))
    announce({**told, "key": cloud.account.key, "home": str(cloud.fleet.home), "variables": cloud.variables()})
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), how.seconds)
    cloud.closes = server.should_exit = True
    await serving
    await cloud.fleet.close(keep_machines=how.keep_machines)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leaves signals alone: uvicorn would end the process by them before the machines are ended."""
        yield


def application(cloud: Cloud) -> Starlette:
    """The API of a cloud and its control API; its machines move along while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        moving = asyncio.create_task(cloud.run())
        try:
            yield
        finally:
            moving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await moving

    # No page that a person's browser has open may reach it under a name of its own.
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[*control_api.routes(cloud), *cloud.routes()], lifespan=lifespan, middleware=[only_here])


def _listening(port: int, last: int) -> socket.socket:
    """A socket on loopback: at `port`, else at the last one, else at any that is free."""
    for wanted in [port] if port else [last, 0]:
        # With the protocol named: asyncio switches off waiting for full packets (Nagle) only then.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(512)
        except OSError:
            listener.close()
            continue
        return listener
    raise InputError(f"port {port} is taken", hint="leave `--port` out for one that is free")
