"""What is tried again: with a clock that is a list."""

from __future__ import annotations

import pytest

from lorry import network
from lorry.network import persistent


@pytest.fixture(autouse=True)
def nobody_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network._Memory, "given_up", {})


def failing(times: int, error: Exception):
    left = [times]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "answer"

    return action


@pytest.mark.parametrize(("failures", "slept"), [(0, []), (1, [1.0]), (2, [1.0, 2.0]), (3, [1.0, 2.0, 4.0])])
def test_network_error_is_tried_again_after_longer_and_longer_pauses(failures: int, slept: list[float]):
    pauses: list[float] = []
    assert persistent(failing(failures, ConnectionError("down")), sleep=pauses.append) == "answer"
    assert pauses == slept


def test_fourth_error_is_raised_as_it_came():
    pauses: list[float] = []
    error = TimeoutError("slow")
    with pytest.raises(TimeoutError) as caught:
        persistent(failing(4, error), sleep=pauses.append)
    assert caught.value is error
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError("x"), OSError(28, "full")])
def test_what_is_not_the_networks_fault_is_raised_at_once(error: Exception):
    pauses: list[float] = []
    with pytest.raises(type(error)):
        persistent(failing(1, error), sleep=pauses.append)
    assert pauses == []


def test_network_that_was_switched_off_is_not_waited_for():
    from huggingface_hub.errors import OfflineModeIsEnabled

    pauses: list[float] = []
    with pytest.raises(OfflineModeIsEnabled):
        persistent(failing(1, OfflineModeIsEnabled("off")), sleep=pauses.append)
    assert pauses == []


def test_place_that_was_given_up_is_asked_once_for_a_while_and_others_as_before():
    pauses: list[float] = []
    for _ in range(3):
        with pytest.raises(ConnectionError):
            persistent(failing(9, ConnectionError("down")), where="the Hub", sleep=pauses.append)
    assert pauses == [1.0, 2.0, 4.0]
    assert persistent(failing(1, ConnectionError("down")), where="PyPI", sleep=pauses.append) == "answer"
    assert persistent(failing(0, ConnectionError("down")), where="the Hub", sleep=pauses.append) == "answer"
    assert persistent(failing(1, ConnectionError("down")), where="the Hub", sleep=pauses.append) == "answer"


def test_caller_says_what_may_pass():
    assert persistent(failing(2, KeyError("x")), retried=lambda _: True, sleep=lambda _: None) == "answer"
