"""Raw text under `text`, and files of text.

    {"text": "CHAPTER I. THE WORK OF THE WEATHER. In our excursion to the valley ..."}

A text file is one document.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Origin, Row
from lorry.data.turns import text_of


class Text(Format):
    """Documents under `text`, and files of text."""

    gives: ClassVar[Gives] = "text"
    rank: ClassVar[int] = 60

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `text`."""
        return "text" in raw

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The text as it stands."""
        text = text_of(raw.get("text"), "text")
        if not text.strip():
            raise BadRowError("is empty", field="text", hint="write the document, or take the row out")
        return Row(origin, text=text)
