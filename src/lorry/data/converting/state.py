"""The state beside an output: what its rows were made of, and what the files hold: by it the next conversion knows what is new.

The first line is a JSON object, every other one a source: 16 hexadecimal digits for its key, 16 for what it says. Nothing of
what anybody wrote stands there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorry.data.converters._base import Source, digest

_VERSION = 1


def place_of(output: Path) -> Path:
    """Where the state of an output lies."""
    return output.with_name(f"{output.name}.state")


@dataclass
class Sources:
    """What rows were made of."""

    states: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """By key, in hashes; several where an id stands for several texts."""

    def add(self, sources: Iterable[Source]) -> None:
        """These too."""
        for one in sources:
            self.states.setdefault(digest(one.key), set()).add(digest(one.state))

    def holds(self, source: Source) -> bool:
        """Whether it is among them, as it is now."""
        return digest(source.state) in self.states.get(digest(source.key), ())

    def changes_from(self, before: Sources) -> dict[str, int]:
        """How many are new, edited and gone since then."""
        new = self.states.keys() - before.states.keys()
        edited = [key for key in self.states.keys() & before.states.keys() if self.states[key] - before.states[key]]
        return {"new": len(new), "edited": len(edited), "gone": len(before.states.keys() - self.states.keys())}


@dataclass(frozen=True)
class State:
    """What an earlier conversion left."""

    files: Mapping[str, str]
    """SHA-256 of each file that it wrote, by name."""
    pending: Mapping[str, str]
    """The same of files that a later conversion was about to put into place: one that was killed may have left some."""
    settings: Mapping[str, Any]
    sources: Sources

    def written(self, place: Path) -> Path:
        """Writes it, in the caller's own scratch folder; the file."""
        head = {"lorry": _VERSION, "files": self.files, "pending": self.pending, "settings": self.settings}
        with place.open("w", encoding="utf-8") as out:
            out.write(json.dumps(head, default=str) + "\n")
            for key, states in self.sources.states.items():
                out.writelines(f"{key} {state}\n" for state in sorted(states))
        return place

    @classmethod
    def read(cls, place: Path) -> State | None:
        """What lies there; None for nothing, or for what is no state."""
        try:
            with place.open(encoding="utf-8") as lines:
                head: dict[str, Any] = json.loads(next(lines))
                if head["lorry"] != _VERSION:
                    return None
                sources = Sources()
                for line in lines:
                    key, state = line.split()
                    sources.states.setdefault(key, set()).add(state)
            return cls(head["files"], head["pending"], head["settings"], sources)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None
