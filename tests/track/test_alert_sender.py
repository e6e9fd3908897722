"""Alerts over real HTTP, through Apprise, to a webhook on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import InputError, LorryError
from lorry.recipe.schema import AlertSettings
from lorry.track.alert_sender import AlertAddress, apprise_for
from lorry.track.events import Event
from lorry.track.sinks._base import Memory, RunFacts, Session
from webhook import Webhook, webhook

HOUR = 3600.0


@pytest.fixture(scope="module")
def server() -> Iterator[Webhook]:
    with webhook() as received:
        yield received


@pytest.fixture
def hook(server: Webhook) -> Webhook:
    server.messages.clear()
    server.refuses = False
    return server


def event(kind: str, at: float = 0.0, **data: Any) -> Event:
    return Event(1, at, kind, 1, None, {"steps": 9, "from_step": 0, "seconds": 1.0, "hint": "", **data})


def session(hook: Webhook, memory: Memory, *, now: float = 0.0, **settings: Any) -> Session:
    given = AlertSettings(to=[hook.address], **settings)
    return AlertAddress(hook.address, given, lambda: now).open(RunFacts("my-run", Path(), {}), memory)


def test_alert_arrives_with_title_text_and_severity(hook: Webhook):
    session(hook, {}).take(event("failed", error="out of luck"))
    (message,) = hook.messages
    assert (message["title"], message["message"], message["type"]) == ("my-run: FAILED", "out of luck", "failure")


def test_only_what_was_asked_for_is_told(hook: Webhook):
    open_ = session(hook, {}, about=["completed"])
    for kind in ("started", "oom", "finished"):
        open_.take(event(kind))
    assert hook.titles == ["my-run: completed"]


def test_restart_knows_that_the_start_was_told(hook: Webhook):
    memory: Memory = {}
    session(hook, memory).take(event("started"))
    session(hook, memory).take(event("started", from_step=3))
    assert hook.titles == ["my-run: training has started"]


def test_old_news_go_out_together_and_once(hook: Webhook):
    memory: Memory = {}
    open_ = session(hook, memory, now=9 * HOUR)
    for kind in ("started", "oom", "finished"):
        open_.take(event(kind))
    assert hook.titles == []
    for _ in range(2):
        session(hook, memory, now=9 * HOUR).flush()
    assert hook.titles == ["my-run: 3 earlier messages"]


def test_old_news_come_before_what_is_new(hook: Webhook):
    open_ = session(hook, {}, now=9 * HOUR)
    open_.take(event("oom"))
    open_.take(event("finished", at=9 * HOUR))
    assert hook.titles == ["my-run: out of memory", "my-run: completed"]


def test_refused_message_is_an_error_that_shows_no_address(hook: Webhook, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK", hook.address + "/a-secret")
    hook.refuses = True
    address = AlertAddress("$HOOK", AlertSettings(to=["$HOOK"]), lambda: 0.0)
    with pytest.raises(LorryError) as caught:
        address.open(RunFacts("r", Path(), {}), {}).take(event("oom"))
    assert str(caught.value) == "$HOOK: the service did not take the message"


def test_variable_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(InputError, match="HOOK is not set"):
        apprise_for("$HOOK")


def test_variable_with_no_address_is_said_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK", "my-secret-token")
    with pytest.raises(InputError, match="no address of this form") as caught:
        apprise_for("$HOOK")
    assert "secret" not in str(caught.value)
