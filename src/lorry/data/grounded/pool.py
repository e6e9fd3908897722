"""Foreign passages: a bounded draw from all that were read, the same whatever their order."""

from __future__ import annotations

import heapq

from lorry.data.converting.room import Room, Side
from lorry.data.grounded.question import Passage, Question

_KEPT = 1000
_STRIDE = 7919
"""A prime above what is kept: steps of it pass every passage once."""


class Pool:
    """Up to a thousand passages of each side of a split, those with the lowest draws."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held: dict[Side, dict[str, tuple[float, Passage]]] = {"train": {}, "test": {}}
        self._sorted: dict[Side, list[Passage]] = {}

    def add(self, passage: Passage, side: Side) -> None:
        """One more to draw from."""
        held = self._held[side]
        if passage.text not in held:
            held[passage.text] = (self._room.draw("pool", passage.text), passage)
            if len(held) > 2 * _KEPT:
                lowest = heapq.nsmallest(_KEPT, held.items(), key=lambda one: one[1][0])
                self._held[side] = dict(lowest)

    def foreign(self, question: Question, number: int, side: Side) -> list[Passage]:
        """So many passages of other articles that do not hold the answer; fewer where there are no more."""
        if side not in self._sorted:
            ranked = sorted(self._held[side].values(), key=lambda one: one[0])[:_KEPT]
            self._sorted[side] = [passage for _, passage in ranked]
        pool, own = self._sorted[side], question.passages[0]
        start = int(self._room.draw("foreign", question.key) * len(pool))
        found: list[Passage] = []
        for place in range(len(pool)):
            if len(found) == number:
                break
            one = pool[(start + place * _STRIDE) % len(pool)]
            is_other = one.title != own.title if own.title else one.text != own.text
            if is_other and one not in found and not (question.answer and question.answer in one.text):
                found.append(one)
        return found
