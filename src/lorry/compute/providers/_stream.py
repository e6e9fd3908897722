"""A stream of server-sent events that goes on after a cut, from the last event that came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import httpx_sse

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._http import Api, Question

_FRUITLESS = 6
"""Connections in a row that bring nothing, after which the stream is given up."""
_LONGEST_PAUSE = 30.0
_SILENCE = 600.0
"""Seconds without a line after which the connection counts as cut: a machine that prints nothing is no error."""


async def events(api: Api, question: Question, after: str = "") -> AsyncIterator[tuple[str, str]]:
    """Data of each event with its id, from the one after `after` on; ends where the provider has no such stream (any more).

    Raises OutcomeError API_DOWN after six connections that brought nothing, KEY_REFUSED and BUSY.
    """
    last, fruitless = after, 0
    while True:
        try:
            async with _opened(api, question, last) as response:
                if response.status_code == 404:
                    return
                _check(api, response)
                async for event in httpx_sse.EventSource(response).aiter_sse():
                    last, fruitless = event.id or last, 0
                    yield event.data, last
        except (httpx.HTTPError, httpx_sse.SSEError) as error:
            if fruitless + 1 >= _FRUITLESS:
                raise api.down(error) from error
        fruitless += 1
        if fruitless > _FRUITLESS:
            raise api.down("its stream ends again and again")
        await api.pause(min(2.0**fruitless / 2, _LONGEST_PAUSE))


@asynccontextmanager
async def _opened(api: Api, question: Question, last: str) -> AsyncGenerator[httpx.Response]:
    headers = await api.headers() | {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    timeout = httpx.Timeout(_SILENCE, connect=10.0)
    async with api.client.stream(
        question.method, question.path, params=question.params, headers=headers, timeout=timeout
    ) as response:
        yield response


def _check(api: Api, response: httpx.Response) -> None:
    if response.status_code == 401:
        raise OutcomeError(Outcome.KEY_REFUSED, f"{api.site.called} does not accept the key in {api.site.variable}")
    if response.status_code != 200:
        raise httpx.RemoteProtocolError(f"HTTP status {response.status_code}")
