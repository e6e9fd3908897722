"""Lists the plugins of a kind: names, what they are for, and their settings."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pydantic_core import PydanticUndefined, to_jsonable_python

from lorry import plugins
from lorry.cli import output
from lorry.evaluate.metrics._base import Metric


def described(kind: str) -> list[dict[str, Any]]:
    """Every plugin of a kind, for programs."""
    return [_described(plugins.find(kind, name), name) for name in plugins.names(kind)]


def show(kind: str, key: str, said: str = "") -> None:
    """Prints a table of a kind's plugins, and says where a recipe chooses one; or `said`, where none does."""
    listed = described(kind)
    output.table(
        [kind.removesuffix("s"), "settings", "what it is"],
        [[one["name"], ", ".join(map(_setting, one["settings"])) or "-", _about(one)] for one in listed],
    )
    output.note(said or f"a recipe chooses in `{key}`; `lorry {kind} --json` explains each setting")


def _about(one: dict[str, Any]) -> str:
    """What it is, with the range and direction of its scores if it has any."""
    return "\n".join(text for text in (one["summary"], one.get("scores")) if text)


def _described(plugin: type[plugins.Plugin], name: str) -> dict[str, Any]:
    properties = plugin.model_json_schema().get("properties", {})
    settings = [
        {
            "name": field,
            "default": None if info.is_required() else _default(info),
            "required": info.is_required(),
            "help": info.description or "",
            "schema": properties.get(field, {}),
        }
        for field, info in plugin.model_fields.items()
    ]
    about = inspect.getdoc(plugin) or ""
    better: bool | None = getattr(plugin, "higher_is_better", None)
    direction = {} if better is None else {"higher_is_better": better}
    tells: dict[str, bool] | None = getattr(plugin, "tells", None)
    told = {} if tells is None else {"tells": dict(tells)}
    scores = {"scores": plugin.scores_in_words()} if issubclass(plugin, Metric) else {}
    return {
        "name": name,
        "summary": plugin.summary(),
        "about": about,
        **direction,
        **scores,
        **told,
        "settings": settings,
    }


def _default(info: Any) -> Any:
    value = info.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else to_jsonable_python(value)


def _setting(setting: dict[str, Any]) -> str:
    default = setting["default"]
    shown = json.dumps(default) if default is None or isinstance(default, bool | list) else default
    return setting["name"] if setting["required"] else f"{setting['name']}={shown}"
