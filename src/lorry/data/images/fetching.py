"""Images from the net: fetched within one deadline and one size; rows from elsewhere reach public addresses alone."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from lorry.data.bad_rows import BadRowError

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 64 * 2**20
"""Of one image's file; a larger one is none that a model is shown."""
_SECONDS = 60.0
"""For all of one image: names, redirects, headers and bytes."""
_MOST_REDIRECTS = 10


def fetched(url: str, field: str, *, public_only: bool) -> bytes:
    """The bytes behind a URL. Raises BadRowError; with `public_only` also where it, or a redirect, leads into a private net.

    Names are resolved before each request and again by the request itself: who answers for one may give it another address.
    """
    import httpx

    try:
        return asyncio.run(_within(url, field, public_only=public_only))
    except TimeoutError as error:
        raise _failed(url, field, f"it takes longer than {_SECONDS:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        why = f"the server answers {code}" if code else str(error) or type(error).__name__
        raise _failed(url, field, why) from error


async def _within(url: str, field: str, *, public_only: bool) -> bytes:
    import httpx

    async with asyncio.timeout(_SECONDS), httpx.AsyncClient(timeout=_SECONDS) as client:
        request = client.build_request("GET", url)
        for _ in range(_MOST_REDIRECTS):
            if public_only:
                await _refuse_private(request.url, field)
            answer = await client.send(request, stream=True)
            try:
                if answer.next_request is None:
                    answer.raise_for_status()
                    return await _content(answer, url, field)
                request = answer.next_request
            finally:
                await answer.aclose()
    raise _failed(url, field, f"it leads on more than {_MOST_REDIRECTS} times")


async def _content(answer: httpx.Response, url: str, field: str) -> bytes:
    found = bytearray()
    async for part in answer.aiter_bytes():
        found += part
        if len(found) > MOST_BYTES:
            told = f"{url[:100]} has more than {MOST_BYTES // 2**20} MiB"
            raise BadRowError(told, field=field, hint="name a smaller image")
    return bytes(found)


async def _refuse_private(url: httpx.URL, field: str) -> None:
    """Raises BadRowError for an address of this machine or of the net that it is in."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return  # a proxy may know the name; without one the request fails by itself
    if not all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found):
        hint = "rows of data sets from elsewhere name public addresses; fetch the rows, and train on them as a file"
        raise BadRowError(f"`{url.host[:100]}` is no public address", field=field, hint=hint)


def _failed(url: str, field: str, why: str) -> BadRowError:
    hint = "put the image beside the rows, or take the row out"
    return BadRowError(f"{url[:100]} cannot be fetched: {why}", field=field, hint=hint)
