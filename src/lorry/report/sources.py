"""What a run left behind, read for its report; each part may be missing, for a run can end anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lorry.data.images.families import FAMILIES
from lorry.errors import LorryError
from lorry.track import events
from lorry.track.folder import RunFolder
from lorry.track.state import RunState, state
from lorry.trainer.watched import Watched, best_as_known

_NATURAL_DIRECTIONS = {"loss": False, "perplexity": False, "preference_accuracy": True, "reward_accuracy": True}
"""Scores that are no metrics of the recipe: whether higher is better."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """The parts of a run that reports are made from; empty or None where a run has no such part."""

    run: str
    now: RunState
    resolved: Json = field(default_factory=dict[str, Any])
    plan: Json = field(default_factory=dict[str, Any])
    provenance: Json = field(default_factory=dict[str, Any])
    scores: Json = field(default_factory=dict[str, Any])
    samples: list[Json] = field(default_factory=list[Json])
    high_loss: list[Json] = field(default_factory=list[Json])
    directions: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """For each score whether higher is better; one that is unknown here is missing."""
    best_by: Watched = field(default_factory=Watched)
    """What made a step the best."""
    adapter_bytes: int | None = None
    reads_images: bool = False
    """Whether lorry shows images to the model."""
    damage: list[str] = field(default_factory=list[str])
    """Files that could not be read, and why."""

    @property
    def recipe(self) -> Json:
        """The recipe with every default filled in."""
        return mapping(self.resolved.get("recipe"))

    @property
    def method(self) -> str:
        """The method's name; empty where the recipe cannot be read."""
        return str(mapping(self.recipe.get("method")).get("name") or "")


def read(folder: RunFolder) -> Sources:
    """Everything in the run's folder that a report needs. A damaged file is named in `damage`, not raised."""
    damage: list[str] = []
    try:
        now = state(events.read(folder.events))
    except LorryError as error:
        damage.append(str(error))
        now = state(_before_damage(folder.events))
    scores = mapping(_json(folder.evaluation / "scores.json", damage))
    resolved = mapping(_json(folder.resolved, damage))
    plan = mapping(_json(folder.plan, damage)) | mapping(_json(folder.sent_plan, damage))
    return Sources(
        run=folder.id,
        now=now,
        resolved=resolved,
        plan=plan,
        provenance=mapping(_json(folder.provenance, damage)),
        scores=scores,
        samples=_rows(folder.evaluation / "samples.jsonl", damage),
        high_loss=_rows(folder.evaluation / "high_loss.jsonl", damage),
        directions=_directions(scores),
        best_by=best_as_known(mapping(resolved.get("recipe"))),
        adapter_bytes=_weights_size(folder.adapter),
        reads_images=_reads_images([Path(str(resolved.get("model_folder") or folder.adapter)), folder.adapter]),
        damage=damage,
    )


def mapping(value: Any) -> Json:
    """The value if it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def _before_damage(path: Path) -> Iterable[events.Event]:
    try:
        yield from events.read(path)
    except LorryError:
        return


def _json(path: Path, damage: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damage.append(f"{path.name} cannot be read: {error}")
        return None


def _rows(path: Path, damage: list[str]) -> list[Json]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [mapping(json.loads(line)) for line in lines if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        damage.append(f"{path.name} cannot be read: {error}")
        return []


def _directions(scores: Json) -> dict[str, bool]:
    """What each metric said of itself when it scored; one that said nothing stays unknown."""
    said = {name: mapping(facts).get("higher_is_better") for name, facts in mapping(scores.get("metrics")).items()}
    return {**_NATURAL_DIRECTIONS, **{name: higher for name, higher in said.items() if isinstance(higher, bool)}}


def _reads_images(folders: Iterable[Path]) -> bool:
    """Whether one of these folders holds a model of such a family; the base's may be gone, or on another machine."""
    return any(str(mapping(_json(folder / "config.json", [])).get("model_type")) in FAMILIES for folder in folders)


def _weights_size(folder: Path) -> int | None:
    files = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    return sum(file.stat().st_size for file in files) if files else None
