"""JSON in answers: the whole of it, or what stands in a Markdown fence."""

from __future__ import annotations

import re
from typing import Any

from lorry.data.bad_rows import BadRowError
from lorry.data.strict_json import parse

_FENCED = re.compile(r"(`{3,}|~{3,})[ \t]*(?:json)?[ \t]*\n(.*)\n[ \t]*\1", re.DOTALL | re.IGNORECASE)


def parsed(text: str, *, allow_fenced: bool) -> Any:
    """The value of a text that is JSON and nothing else. Raises ValueError for any other."""
    text = text.strip(" \t\r\n")
    fenced = _FENCED.fullmatch(text) if allow_fenced else None
    try:
        return parse(fenced[2] if fenced else text)
    except BadRowError as error:
        raise ValueError(str(error)) from error
