"""What a training process is given: the run's folder and all that lies in it, and what the agent adds."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorry.data.prepare import Prepared, renderer_for, templated
from lorry.data.render import Renderer
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.here import recipe_here
from lorry.recipe.paths import from_home
from lorry.recipe.schema import Recipe
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder
from lorry.trainer.channel import BEGAN, RUNG, Reporter, attempt
from lorry.trainer.ladder import Rung
from lorry.trainer.saving.snapshot import TokenizerFiles

_TELLING = frozenset({"budget", "diverged", "oom"})


@dataclass(frozen=True)
class Assignment:
    """What the controller wrote into `resolved.json`, and what has happened since."""

    folder: RunFolder
    recipe: Recipe
    base: Path
    model_folder: Path
    prepared: Prepared
    facts: dict[str, Any]
    events: Reporter
    attempt: int
    rung: Rung | None
    """Where the agent says to begin, because the system killed the attempt before; None for where that one was."""
    history: list[Event] = field(default_factory=list[Event])
    """What earlier attempts said that this one must know: a long run's every step would take a gigabyte."""
    began: float = field(default_factory=time.monotonic)
    """When the run began by the clock that nobody sets, had it been worked on without a pause."""

    @classmethod
    def open(cls, path: Path, events: Reporter) -> Assignment:
        """The assignment of a run's folder."""
        folder = RunFolder(path)
        facts = json.loads(folder.resolved.read_text(encoding="utf-8"))
        rung = os.environ.get(RUNG)
        return cls(
            folder=folder,
            recipe=recipe_here(facts),
            base=Path(facts["base"]),
            model_folder=Path(facts["model_folder"]),
            prepared=Prepared.open(Path(facts["data_folder"])),
            facts=facts,
            events=events,
            attempt=attempt(folder.events),
            rung=Rung(**json.loads(rung)) if rung else None,
            history=[event for event in read(folder.events) if event.kind in _TELLING],
            began=float(os.environ.get(BEGAN, time.monotonic())),
        )

    @property
    def seconds_so_far(self) -> float:
        """Seconds that the run has taken: earlier attempts, and what this one has done up to now."""
        return time.monotonic() - self.began

    @property
    def recipe_to_load(self) -> Recipe:
        """The recipe with the whole path of the adapter that it continues: a run elsewhere names that below `base`."""
        model = self.recipe.model
        if model.adapter is None:
            return self.recipe
        whole = model.model_copy(update={"adapter": str(self.base / from_home(model.adapter))})
        return self.recipe.model_copy(update={"model": whole})

    def renderer(self) -> Renderer:
        """Renders prompts as rows were rendered."""
        return renderer_for(self.recipe, self.base, Tokenizer.open(self.model_folder))

    def tokenizer_files(self) -> TokenizerFiles:
        """What is laid beside the weights."""
        tokenizer = templated(Tokenizer.open(self.model_folder), self.recipe.data, self.base)
        return TokenizerFiles(self.model_folder, tokenizer.template().text if tokenizer.has_template else None)
