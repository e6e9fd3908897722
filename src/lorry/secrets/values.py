"""A known secret's value: whether it can be told from ordinary words, and what it looks like when it is encoded."""

from __future__ import annotations

import html
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

_SHORTEST = 8
_LONG_LINE = 16
_NUMBER = re.compile(r"[\d.,:eE+\s-]+")


@lru_cache(maxsize=1024)
def worth_masking(value: str) -> bool:
    """Whether a value is masked wherever it appears: not if it is short, a number, a path, or a folder we are in."""
    stripped = value.strip()
    if len(stripped) < _SHORTEST or _NUMBER.fullmatch(stripped) or stripped in _surroundings():
        return False
    try:
        return not Path(stripped).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, `~` of nobody
        return True


def disguises(value: str) -> Iterator[str]:
    """The value as it is, and as JSON, Python, HTML, a URL and base64 write it; long lines of it each by itself."""
    stripped = value.strip()
    for text in {stripped, *(line for line in map(str.strip, stripped.splitlines()) if len(line) >= _LONG_LINE)}:
        yield from (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        yield from (html.escape(text), quote(text, safe="", errors="replace"), quote_plus(text, errors="replace"))
        yield from _in_base64(text.encode("utf-8", "surrogateescape"))


def _in_base64(value: bytes) -> Iterator[str]:
    """What base64 makes of the value wherever it begins in a longer text, such as `user:value`.

    Three bytes are four letters; letters that hold bits of a neighbour are left out.
    """
    for before in range(3):
        letters = b64encode(bytes(before) + value).decode().rstrip("=")
        first = (0, 2, 3)[before]
        last = len(letters) - (1 if (before + len(value)) % 3 else 0)
        if last - first >= _SHORTEST:
            yield letters[first:last]
            yield letters[first:last].replace("+", "-").replace("/", "_")


def _surroundings() -> frozenset[str]:
    """Names in the paths of here and home: a password equal to one is no secret, and every path has them."""
    folders = [os.environ.get("HOME", ""), os.environ.get("LORRY_HOME", ""), str(Path.cwd())]
    return frozenset(part for folder in folders for part in Path(folder).parts)
