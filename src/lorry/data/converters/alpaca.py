"""Alpaca to messages: instruction, input and output become turns.

{"instruction": "Turn it into the spelling given.", "input": "freind", "output": "friend"}
"""

from __future__ import annotations

from typing import ClassVar

from lorry.data.converters._conversations import Conversations


class Alpaca(Conversations):
    """Alpaca's instruction, input and output as messages."""

    reads: ClassVar[str] = "alpaca"
