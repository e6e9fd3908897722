"""What a probe is: two values of one setting, and what to look at to see that they do different things."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import isclass
from pathlib import Path
from typing import Any, get_args

import tiny_runs
from lorry.recipe.layer import put
from lorry.recipe.load import from_dict
from lorry.recipe.schema import Recipe, Section

Values = dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """Two values of a field that must lead to different observations."""

    field: str
    values: tuple[Any, Any]
    observe: Callable[[Values], Any]
    gives: tuple[Any, Any] | None = None
    """What is seen with each value, where it can be known; else the two only have to differ, and to be repeatable."""
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Other settings that the field needs to matter, by dotted name."""

    def seen(self, value: Any) -> Any:
        """What is observed with this value, in the current folder, which must be a workshop."""
        values = tiny_runs.recipe(Path())
        for name, setting in {**self.given, self.field: value}.items():
            put(values, tuple(name.split(".")), setting)
        return self.observe(values)

    def __str__(self) -> str:
        return self.field


def leaves(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting below a section."""
    for name, described in section.model_fields.items():
        kinds = (described.annotation, *get_args(described.annotation))
        below = [kind for kind in kinds if isclass(kind) and issubclass(kind, Section)]
        if below:
            yield from leaves(below[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def understood(values: Values) -> Recipe:
    """The recipe as lorry loads it from the current folder."""
    return from_dict(values, Path.cwd()).recipe
