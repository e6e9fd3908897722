"""HTTP as all providers need it: the account's key, time limits, `Retry-After`, and what may be asked again.

`Api.ask` is for what can be repeated: it tries again, within a minute, where the network, the provider's machines (5xx) or its
patience (429) fail. `Api.once` is for what must not be: it says which errors leave it open whether anything was made. Both
return other statuses as they are, for what those mean is the provider's own. The key is read anew for each request and kept
nowhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib.metadata import version
from typing import Annotated, Any, Self
from urllib.parse import quote, urlsplit

import httpx
import tenacity
from pydantic import AfterValidator, Field, PrivateAttr

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._answers import Fields, objects, said, text, texts, value
from lorry.compute.providers._base import Provider
from lorry.secrets.found import secret

AGENT = f"lorry/{version('lorry')}"
Sleep = Callable[[float], Awaitable[None]]
_TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=60.0)
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=20)
"""Connections to one API: runs that wait for one are served in turn."""
_ATTEMPT = 60.0
"""Seconds for one request in all; httpx's own limits begin anew with each piece that arrives."""
_PATIENCE = 60.0
"""Seconds after which a question is not asked again."""
_TRIES = 6
_MOST_BYTES = 32 * 2**20
_LONGEST_WAIT = 86_400.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def _checked(url: str) -> str:
    """The address, without a slash at its end. The key goes there, so over a network only encrypted."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"`{url[:200]}` must begin with https:// (http:// only on this computer)")
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"`{url[:200]}` must be an address of the form https://host/path")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_checked)]
"""Where an API is."""


def url_setting(variable: str, usual: str) -> Any:
    """The field of a setting that is an API's address: what the variable says, else the usual one."""
    return Field(default_factory=lambda: os.environ.get(variable) or usual, validate_default=True)


@dataclass(frozen=True)
class Answer:
    """What an API answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @cached_property
    def data(self) -> Any:
        """The JSON in it; None where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    @property
    def is_json(self) -> bool:
        """Whether the API itself answered, and not something before it."""
        return isinstance(self.data, dict)

    @property
    def detail(self) -> str:
        """What went wrong, in the provider's words; bounded and harmless to show."""
        places = (("detail",), ("error", "message"), ("msg",), ("message",), ("error", "code"), ("error",))
        main = next((found for place in places if (found := text(self.data, *place))), "")
        whole = "; ".join(filter(None, [main, *texts(self.data, "errors")]))
        return said(whole or self.content[:1000].decode("utf-8", "replace")) or f"HTTP status {self.status}"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the header says, in seconds or as a date; None where it says nothing sensible."""
        given = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}", given):
            return min(float(given), _LONGEST_WAIT)
        try:
            return min(max(0.0, parsedate_to_datetime(given).timestamp() - time.time()), _LONGEST_WAIT)
        except (ValueError, OverflowError, TypeError):
            return None


@dataclass(frozen=True)
class Site:
    """An API, and whose it is."""

    called: str
    """`RunPod`."""
    provider: str
    url: str
    variable: str
    """Of the account's key."""
    key_page: str
    gap: float = 0.0
    """Seconds between two requests that the API asks for."""
    busy: Callable[[Answer], float | None] = lambda answer: answer.retry_after
    """Seconds to wait after a 429; None where it does not say."""


@dataclass(frozen=True)
class Question:
    """One request."""

    method: str
    path: str
    params: Mapping[str, str | int] | None = None
    body: Any = None


@dataclass(frozen=True)
class Way:
    """How an API is reached, and how time passes meanwhile."""

    transport: httpx.AsyncBaseTransport | None = None
    """None for the network."""
    sleep: Sleep = asyncio.sleep


class Api:
    """Asks an API; one for each provider's object, which serves many runs at once."""

    def __init__(self, site: Site, way: Way) -> None:
        self.site = site
        self._way = way
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = 0.0

    async def ask(self, question: Question) -> Answer:
        """The answer to what may be repeated. Raises OutcomeError KEY_REFUSED, BUSY, API_DOWN."""
        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_before_delay(_PATIENCE),
            wait=_pause,
            retry=tenacity.retry_if_exception(_may_pass),
            sleep=self._way.sleep,
            reraise=True,
        )
        return await tries(self._asked, question)

    async def once(self, question: Question) -> Answer:
        """The answer to what must not be repeated. Raises OutcomeError KEY_REFUSED, BUSY, API_DOWN where nothing was done.

        UNCERTAIN where it may have been: after a 5xx, a timeout, or a connection that was cut.
        """
        try:
            answer = await self._sent(question)
        except _NEVER_SENT as error:
            raise self.down(error) from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise OutcomeError(Outcome.UNCERTAIN, f"{self.site.called}: {_words(error)}") from error
        if answer.status >= 500 or answer.status == 408:
            raise OutcomeError(Outcome.UNCERTAIN, f"{self.site.called}: {answer.detail}")
        return self._judged(answer)

    async def headers(self) -> dict[str, str]:
        """The headers of every request, the key among them. Raises OutcomeError KEY_REFUSED where there is none."""
        key = (await asyncio.to_thread(secret, self.site.variable) or "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            how = "is not set" if not key else "holds characters that no key has"
            raise self._no_key(f"{self.site.called} asks for a key, and {self.site.variable} {how}")
        return {"Authorization": f"Bearer {key}", "User-Agent": AGENT, "Accept": "application/json"}

    @property
    def client(self) -> httpx.AsyncClient:
        """The connections of the event loop that runs: those of one that has ended are of no use to the next."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = httpx.AsyncClient(
                base_url=self.site.url + "/", timeout=_TIMEOUT, limits=_LIMITS, transport=self._way.transport
            )
        return self._client

    async def close(self) -> None:
        """Gives the connections back; the next question opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def pause(self, seconds: float) -> None:
        """Waits, as between two tries."""
        await self._way.sleep(seconds)

    def down(self, cause: BaseException | str) -> OutcomeError:
        """An error that says that the API does not answer, or not as it should."""
        hint = f"is {self.site.url} the right address, and is there a network?"
        told = cause if isinstance(cause, str) else _words(cause)
        return OutcomeError(Outcome.API_DOWN, f"{self.site.called} does not answer: {told}", hint=hint)

    def refused(self, answer: Answer, outcome: Outcome = Outcome.REQUEST_WRONG) -> OutcomeError:
        """An error with what the API said."""
        return OutcomeError(outcome, f"{self.site.called}: {answer.detail}")

    def checked(self, answer: Answer) -> Answer:
        """The answer, if it is a success in JSON. Raises OutcomeError for any other."""
        if answer.status == 403:
            raise self.refused(answer, Outcome.NOT_ALLOWED)
        if 400 <= answer.status < 500 and answer.is_json:
            raise self.refused(answer)
        if not 200 <= answer.status < 300 or not answer.is_json:
            raise self.down(f"HTTP status {answer.status} with what is none of its answers")
        return answer

    def listed(self, answer: Answer, name: str) -> list[Fields]:
        """What a success lists under a name. Raises OutcomeError API_DOWN where that is no list: it is not an empty one."""
        data = self.checked(answer).data
        if not isinstance(value(data, name), list):
            raise self.down(f"its answer has no list of {name}")
        return objects(data, name)

    async def _asked(self, question: Question) -> Answer:
        try:
            answer = await self._sent(question)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self.down(error) from error
        if answer.status >= 500:
            raise self.down(answer.detail)
        return self._judged(answer)

    async def _sent(self, question: Question) -> Answer:
        headers = await self.headers()
        await self._in_turn()
        async with asyncio.timeout(_ATTEMPT):
            request = self.client.build_request(
                question.method, question.path, params=question.params, json=question.body, headers=headers
            )
            response = await self.client.send(request, stream=True)
            try:
                return Answer(response.status_code, response.headers, await _read(response))
            finally:
                await response.aclose()

    async def _in_turn(self) -> None:
        """Keeps the gap between requests; whoever comes meanwhile stands behind."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self.site.gap
        if turn > now:
            await self._way.sleep(turn - now)

    def _judged(self, answer: Answer) -> Answer:
        if answer.status == 401:
            raise self._no_key(f"{self.site.called} does not accept the key in {self.site.variable}: {answer.detail}")
        if answer.status == 429:
            told = f"{self.site.called} asks to wait: {answer.detail}"
            raise OutcomeError(Outcome.BUSY, told, retry_after=self.site.busy(answer))
        return answer

    def _no_key(self, message: str) -> OutcomeError:
        hint = f"make a key at {self.site.key_page}, then `lorry provider add {self.site.provider}`"
        return OutcomeError(Outcome.KEY_REFUSED, message, hint=f"{hint} or `export {self.site.variable}=...`")


class HttpProvider(Provider, ABC):
    """A provider that is asked over HTTP."""

    _api: Api | None = PrivateAttr(default=None)
    _way: Way = PrivateAttr(default_factory=Way)

    @abstractmethod
    def site(self) -> Site:
        """Where it is asked."""

    @property
    def api(self) -> Api:
        """Its API."""
        if self._api is None:
            self._api = Api(self.site(), self._way)
        return self._api

    def through(self, transport: httpx.AsyncBaseTransport, sleep: Sleep = asyncio.sleep) -> Self:
        """The same provider, asked through another transport (`httpx.MockTransport`), waiting with another `sleep`."""
        self._way, self._api = Way(transport, sleep), None
        return self

    async def close(self) -> None:
        """Gives connections back."""
        if self._api is not None:
            await self._api.close()


def segment(machine_id: str) -> str:
    """An id as one part of a path. Raises OutcomeError for what would be another path: an empty id names all machines."""
    if not machine_id.strip(". "):
        raise OutcomeError(Outcome.REQUEST_WRONG, f"`{machine_id}` is no id of anything that is rented")
    return quote(machine_id, safe="")


async def _read(response: httpx.Response) -> bytes:
    pieces = bytearray()
    async for piece in response.aiter_bytes():
        pieces += piece
        if len(pieces) > _MOST_BYTES:
            raise httpx.DecodingError(f"the answer is longer than {_MOST_BYTES} bytes")
    return bytes(pieces)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OutcomeError) and error.outcome in (Outcome.API_DOWN, Outcome.BUSY)


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: as the provider says, else 1, 2, 4, ..."""
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after if isinstance(error, OutcomeError) else None
    return told if told is not None else float(2 ** (state.attempt_number - 1))


def _words(error: BaseException) -> str:
    """What the error says; those of httpx at times say nothing."""
    return said(str(error)) or f"no answer in time ({type(error).__name__})"
