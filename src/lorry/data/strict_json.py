"""JSON as its standard has it, and no other: no NaN, no key given twice, no half of a surrogate pair."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from lorry.data.bad_rows import BadRowError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str) -> Any:
    """The value that a JSON text holds. Raises BadRowError with the line (if not the first), column and reason."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BadRowError(f"not valid JSON: {line}column {error.colno}: {error.msg}", hint=_reason(text)) from error
    except RecursionError as error:
        raise BadRowError("the JSON is nested too deeply", hint="rows are flat objects; take this one out") from error
    except ValueError as error:
        raise BadRowError(f"not valid JSON: {error}", hint="write the number in fewer digits") from error
    if _SURROGATE.search(text):
        refuse_surrogates(value)
    return value


def refuse_surrogates(value: Any) -> None:
    """Raises BadRowError if a string in it cannot be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        sign = f"\\u{ord(error.object[error.start]):04x}"
        message = f"a string holds {sign}, half of a surrogate pair"
        raise BadRowError(message, hint="write the character whole, or take it out") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRowError("the key is given twice", field=twice[:60], hint="keep one of them")
    return value


def _constant(name: str) -> NoReturn:
    raise BadRowError(f"{name} is not JSON", hint="write null, or a number")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadRowError(f"the number {digits[:30]} is too large", hint="write a number below 1e308")
    return value


def _reason(text: str) -> str:
    if not text.rstrip().endswith(("}", "]")):
        return "the text seems to be cut off"
    if "'" in text and '"' not in text:
        return "JSON's strings stand in double quotes"
    return "write one JSON object a row"


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
