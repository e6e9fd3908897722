"""Alpaca preference: an instruction, at times with an input, and two outputs.

    {"instruction": "Turn it into the spelling given.", "input": "freind", "chosen": "friend", "rejected": "fiend"}

LLaMA-Factory's older form, `output: [better, worse]`, is read as well.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.formats._base import Format, Gives
from lorry.data.formats._preferred import preferred
from lorry.data.formats.alpaca import instructed
from lorry.data.rows import Origin, Row
from lorry.data.turns import tools_of, turns_of


class AlpacaPreference(Format):
    """Instruction, input, and two outputs: chosen and rejected."""

    gives: ClassVar[Gives] = "preference"
    rank: ClassVar[int] = 7
    separator: str = "\n\n"
    """What stands between instruction and input."""

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `instruction` and two answers."""
        return "instruction" in raw and ({"chosen", "rejected"} <= raw.keys() or isinstance(raw.get("output"), list))

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The instruction with either output."""
        outputs = raw.get("output")
        given = dict(zip(("chosen", "rejected"), outputs, strict=False)) if isinstance(outputs, list) else raw
        answers = [turns_of(given.get(side), side, "assistant") for side in ("chosen", "rejected")]
        return preferred(origin, instructed(raw, self.separator), *answers, tools=tools_of(raw.get("tools")))
