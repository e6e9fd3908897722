"""ShareGPT to messages: turns with `from` and `value` get the usual names, calls of tools their usual form.

{"conversations": [{"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}]}
"""

from __future__ import annotations

from typing import ClassVar

from lorry.data.converters._conversations import Conversations


class ShareGpt(Conversations):
    """ShareGPT's turns as messages."""

    reads: ClassVar[str] = "sharegpt"
