"""The shapes of requests and answers, as RunPod's OpenAPI document draws them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from lorry.emulators.runpod.problems import Problem

_FILE = Path(__file__).parent / "shapes.json"


def check(shape: str, body: Any) -> None:
    """Raises a Problem with status 422 that names everything in which a body is not of the shape."""
    wrong = sorted({told for error in validator(shape).iter_errors(body) for told in _told(error)})
    if wrong:
        raise Problem(422, "Request validation failed.", errors=wrong)


@cache
def validator(shape: str) -> Draft202012Validator:
    """What validates one shape, by its name in the document."""
    schema = {"$ref": f"#/components/schemas/{shape}", "components": document()["components"]}
    return Draft202012Validator(schema)


@cache
def document() -> dict[str, Any]:
    """The part of RunPod's document that is emulated."""
    return json.loads(_FILE.read_text("utf-8"))


def _told(error: ValidationError) -> Iterator[str]:
    place = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    if error.validator == "required":
        yield f"{place}: missing property {_quoted(error.message)[0]!r}"
    elif error.validator in ("unevaluatedProperties", "additionalProperties"):
        for name in _quoted(error.message):
            yield f"{place}: additional properties {name!r} not allowed"
    else:
        yield f"{place}: {error.message[:200]}"


def _quoted(message: str) -> list[str]:
    return re.findall(r"'([^']*)'", message) or [message]
