"""Flags over files: `-o train.learning_rate=1e-4`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from lorry.errors import RecipeError
from lorry.recipe.layer import Layer, merge, put
from lorry.recipe.problems import section_of
from lorry.recipe.schema import Recipe
from lorry.recipe.yaml_file import parse_value


def parse_overrides(flags: Sequence[str]) -> Layer:
    """All flags as one layer, the later over the earlier. Raises RecipeError for what is not `section.key=value`."""
    layer = Layer()
    for flag in flags:
        layer = merge(layer, _one(flag))
    return layer


def _one(flag: str) -> Layer:
    path, equals, text = flag.partition("=")
    keys = tuple(part.strip() for part in path.split("."))
    place = "-o"
    if not equals or not all(keys):
        hint = "write `-o section.key=value`, for example `-o train.learning_rate=1e-4`"
        raise RecipeError(f"`{flag}` is no override", place="-o", hint=hint)
    if keys == ("extends",):
        raise RecipeError(
            "`extends` stands in files only", place=f"{place}: extends", hint="put it into a recipe of your own"
        )
    if any(part.isdigit() for part in keys):
        hint = f"give the whole list: `-o '{'.'.join(keys[:-1])}=[first, second]'`"
        raise RecipeError("a list is replaced as a whole", place=f"{place}: {path}", hint=hint)
    layer = Layer()
    put(layer.values, keys, _value(keys, text, f"{place}: {path}"))
    layer.places = {keys[:depth]: place for depth in range(1, len(keys) + 1)}
    return layer


def _value(keys: tuple[str, ...], text: str, place: str) -> Any:
    """The value as YAML; but where a recipe wants text, `0123456` is no number."""
    value = parse_value(text, place)
    return text.strip() if isinstance(value, (int, float)) and _wants_text(keys) else value


def _wants_text(keys: tuple[str, ...]) -> bool:
    model: type[BaseModel] | None = Recipe
    for key in keys[:-1]:
        model = section_of(model, key) if model else None
    field = model.model_fields.get(keys[-1]) if model else None
    kinds = set(_kinds(field.annotation)) if field else set[Any]()
    return str in kinds and not {int, float, bool} & kinds


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without what they are annotated with."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation
