"""What a pod printed, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse

from lorry.emulators.fleet import Fleet
from lorry.emulators.machine.lines import SOURCES, Line, Reader
from lorry.emulators.rental import Rental
from lorry.emulators.runpod.problems import Problem

_PAUSE = 0.25
_QUIET = 15.0
"""Seconds without a line, after which a comment is sent: whoever has gone is noticed by it."""


def stream(fleet: Fleet, rental: Rental, request: Request, ends: Callable[[], bool]) -> StreamingResponse:
    """An answer that goes on until the pod is gone, the reader goes, or the server ends."""
    source = request.query_params.get("source")
    if source not in (None, *SOURCES):
        raise Problem(422, "Request validation failed.", errors=["source: not one of container, system"])
    reader = Reader(fleet.home / "machines" / rental.id / "log", SOURCES if source is None else (source,))
    backlog = _backlog(reader.all(), request)

    async def events() -> AsyncIterator[str]:
        for line in backlog:
            yield _event(line)
        quiet = 0.0
        while rental.is_there and not ends():
            await asyncio.sleep(_PAUSE)
            quiet += _PAUSE
            for line in reader.new():
                quiet = 0.0
                yield _event(line)
            if quiet >= _QUIET:
                quiet = 0.0
                yield ": keep-alive\n\n"

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _backlog(lines: list[Line], request: Request) -> list[Line]:
    """What is sent first: after a mark, else since a time, else the last lines."""
    mark, since = request.headers.get("last-event-id"), request.query_params.get("since")
    if mark:
        ts, _, number = mark.partition("/")
        after = (_padded(ts), int(number) if number.isdigit() else 10**12)
        return [line for line in lines if (line.ts, line.seq) > after]
    if since:
        return [line for line in lines if line.ts >= _padded(since)]
    tail = request.query_params.get("tail", "100")
    if not tail.isdigit() or int(tail) > 5000:
        raise Problem(422, "Request validation failed.", errors=["tail: must be an integer from 0 to 5000"])
    return lines[len(lines) - int(tail) :] if int(tail) < len(lines) else lines


def _padded(ts: str) -> str:
    """A time with microseconds, so that it can be compared as text."""
    whole = ts.rstrip("Z")
    return f"{whole}Z" if "." in whole else f"{whole}.000000Z"


def _event(line: Line) -> str:
    data = json.dumps({"ts": line.ts, "source": line.source, "line": line.text})
    return f"id: {line.mark}\ndata: {data}\n\n"
