"""Raw text under a field of any name: Axolotl's `completion` type.

    format: {name: completion, field: content}
    {"content": "All the morning very busy at the office ..."}

The first line stands in the recipe, the second in the data.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Origin, Row
from lorry.data.turns import text_of


class Completion(Format):
    """Documents under a field that you name."""

    gives: ClassVar[Gives] = "text"
    rank: ClassVar[int] = 70
    found: ClassVar[bool] = False
    field: str = "text"
    """The field that holds the text."""

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has the field."""
        return self.field in raw

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The text as it stands."""
        text = text_of(raw.get(self.field), self.field)
        if not text.strip():
            raise BadRowError("is empty", field=self.field, hint="write the document, or take the row out")
        return Row(origin, text=text)
