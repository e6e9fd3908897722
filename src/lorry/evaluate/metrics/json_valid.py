"""An answer is JSON, and has the shape that a JSON Schema asks for."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import field_validator

from lorry.evaluate.metrics._base import Answer, Metric
from lorry.evaluate.metrics._json import parsed


class JsonValid(Metric):
    """Share of answers that are JSON by its standard (RFC 8259), with `json_schema` of that shape.

    The whole answer must be one JSON value, outer whitespace aside: no text around it, no NaN, no key given twice.
    """

    files: ClassVar[tuple[str, ...]] = ("json_schema",)
    json_schema: str | dict[str, Any] | None = None
    """A JSON Schema: a file, relative to the recipe, or the schema itself. Its draft is the one that `$schema` names, else the
    newest. Nothing is fetched for a `$ref`."""
    allow_fenced: bool = False
    """JSON inside one Markdown fence, with nothing around it, counts as well."""

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, value: Any) -> Any:
        if isinstance(value, dict) and (why := _fault(json.dumps(value, default=str))):
            raise ValueError(f"is no JSON Schema: {why}")
        return value

    def score(self, answer: Answer) -> float | None:
        """1 or 0; None where the schema cannot be used."""
        if self.unavailable() is not None:
            return None
        try:
            value = parsed(answer.prediction, allow_fenced=self.allow_fenced)
        except ValueError:
            return 0.0
        if self.json_schema is None:
            return 1.0
        try:
            return float(_validator(self._text()).is_valid(value))
        except RecursionError:
            return 0.0

    def unavailable(self) -> str | None:
        """Why the schema cannot be used."""
        if self.json_schema is None:
            return None
        if find_spec("jsonschema") is None:
            return "`jsonschema` is not installed: `pip install jsonschema`"
        try:
            why = _fault(self._text())
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            return f"its schema {self.json_schema} cannot be read, {told}: give a JSON file, relative to the recipe"
        return f"its schema is none, {why}: correct it" if why else None

    def _text(self) -> str:
        if isinstance(self.json_schema, str):
            return Path(self.json_schema).read_text(encoding="utf-8")
        return json.dumps(self.json_schema, default=str)


def _fault(text: str) -> str | None:
    """What makes a text no JSON Schema; None for one, and where nobody can tell."""
    if find_spec("jsonschema") is None:
        return None
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        _validator(text)
        _resolve_all(text)
    except Unresolvable as error:
        return f"its `$ref` {error.ref} leads nowhere, and nothing is fetched"
    except SchemaError as error:
        at = "/".join(map(str, error.absolute_path))
        return f"{at}: {error.message}" if at else str(error.message)
    except json.JSONDecodeError as error:
        return f"line {error.lineno} is not JSON: {error.msg}"
    except (TypeError, RecursionError) as error:
        return str(error)
    return None


@lru_cache(maxsize=8)
def _resolve_all(text: str) -> None:
    """Follows every reference of a schema. Raises Unresolvable: else only the answers that come to it would have no score."""
    from jsonschema import validators
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import DRAFT202012, specification_with

    schema: Any = json.loads(text)
    kind: Any = validators.validator_for(schema, default=validators.Draft202012Validator)
    draft = specification_with(kind.META_SCHEMA.get("$schema", ""), default=DRAFT202012)
    root: Any = draft.create_resource(schema)
    waiting: list[tuple[Any, Any]] = [(root, REGISTRY.resolver_with_root(root))]
    while waiting:
        part, resolver = waiting.pop()
        named = cast("dict[str, Any]", part.contents) if isinstance(part.contents, dict) else {}
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(ref := named.get(key), str):
                resolver.lookup(ref)
        waiting += [(one, resolver.in_subresource(one)) for one in part.subresources()]


@lru_cache(maxsize=8)
def _validator(text: str) -> Any:
    """What checks values. A schema that it refers to elsewhere is not fetched: it raises at the first value that needs it."""
    from jsonschema import validators
    from referencing import Registry

    schema = json.loads(text)
    if not isinstance(schema, dict | bool):
        raise TypeError("a schema is an object, true or false")
    kind: Any = validators.validator_for(schema, default=validators.Draft202012Validator)
    kind.check_schema(schema)
    return kind(cast("Any", schema), registry=Registry())
