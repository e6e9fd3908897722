"""What all providers' requests have in common: the key, patience, and what is never asked twice."""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate

import httpx
import pytest

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import InputError
from scripted import SECRET, Scripted, offer, order, problem, reply

POD = {"id": "p1", "name": "n", "status": "RUNNING", "cost": 0.5}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", SECRET)


def find(scripted: Scripted):
    return asyncio.run(scripted.provider("runpod").find("p1"))


def outcome_of(scripted: Scripted, action=find) -> OutcomeError:
    with pytest.raises(OutcomeError) as caught:
        action(scripted)
    return caught.value


def create(scripted: Scripted):
    return asyncio.run(scripted.provider("runpod").create(order(offer("runpod"))))


def test_each_request_has_the_key_and_lorrys_own_user_agent():
    scripted = Scripted().on("GET /v2/pods/p1", reply(200, POD))
    find(scripted)
    headers = scripted.requests[0].headers
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["user-agent"].startswith("lorry/")


def test_missing_key_is_told_with_its_variable_and_page(monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    error = outcome_of(Scripted())
    assert error.outcome is Outcome.KEY_REFUSED
    assert "RUNPOD_API_KEY is not set" in error.message
    assert "console.runpod.io" in error.hint
    assert "lorry provider add runpod" in error.hint


@pytest.mark.parametrize("broken", ["two words", "line\r\nX-Evil: 1", "schlüssel", "tab\tinside"])
def test_key_that_no_header_can_carry_is_told_and_not_shown(monkeypatch, broken):
    monkeypatch.setenv("RUNPOD_API_KEY", broken)
    error = outcome_of(Scripted())
    assert error.outcome is Outcome.KEY_REFUSED
    assert broken not in error.message + error.hint


def test_refused_key_is_asked_with_once_and_not_shown():
    scripted = Scripted().on("GET /v2/pods/p1", problem(401, f"bad token {SECRET}"))
    error = outcome_of(scripted)
    assert error.outcome is Outcome.KEY_REFUSED
    assert len(scripted.requests) == 1
    assert SECRET not in error.message + error.hint


def test_key_stays_out_of_logs_and_of_what_is_shown_of_a_provider(caplog):
    caplog.set_level(logging.DEBUG)
    scripted = Scripted().on("GET /v2/pods/p1", reply(200, POD))
    provider = scripted.provider("runpod")
    asyncio.run(provider.find("p1"))
    assert SECRET not in caplog.text + repr(provider) + str(provider.model_dump()) + repr(vars(provider.api))


@pytest.mark.parametrize("fault", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), problem(503, "down")])
def test_reading_is_tried_again_after_growing_pauses(fault):
    scripted = Scripted().on("GET /v2/pods/p1", fault, fault, fault, reply(200, POD))
    assert find(scripted).id == "p1"
    assert scripted.slept == [1, 2, 4]


def test_reading_is_given_up_within_a_minute():
    scripted = Scripted().on("GET /v2/pods/p1", problem(500, "broken"))
    assert outcome_of(scripted).outcome is Outcome.API_DOWN
    assert len(scripted.requests) <= 6
    assert sum(scripted.slept) < 60


def test_retry_after_in_seconds_is_waited_for():
    scripted = Scripted().on("GET /v2/pods/p1", problem(429, "slow down", retry_after="12"), reply(200, POD))
    find(scripted)
    assert scripted.slept == [12]


def test_retry_after_as_a_date_is_waited_for():
    later = formatdate(time.time() + 20, usegmt=True)
    scripted = Scripted().on("GET /v2/pods/p1", problem(429, "slow down", retry_after=later), reply(200, POD))
    find(scripted)
    assert 17 <= scripted.slept[0] <= 20


def test_wait_that_is_too_long_is_left_to_the_caller():
    scripted = Scripted().on("GET /v2/pods/p1", problem(429, "tomorrow", retry_after="7200"))
    error = outcome_of(scripted)
    assert (error.outcome, error.retry_after) == (Outcome.BUSY, 7200)
    assert scripted.slept == []


@pytest.mark.parametrize("nonsense", ["-5", "soon", "nan", "9" * 400, "Wed, 99 Foo 9999"])
def test_retry_after_that_makes_no_sense_is_passed_over(nonsense):
    scripted = Scripted().on("GET /v2/pods/p1", problem(429, "x", retry_after=nonsense), reply(200, POD))
    find(scripted)
    assert scripted.slept == [1]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (problem(500, "broken"), Outcome.UNCERTAIN),
        (problem(503, "down"), Outcome.UNCERTAIN),
        (httpx.ReadTimeout("late"), Outcome.UNCERTAIN),
        (httpx.RemoteProtocolError("cut"), Outcome.UNCERTAIN),
        (httpx.ReadError("reset"), Outcome.UNCERTAIN),
        (httpx.WriteError("reset"), Outcome.UNCERTAIN),
        (httpx.ConnectError("refused"), Outcome.API_DOWN),
        (httpx.ConnectTimeout("late"), Outcome.API_DOWN),
        (problem(429, "slow", retry_after="9"), Outcome.BUSY),
    ],
)
def test_create_is_asked_once_whatever_happens(fault, outcome):
    scripted = Scripted().on("POST /v2/pods", fault)
    assert outcome_of(scripted, create).outcome is outcome
    assert len(scripted.requests) == 1


def test_page_of_a_proxy_is_no_proof_that_a_machine_is_gone():
    scripted = Scripted().on("GET /v2/pods/p1", httpx.Response(404, text="<html>nothing here</html>"))
    assert outcome_of(scripted).outcome is Outcome.API_DOWN


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b'"RUNNING"'])
def test_answer_that_is_none_is_the_providers_fault(content):
    scripted = Scripted().on("GET /v2/pods/p1", httpx.Response(200, content=content))
    assert outcome_of(scripted).outcome is Outcome.API_DOWN


def test_answer_without_end_is_cut():
    async def endless():
        while True:
            yield b"x" * 2**20

    scripted = Scripted().on("GET /v2/pods/p1", lambda _: httpx.Response(200, content=endless()))
    assert "longer than" in outcome_of(scripted).message


def test_what_a_provider_says_is_shown_short_and_harmless():
    scripted = Scripted().on("GET /v2/pods/p1", problem(400, "\x1b[2J\r\n" + "x" * 100_000))
    message = outcome_of(scripted).message
    assert len(message) < 400
    assert message.isprintable()


def test_redirect_does_not_carry_the_key_elsewhere():
    scripted = Scripted().on("GET /v2/pods/p1", httpx.Response(302, headers={"location": "https://evil.example/"}))
    assert outcome_of(scripted).outcome is Outcome.API_DOWN
    assert {request.url.host for request in scripted.requests} == {"api.runpod.io"}


@pytest.mark.parametrize("machine_id", ["", ".", "..", "  "])
def test_empty_id_deletes_nothing(machine_id):
    scripted = Scripted()
    with pytest.raises(OutcomeError, match="no id"):
        asyncio.run(scripted.provider("runpod").end(machine_id))
    assert scripted.requests == []


def test_id_is_one_part_of_the_path():
    scripted = Scripted().on("DELETE /v2/pods/a/../b?x=1", httpx.Response(204))
    asyncio.run(scripted.provider("runpod").end("a/../b?x=1"))
    assert scripted.requests[0].url.raw_path == b"/v2/pods/a%2F..%2Fb%3Fx%3D1"


@pytest.mark.parametrize(
    "url", ["http://api.runpod.io/v2", "ftp://x", "https://", "https://user:pw@host/", "https://h/?a=1", "nonsense", ""]
)
def test_address_that_would_show_the_key_is_refused(url, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_URL", raising=False)
    with pytest.raises(InputError):
        Scripted().provider("runpod", url=url)


def test_address_of_an_emulator_comes_from_the_variable(monkeypatch):
    monkeypatch.setenv("RUNPOD_API_URL", "http://127.0.0.1:8123/v2/")
    assert Scripted().provider("runpod").model_dump()["url"] == "http://127.0.0.1:8123/v2"
