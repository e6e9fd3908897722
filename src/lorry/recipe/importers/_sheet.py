"""What becomes of each field of a foreign configuration; none can be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from lorry.recipe.layer import Layer, get, put, show
from lorry.recipe.paths import exists, from_home
from lorry.recipe.problems import Problem
from lorry.secrets.key_forms import names_a_secret
from lorry.secrets.masking import MASK, mask_values

_OF_TEXT = re.compile(
    r"(pad|[be]os|unk|sep|cls|mask|eot|eom|begin|end|image|video|audio|decoder|boi|eoi)_token", re.IGNORECASE
)
"""Tokens that are no secrets: words of a model's vocabulary."""
_OWN = re.compile(r"_|x-")
"""How the names of parts begin that hold nothing but anchors."""


class Fate(StrEnum):
    """What a field becomes."""

    TRANSLATED = "translated"
    """A setting of the recipe."""
    NO_EFFECT = "no effect"
    """Nothing, for it means nothing here, or says what is so anyway."""
    NOT_NATIVE = "not native"
    """Nothing: lorry's own trainer has no such thing."""
    UNKNOWN = "unknown"
    """Nothing: the system has no field of this name, as far as lorry knows."""


@dataclass(frozen=True)
class Field:
    """One field, or a part of the configuration that has one fate as a whole."""

    name: str
    """As the configuration has it: `datasets[0].type`."""
    fate: Fate
    value: str
    """For messages; not that of a secret."""
    place: str
    """`file:line`."""
    to: tuple[str, ...] = ()
    """What of the recipe it became: `train.micro_batch`."""
    why: str = ""
    engines: tuple[str, ...] = ()
    """Engines that can do what lorry's own trainer cannot; `llamafactory` stands for the system itself."""
    matters: bool = False
    """Whether training without it would learn something else, so that it is an error."""


@dataclass
class Sheet:
    """The configuration, and what was made of it up to now."""

    given: dict[str, Any]
    layer: Layer
    """Where each of its fields stands."""
    file: str
    bases: tuple[Path, ...]
    """Folders that its paths start from; the first in which there is such a thing counts."""
    made: Layer = field(default_factory=Layer)
    """The recipe."""
    fields: dict[str, Field] = field(default_factory=dict[str, Field])
    sources: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Which fields made a setting."""
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def top(self) -> Part:
        """All of it."""
        return Part(self, "", self.given)

    def put(self, path: str, value: Any, *names: str) -> None:
        """Sets a setting of the recipe, for these fields; without one, for what the system does by itself."""
        keys = tuple(path.split("."))
        put(self.made.values, keys, value)
        self.sources.setdefault(path, []).extend(names)
        if names:
            for depth in range(1, len(keys) + 1):
                self.made.places.setdefault(keys[:depth], self.place(names[0]))

    def has(self, path: str) -> bool:
        """Whether the recipe has this setting by now."""
        return get(self.made.values, tuple(path.split("."))) is not None

    def place(self, name: str) -> str:
        """The line of a field."""
        return self.layer.place(_keys(name)) or self.file

    def problem(self, name: str, message: str, hint: str) -> None:
        """Says that a field is wrong; all such are told in one go."""
        self.problems.append(Problem(f"{self.place(name)}: {name}", message, hint))

    def local(self, path: str) -> Path | None:
        """The file or folder that a path names; None where there is none."""
        return next((found for base in self.bases if exists(found := base / from_home(path))), None)

    def rest(self) -> None:
        """Whatever nobody has said anything of is unknown, or nobody's business."""
        for name, _ in leaves(self.given):
            if self.covering(name) is None:
                self._left_over(name)

    def covering(self, name: str) -> Field | None:
        """What was said of a field, or of a part that holds it."""
        return next((self.fields[part] for part in _parts(name) if part in self.fields), None)

    def _left_over(self, name: str) -> None:
        first = _parts(name)[-1]
        if _OWN.match(first):
            self._note(first, Fate.NO_EFFECT, "a part for anchors, by its name")
        else:
            self._note(name, Fate.UNKNOWN, "no such field is known", matters=True)

    def _note(self, name: str, fate: Fate, why: str = "", **more: Any) -> None:
        value = get(self.given, _keys(name))
        shown = MASK if _is_secret(name, value) else show(mask_values(_brief(value)))
        self.fields[name] = Field(name, fate, shown, self.place(name), why=why, **more)

    note = _note


@dataclass(frozen=True)
class Part:
    """A mapping in the configuration, whose fields are spoken of by their own names."""

    sheet: Sheet
    at: str
    values: Mapping[str, Any]
    is_short: bool = False
    """Whether it stands there in short, as the value of its one field."""

    def name(self, key: str) -> str:
        """A field's name in the whole."""
        if self.is_short:
            return self.at
        return f"{self.at}.{key}" if self.at else key

    def get(self, key: str) -> Any:
        """A field's value; None where it is not given. It must be spoken of all the same."""
        return self.values.get(key)

    def text(self, key: str) -> str | None:
        """The same for a text; anything else is a problem, and counts as not given."""
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        self.sheet.problem(self.name(key), f"must be text, and is {_kind(value)}", "write one name")
        self.done(key)
        return None

    def part(self, key: str) -> Part | None:
        """A part of this one; None where it is not given, or no mapping."""
        value = self.values.get(key)
        return Part(self.sheet, self.name(key), cast("Mapping[str, Any]", value)) if isinstance(value, dict) else None

    def parts(self, key: str) -> list[Part]:
        """The mappings in a list, or one that stands for a list; anything else is a problem."""
        value = self.values.get(key)
        if isinstance(value, dict):
            return [Part(self.sheet, self.name(key), cast("Mapping[str, Any]", value))]
        if value is not None and not isinstance(value, list):
            self.sheet.problem(self.name(key), f"must be a list, and is {_kind(value)}", "write `- path: ...` under it")
            self.done(key)
        found: list[Part] = []
        for number, one in enumerate(cast("list[Any]", value) if isinstance(value, list) else []):
            at = f"{self.name(key)}[{number}]"
            if isinstance(one, dict):
                found.append(Part(self.sheet, at, cast("Mapping[str, Any]", one)))
            else:
                self.sheet.problem(at, f"must be a mapping, and is {_kind(one)}", "write `- path: ...`")
                self.sheet.note(at, Fate.NOT_NATIVE)
        return found

    def to(self, key: str, path: str, value: Any, why: str = "") -> None:
        """The field becomes a setting."""
        self.done(key, path, why=why)
        self.sheet.put(path, value, self.name(key))

    def done(self, *keys: str, why: str = "") -> None:
        """The field `keys[0]` has been translated, into what the others name."""
        if keys[0] in self.values:
            self.sheet.note(self.name(keys[0]), Fate.TRANSLATED, why, to=keys[1:])

    def idle(self, key: str, why: str) -> None:
        """The field means nothing here."""
        if key in self.values:
            self.sheet.note(self.name(key), Fate.NO_EFFECT, why)

    def lacks(self, key: str, why: str, engines: tuple[str, ...] = (), *, matters: bool = True) -> None:
        """Lorry's own trainer has no such thing."""
        if key in self.values:
            self.sheet.note(self.name(key), Fate.NOT_NATIVE, why, engines=engines, matters=matters)


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that holds no further ones: `datasets[0].path`. Lists of plain values are one field."""
    if isinstance(value, dict) and value:
        for key, below in cast("dict[Any, Any]", value).items():
            yield from leaves(below, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in cast("list[Any]", value)):
        for number, below in enumerate(cast("list[Any]", value)):
            yield from leaves(below, f"{at}[{number}]")
    elif at:
        yield at, value


def _keys(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", name))


def _parts(name: str) -> list[str]:
    """A name, and those of the parts that hold it, from the inside out."""
    ends = [match.start() for match in re.finditer(r"[.\[]", name)]
    return [name, *(name[:end] for end in reversed(ends))]


def _is_secret(name: str, value: Any) -> bool:
    """By the names that lead to it; whether something is on or off is none."""
    keys = [key for key in map(str, _keys(name)) if not _OF_TEXT.fullmatch(key)]
    return not (value is None or isinstance(value, bool)) and any(map(names_a_secret, keys))


def _brief(value: Any) -> Any:
    if isinstance(value, dict):
        return f"{{{', '.join(map(str, cast('dict[Any, Any]', value)))}}}"
    return value


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else f"`{show(value)}`"
