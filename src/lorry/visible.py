"""Text from users' data, made harmless to look at: nothing in it moves a cursor, changes colours or reorders a line."""

from __future__ import annotations

import re

# C0 but for newline and tab, DEL, C1, lone surrogates, line separators, and overrides of direction.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with control characters, overrides of direction and lone surrogates as visible escapes."""
    return UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
