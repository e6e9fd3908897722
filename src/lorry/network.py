"""The network: what is tried again, how often, and what counts as its fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each new try."""
_REMEMBERED = 60.0
"""Seconds for which a place that did not answer is asked only once: nobody waits anew for each of its files."""


class _Memory:
    """When each place was given up, on the monotonic clock."""

    given_up: dict[str, float] = {}  # noqa: RUF012 - one for this process


def persistent(
    action: Callable[[], T],
    *,
    where: str = "",
    retried: Callable[[BaseException], bool] | None = None,
    sleep: Callable[[float], None] | None = None,
) -> T:
    """What the action gives; while the network fails it is tried again three times, after 1, 2 and 4 seconds.

    `retried` says which errors may pass; left out, those of the network. `where` names who is asked: someone who was given
    up in the last minute is asked once. The last error is raised as it came.
    """
    import tenacity

    may_pass = retried or worth_another_try
    pauses = () if where and time.monotonic() - _Memory.given_up.get(where, -_REMEMBERED) < _REMEMBERED else PAUSES
    tries = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(len(pauses) + 1),
        wait=tenacity.wait_chain(*map(tenacity.wait_fixed, pauses or (0.0,))),
        retry=tenacity.retry_if_exception(may_pass),
        sleep=sleep or time.sleep,
        reraise=True,
    )
    try:
        answer = tries(action)
    except Exception as error:
        if where and may_pass(error):
            _Memory.given_up[where] = time.monotonic()
        raise
    _Memory.given_up.pop(where, None)
    return answer


def worth_another_try(error: BaseException) -> bool:
    """Whether a new try may help; it does not where the person has switched the network off."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return is_network(error) and not isinstance(error, OfflineModeIsEnabled)


def is_network(error: BaseException) -> bool:
    """Whether the network or a server is to blame: no connection, a time-out, too many questions, a server's fault."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in {408, 429}
    return isinstance(error, (HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError))


def within(seconds: float, action: Callable[[], T]) -> T:
    """What the action gives, if it gives it in time; else TimeoutError.

    Looking up a name has no time limit of its own. What is late goes on in a thread that keeps nobody from leaving.
    """
    outcomes: list[T | Exception] = []

    def work() -> None:
        try:
            outcomes.append(action())
        except Exception as error:
            outcomes.append(error)

    thread = threading.Thread(target=work, daemon=True, name="network")
    thread.start()
    thread.join(seconds)
    if not outcomes:
        raise TimeoutError(f"no answer within {seconds:g} s")
    outcome = outcomes[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def answer_of(
    url: str, *, seconds: float, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of what an HTTP server says, refusals included; `HEAD` without a body, else `POST`.

    Goes through the proxies that the environment names. Raises OSError when nobody answers in time.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    method = "HEAD" if body is None else "POST"
    request = Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310 - called with http(s) alone

    def ask() -> tuple[int, bytes]:
        try:
            with urlopen(request, timeout=seconds) as answer:  # noqa: S310
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except HTTPException:
            return 0, b""  # somebody is there, who speaks something else

    return within(seconds, ask)
