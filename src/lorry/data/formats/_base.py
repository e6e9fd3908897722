"""What a format has to say: whether a raw row is laid out so, and what it then is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from lorry.data.rows import Origin, Row
from lorry.plugins import Plugin

Gives = Literal["messages", "text", "preference", "labelled", "prompt"]
"""Conversations, raw text, conversations with a better and a worse answer, those whose answer is good or bad, those without."""


class Format(Plugin):
    """A way to lay out rows."""

    gives: ClassVar[Gives]
    """What its rows become."""
    rank: ClassVar[int] = 50
    """The lowest rank reads a row that several formats could read: the more particular a format, the lower."""
    found: ClassVar[bool] = True
    """Whether `format: auto` looks for it."""

    @abstractmethod
    def matches(self, raw: dict[str, Any]) -> bool:
        """Whether a raw row has this format's fields; says nothing about what stands in them."""

    @abstractmethod
    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The row. Raises BadRowError with the field and a hint when it cannot be used."""
