"""Which format a data set has: looked for in every row, for the first row does not speak for the rest."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

from lorry.data import files
from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.columns import beside
from lorry.data.formats._base import Format
from lorry.data.images.of_rows import are_marked, column_of, with_images
from lorry.data.readers.blob import Blob
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.plugins import find, make, names
from lorry.recipe.sources import Source


class Layout:
    """Reads raw rows by one format: the one that is named, or the one that the rows have."""

    def __init__(
        self, spec: Mapping[str, Any], accepts: frozenset[str], method: str, *, reads_images: bool = True
    ) -> None:
        self._reads_images = reads_images
        self._unread = 0
        self._accepts = accepts
        self._method = method
        self._named = None if spec.get("name") == "auto" else _named(spec, accepts, method)
        self._known = _known()
        self._usable = [self._named] if self._named else [entry for entry in self._known if entry.gives in accepts]
        self._seen: Counter[str] = Counter()
        self._spec = spec
        self._of: dict[int, tuple[Source, Layout]] = {}

    def of(self, source: Source | None) -> Layout:
        """The layout of one source, which is a matter of its own; without a source, this one."""
        if source is None:
            return self
        if id(source) not in self._of:
            own = Layout(source.format or self._spec, self._accepts, self._method, reads_images=self._reads_images)
            self._of[id(source)] = source, own
        return self._of[id(source)][1]

    @property
    def format(self) -> str:
        """The name of the format that most rows have; empty before a row was read."""
        seen = [(count, name) for layout in self._all for name, count in layout._seen.items()]
        return max(seen, key=lambda pair: pair[0])[1] if seen else ""

    @property
    def mixed(self) -> bool:
        """Whether rows of several formats were read from one source."""
        return any(len(layout._seen) > 1 for layout in self._all)

    @property
    def unread(self) -> int:
        """How many rows have a column named like one of images, which the model does not read and the text does not mark."""
        return sum(layout._unread for layout in self._all)

    def settle(self) -> None:
        """From now on reads each source by its commonest format alone, and refuses rows of others."""
        for layout in self._all:
            # Of equally common ones the more particular, which comes first.
            commonest = max(layout._usable, key=lambda entry, seen=layout._seen: seen[entry.name], default=None)
            layout._usable = layout._usable if commonest is None or not layout._seen else [commonest]
            layout._seen.clear()
            layout._unread = 0

    @property
    def _all(self) -> list[Layout]:
        return [self, *(layout for _, layout in self._of.values())]

    def read(self, raw: dict[str, Any], origin: Any) -> Row:
        """The row. Raises BadRowError when no format, or not the set's, can read it."""
        entry = next((entry for entry in self._usable if entry.matches(raw)), None)
        if entry is None:
            raise self._unreadable(raw)
        self._seen[entry.name] += 1
        row = entry.read(raw, origin)
        if self._reads_images or row.messages is None or are_marked(row):
            return with_images(raw, row)
        column = column_of(raw)
        if column == "images" and entry.name == "messages" and raw[column]:
            return with_images(raw, row)  # conversations have no such column but for images
        self._unread += bool(column)
        return row

    def _unreadable(self, raw: dict[str, Any]) -> BadRowError:
        other = next((entry for entry in self._known if entry.matches(raw)), None)
        fields = ", ".join(f"`{str(name)[:40]}`" for name in list(raw)[:8]) or "none"
        if other is None:
            own = self._usable[0].name if len(self._usable) == 1 else self.format
            what = f"the fields of `{own}`" if own else "the fields of any format"
            return BadRowError(f"the row has not {what}, but {fields}", hint=_LIST)
        if other.gives not in self._accepts:
            kind, better = _KINDS[other.gives]
            message = f"the row is {kind} (`{other.name}`), which `{self._method}` does not learn from"
            needed = " or ".join(_LOOKS[one] for one in _LOOKS if one in self._accepts)
            return BadRowError(message, hint=f"use `method: {better}`; rows for `{self._method}` look like {needed}")
        own = self._usable[0].name
        expected = f"and `data.format` names `{own}`" if self._named else f"most rows as `{own}`"
        message = f"the row is laid out as `{other.name}`, {expected}"
        return BadRowError(message, hint="lay all rows out alike, or train on each kind by itself")


def rows(blobs: Sequence[Blob], layout: Layout, bad: BadRows) -> Iterator[Row]:
    """Every row of the files that its format can read; the others go to `bad`."""
    for _, group in groupby(blobs, lambda blob: id(blob.source)):
        of_one = list(group)
        own = layout.of(of_one[0].source)
        for raw, origin in files.read_source(of_one, bad):
            try:
                row = own.read(raw, origin)
                yield row if row.messages is None or row.columns is not None else replace(row, beside=beside(raw))
            except BadRowError as error:
                bad.add(origin, error)
            except RecursionError:
                bad.add(origin, BadRowError("the row is nested too deeply", hint="rows are flat objects"))


def known_formats() -> list[type[Format]]:
    """All formats, the more particular ones first."""
    return sorted(
        (cast("type[Format]", find("formats", name)) for name in names("formats")), key=lambda kind: kind.rank
    )


def examples_of_formats() -> list[dict[str, str]]:
    """Every format's name, summary, and the explanation with an example that its file begins with."""
    return [
        {
            "name": kind.name,
            "summary": kind.summary(),
            "about": (getattr(inspect.getmodule(kind), "__doc__", "") or "").strip(),
        }
        for kind in known_formats()
    ]


def _known() -> list[Format]:
    return [kind() for kind in known_formats() if kind.found]


def _named(spec: Mapping[str, Any], accepts: frozenset[str], method: str) -> Format:
    entry = cast("Format", make("formats", spec))
    if entry.gives not in accepts:
        kind = _MANY[entry.gives]
        hint = f"formats for it: {', '.join(kind.name for kind in known_formats() if kind.gives in accepts)}"
        message = f"the format `{entry.name}` gives {kind}, which `{method}` does not learn from"
        raise DataError(message, place="data.format", hint=hint)
    return entry


_KINDS = {
    "messages": ("a conversation", "sft"),
    "text": ("raw text", "cpt"),
    "preference": ("a preference pair", "dpo"),
    "labelled": ("an answer with a label", "kto"),
    "prompt": ("a prompt without an answer", "grpo"),
}
"""What a row is called, and which method learns from it."""
_MANY = {
    "messages": "conversations",
    "text": "raw text",
    "preference": "preference pairs",
    "labelled": "answers with a label",
    "prompt": "prompts without answers",
}
_LOOKS = {
    "messages": '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}',
    "text": '{"text": ...}',
    "preference": '{"prompt": ..., "chosen": ..., "rejected": ...}',
    "labelled": '{"prompt": ..., "completion": ..., "label": true}',
    "prompt": '{"prompt": ..., "answer": ...}',
}
"""A row of each kind, as short as can be."""
_LIST = "`lorry data formats` shows what each format looks like; name one with `data.format`"
