"""What the worker of a rehearsal is to do, as a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorry.plan.rehearsal.room import Room
from lorry.recipe.schema import Recipe
from lorry.track.folder import write_json


@dataclass(frozen=True)
class Task:
    """One rehearsal, from the worker's side."""

    room: Room
    recipe: Recipe
    """The recipe that is rehearsed."""
    base: str
    """Where its relative paths start from."""
    source: dict[str, Any]
    """Where the true model came from: `id`, `kind`, `revision`."""
    source_folder: str
    """The true model's config.json and tokenizer."""
    all_rows: str
    """The folder of all rendered rows."""
    asked: int
    """Rows that the true evaluation generates answers for."""

    def save(self) -> None:
        """Writes it into its room."""
        facts = {**asdict(self), "recipe": self.recipe.model_dump(mode="json")}
        del facts["room"]
        write_json(self.room.task, facts)

    @classmethod
    def open(cls, room: Path) -> Task:
        """What `save` left in a room."""
        facts: dict[str, Any] = json.loads(Room(room).task.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(facts.pop("recipe"))
        return cls(Room(room), recipe, **facts)

    def write_run(self, folder: Path, recipe: Recipe) -> None:
        """What a training process reads, for a run in this folder."""
        facts = {
            "recipe": recipe.model_dump(mode="json"),
            "base": self.base,
            "model_folder": str(self.room.model),
            "data_folder": str(self.room.rows),
            "source": self.source,
            "command": [],
            "smoke": False,
        }
        write_json(folder / "resolved.json", facts)
