"""The agent on a machine that does not do as it is asked."""

from __future__ import annotations

import asyncio

import pytest

from local_machine import Done, ScriptedLink
from lorry.compute.machine import fetching, starting
from lorry.compute.outcomes import Outcome, OutcomeError


def test_complaint_of_a_machine_is_short_and_drives_no_terminal():
    link = ScriptedLink(
        lambda _command, _stdin: Done(1, b"", b"\x1b[2J\x1b]0;gone\x07" + b"x" * 10_000 + b"\x1b[31mno")
    )
    with pytest.raises(OutcomeError) as caught:
        asyncio.run(starting.goes_on(link, "/run"))
    assert caught.value.outcome is Outcome.SETUP_FAILED
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("place", [b"lorry", b"/home/\x1b[2J", b"/" + b"x" * 5000, b"/a\nb", b""])
def test_place_that_is_none_is_refused(place: bytes):
    link = ScriptedLink(lambda _command, _stdin: Done(0, place, b""))
    with pytest.raises(OutcomeError) as caught:
        asyncio.run(fetching.place(link))
    assert caught.value.outcome is Outcome.UNTRUSTED
    assert len(str(caught.value)) < 200
