"""Rules for fields that can be looked at one by one: what becomes of a name, whatever else the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lorry.recipe.foreign_names import ONLY, TARGETS, UNSET, UNUSED
from lorry.recipe.importers._sheet import Part
from lorry.recipe.layer import show

_OFF: tuple[Any, ...] = (False, [], {}, "", 0, "no", "none", "None", "off", "disabled")
_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class To(NamedTuple):
    """Becomes a setting."""

    path: str
    convert: Callable[[Any], Any] = lambda value: value


class Idle(NamedTuple):
    """Means nothing here."""

    why: str


class Only(NamedTuple):
    """Lorry does as with these values; any other is more than it can."""

    accepted: tuple[Any, ...]
    engines: tuple[str, ...]
    matters: bool = True


class Lacks(NamedTuple):
    """Lorry has no such thing, unless it is switched off."""

    why: str
    engines: tuple[str, ...]
    matters: bool = True


Rule = To | Idle | Only | Lacks


def shared(names: Iterable[str]) -> dict[str, Rule]:
    """Names that mean the same to Hugging Face's trainers, and go where they go in a Python recipe."""
    return {name: To(*TARGETS[name]) for name in names}


def unused(names: Iterable[str]) -> dict[str, Rule]:
    """Names of Hugging Face's trainers that mean nothing here."""
    return {name: Idle(UNUSED[name]) for name in names}


def only(names: Iterable[str], engines: tuple[str, ...]) -> dict[str, Rule]:
    """Names of Hugging Face's trainers of which lorry knows but one meaning."""
    return {name: Only(ONLY[name], engines) for name in names}


def truth(value: Any) -> Any:
    """`yes` and `off` are true and false in YAML 1.1, by which other systems read; everything else stays."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def when(true: Any, false: Any = UNSET) -> Callable[[Any], Any]:
    """One setting for true, another for false; other values are left for the recipe's own check."""
    return lambda value: {True: true, False: false}.get(truth(value), value) if _is_truth(value) else value


def number(value: Any) -> Any:
    """A number that may stand in quotes: `"2e-5"`."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def apply(part: Part, rules: Mapping[str, Rule]) -> None:
    """Applies the rules to the fields of a part that nobody has spoken of yet."""
    for key in part.values:
        if key in rules and part.sheet.covering(part.name(key)) is None:
            _apply(part, key, rules[key])


def _apply(part: Part, key: str, rule: Rule) -> None:
    value = part.get(key)
    match rule:
        case Idle():
            part.idle(key, rule.why)
        case _ if value is None:
            part.idle(key, "not set")
        case To():
            _to(part, key, rule)
        case Only():
            _only(part, key, rule)
        case Lacks():
            if is_off(value):
                part.idle(key, "switched off")
            else:
                part.lacks(key, rule.why, rule.engines, matters=rule.matters)


def is_off(value: Any) -> bool:
    """Whether a value says that something is not wanted."""
    return value is None or any(value == off and type(value) is type(off) for off in _OFF)


def _to(part: Part, key: str, rule: To) -> None:
    given = part.get(key)
    try:
        value = rule.convert(given)
    except (TypeError, ValueError):
        value = given  # of another kind than such a field has; the recipe's own check tells
    if value is UNSET:
        part.idle(key, "says what is so without it")
    elif part.sheet.has(rule.path) and (others := part.sheet.sources.get(rule.path)):
        part.idle(key, f"`{others[0]}` says it already")
    else:
        part.to(key, rule.path, value)


def _only(part: Part, key: str, rule: Only) -> None:
    value = part.get(key)
    accepted = [one for one in rule.accepted if one is not None]
    if value in accepted:
        part.idle(key, "says what is so without it")
        return
    does = " or ".join(f"`{show(one)}`" for one in accepted)
    why = f"lorry does as with {does}" if accepted else "lorry has no such setting"
    part.lacks(key, why, rule.engines, matters=rule.matters)


def _is_truth(value: Any) -> bool:
    return isinstance(truth(value), bool)
