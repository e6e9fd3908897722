"""The recipe as a JSON Schema, for editors: every key, its bounds, its help, and each plugin's own settings."""

from __future__ import annotations

from typing import Any

from lorry import plugins
from lorry.recipe.schema import Recipe

_REQUIRED = {"model": "ModelSettings", "data": "DataSettings"}
_FUNCTION = {"type": "string", "pattern": r"\.py:[^:]+$", "description": "A function: `FILE.py:FUNCTION`."}


def recipe_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of recipe files; a plugin may be named, or given as a mapping with its settings."""
    schema = Recipe.model_json_schema()
    parts = schema["$defs"]
    _choose(schema["properties"]["method"], "methods", parts, ())
    _choose(parts["DataSettings"]["properties"]["format"], "formats", parts, ("auto",))
    _choose(parts["Source"]["properties"]["format"]["anyOf"][0], "formats", parts, ("auto",))
    _choose_metrics(parts["EvaluateSettings"]["properties"]["metrics"]["items"], parts)
    _choose(parts["ComputeSettings"]["properties"]["on"]["items"], "providers", parts, ())
    _choose(parts["TrackSettings"]["properties"]["sinks"]["items"], "sinks", parts, ())
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "Another recipe, relative to this one, whose values hold where this one gives none.",
    }
    # What another recipe gives need not be given again, so nothing is required in a file that extends.
    schema["if"] = {"not": {"required": ["extends"]}}
    needed = {key: {"required": parts[part].pop("required")} for key, part in _REQUIRED.items()}
    schema["then"] = {"required": schema.pop("required"), "properties": needed}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _choose(place: dict[str, Any], kind: str, parts: dict[str, Any], further: tuple[str, ...]) -> None:
    """Replaces "any mapping" by the plugins of a kind, by name or with settings."""
    names = plugins.names(kind)
    with_settings = [_settings(kind, name, parts) for name in names]
    for key in ("type", "additionalProperties"):
        place.pop(key, None)
    place["anyOf"] = [{"enum": [*further, *names]}, *with_settings]


def _choose_metrics(place: dict[str, Any], parts: dict[str, Any]) -> None:
    """The same for metrics, which may be a function in a Python file besides."""
    _choose(place, "metrics", parts, ())
    place["anyOf"].insert(1, _FUNCTION)


def _choose_rewards(place: dict[str, Any], parts: dict[str, Any]) -> None:
    """The same for rewards, which may be a metric's name, or a function in a Python file, besides."""
    _choose(place, "rewards", parts, plugins.names("metrics"))
    chosen, *with_settings = place["anyOf"]
    names = [name for name in chosen["enum"] if name not in plugins.names("rewards")]
    metric = next(one for one in with_settings if one["properties"]["name"]["const"] == "metric")
    _choose(metric["properties"]["metric"], "metrics", parts, ())
    place["anyOf"] = [{"enum": names}, _FUNCTION, *with_settings]


def _settings(kind: str, name: str, parts: dict[str, Any]) -> dict[str, Any]:
    plugin = plugins.find(kind, name)
    schema = plugin.model_json_schema()
    parts |= schema.pop("$defs", {})
    if kind == "methods" and "rewards" in schema["properties"]:
        _choose_rewards(schema["properties"]["rewards"]["items"], parts)
    schema["properties"] = {"name": {"const": name}, **schema.get("properties", {})}
    schema["required"] = ["name", *schema.get("required", [])]
    schema["description"] = plugin.summary()
    return schema
