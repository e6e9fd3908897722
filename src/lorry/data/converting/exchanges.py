"""What is said and what is answered to it, turn by turn: a held-back answer may stand in the middle of a training row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lorry.data.alike.shingles import plain
from lorry.data.converters._base import digest
from lorry.data.rows import INSTRUCTING, Message


def exchanges(messages: Iterable[Message]) -> Iterator[int]:
    """64 bits for each answer with the turn that it follows, blanks and case aside."""
    before: Message | None = None
    for turn in messages:
        if turn["role"] == "assistant" and before is not None:
            yield int(digest(_said(before), _said(turn)), 16)
        if turn["role"] not in INSTRUCTING:
            before = turn


def sole(messages: Iterable[Message]) -> int | None:
    """The same of a conversation that is one question and its answer; None for any other."""
    turns = [turn for turn in messages if turn["role"] not in INSTRUCTING]
    return next(exchanges(turns), None) if len(turns) == 2 else None


def _said(turn: Message) -> str:
    return f"{plain(str(turn['content']))}{turn.get('tool_calls') or ''}"
