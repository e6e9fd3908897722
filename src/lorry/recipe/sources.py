"""Rows that are read in a way of their own: other names of columns, another format, only the first of them.

    train:
      - chat.jsonl
      - path: questions.csv
        format: alpaca
        columns: {instruction: question, output: answer, input: null}
        rows: 5000

A plain name is read as the recipe's `data.format` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from lorry.recipe.section import FileName, Name, Section, Selected

Role = Literal["system", "user", "assistant", "tool"]


class Source(Section):
    """Files of one layout."""

    path: FileName
    """A file, a folder of text files, or `hub:OWNER/NAME[:SPLIT]`, as in a plain name."""
    format: Selected | None = None
    """How these rows are laid out; null for what `data.format` says."""
    columns: dict[Name, Name | None] = Field(default_factory=dict[str, str | None])
    """What columns are called here, by the names that formats know: `{instruction: question}`; null hides a column."""
    turns: dict[Name, Name] = Field(default_factory=dict[str, str])
    """The same for the fields of turns: `{role: speaker, content: text}`."""
    roles: dict[Role, list[Name]] = Field(default_factory=dict[Role, list[str]])
    """What roles are called here: `{user: [customer], assistant: [agent]}`."""
    drop_system: bool = False
    """Leaves system turns out."""
    rows: float | None = Field(default=None, gt=0)
    """The first rows: a share (below 1) or a number (from 1); null for all."""

    @field_validator("roles")
    @classmethod
    def _each_role_once(cls, roles: dict[Role, list[str]]) -> dict[Role, list[str]]:
        names = [name for given in roles.values() for name in given]
        if len(set(names)) < len(names):
            raise ValueError("one name stands for two roles")
        return roles

    @field_validator("columns", "turns")
    @classmethod
    def _each_column_once(cls, columns: dict[str, str | None]) -> dict[str, str | None]:
        names = [name for name in columns.values() if name is not None]
        if len(set(names)) < len(names):
            raise ValueError("one column stands for two")
        return columns


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    return "source" if isinstance(value, (dict, Source)) else "file"


_One = Annotated[
    Annotated[FileName, Tag("file")] | Annotated[Source, Tag("source")],
    Discriminator(lambda value: "source" if isinstance(value, (dict, Source)) else "file"),
]
_Many = Annotated[list[_One], Field(min_length=1)]

Rows = Annotated[
    Annotated[FileName, Tag("file")] | Annotated[Source, Tag("source")] | Annotated[_Many, Tag("list")],
    Discriminator(_kind),
]
"""Where rows are: a name, a source, or a list of both."""


def each(rows: str | Source | Sequence[str | Source] | None) -> list[str | Source]:
    """One by one, in order; none for none."""
    if rows is None:
        return []
    return [rows] if isinstance(rows, (str, Source)) else list(rows)


def path_of(one: str | Source) -> str:
    """The name of what is read."""
    return one if isinstance(one, str) else one.path
