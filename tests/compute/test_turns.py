"""Turns: so many at once, in each event loop."""

from __future__ import annotations

import asyncio

from lorry.compute.turns import Turns

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
