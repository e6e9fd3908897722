"""Bad rows: what is wrong with a row, collected so that all of them are reported in one go."""

from __future__ import annotations

from dataclasses import dataclass

from lorry.data.rows import Origin
from lorry.errors import DataError

SHOWN = 20
"""Bad rows shown in full; the rest are counted."""


class BadRowError(Exception):
    """A row that cannot be used: the field, what is wrong with it, what to do."""

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and where it stands."""

    origin: Origin
    field: str
    message: str
    hint: str

    def __str__(self) -> str:
        what = f"{self.field}: {self.message}" if self.field else self.message
        return f"{self.origin}: {what} ({self.hint})" if self.hint else f"{self.origin}: {what}"


class BadRows:
    """The bad rows of a data set, in the order in which they were found. Memory does not grow with their number."""

    def __init__(self) -> None:
        self.first: list[BadRow] = []
        self.count = 0

    def add(self, origin: Origin, error: BadRowError) -> None:
        """Remembers one bad row."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(BadRow(origin, error.field, error.message, error.hint))

    def extend(self, other: BadRows) -> None:
        """Remembers another set's bad rows behind these."""
        self.first += other.first[: SHOWN - len(self.first)]
        self.count += other.count

    def lines(self) -> list[str]:
        """One line for each row shown, and one for the rest."""
        more = self.count - len(self.first)
        return [*(str(row) for row in self.first), *([f"and {more:,} more"] if more else [])]

    def error(self, rows: int) -> DataError:
        """All of them as one error; `rows` is how many rows were read, bad ones included."""
        if self.count == 1:
            only = self.first[0]
            message = f"{only.field}: {only.message}" if only.field else only.message
            return DataError(message, place=str(only.origin), hint=only.hint or _HINT)
        listed = "\n  ".join(self.lines())
        hints = {row.hint for row in self.first}
        hint = self.first[0].hint if self.count == rows and len(hints) == 1 else _HINT
        return DataError(f"{self.count:,} of {rows:,} rows cannot be used\n  {listed}", hint=hint)


_HINT = "correct these rows, or go on without them: `-o data.on_bad_row=skip`"
