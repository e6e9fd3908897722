"""Turns: so many at once, in each event loop."""

from __future__ import annotations

import asyncio

import pytest

from lorry.compute.transport.turns import Turns, both

TURNS = Turns(3)


async def most_at_once(count: int) -> int:
    now: list[int] = [0, 0]

    async def work() -> None:
        async with TURNS.taken():
            now[0] += 1
            now[1] = max(now)
            await asyncio.sleep(0)
            now[0] -= 1

    await asyncio.gather(*(work() for _ in range(count)))
    return now[1]


def test_no_more_than_so_many_have_a_turn_at_once():
    assert asyncio.run(most_at_once(20)) == 3


def test_next_loop_has_turns_of_its_own():
    assert [asyncio.run(most_at_once(8)) for _ in range(2)] == [3, 3]


def test_two_are_done_at_the_same_time():
    async def work() -> tuple[str, int]:
        met = asyncio.Event()

        async def waits() -> str:
            await asyncio.wait_for(met.wait(), 5)
            return "met"

        async def comes() -> int:
            met.set()
            return 7

        return await both(waits(), comes())

    assert asyncio.run(work()) == ("met", 7)


@pytest.mark.parametrize("is_first", [True, False])
def test_one_that_goes_wrong_ends_the_other(is_first: bool):
    ended: list[str] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("other")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        asyncio.run(both(fails(), goes_on()) if is_first else both(goes_on(), fails()))
    assert ended == ["other"]
