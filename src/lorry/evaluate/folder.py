"""The `eval` folder on disk: its files appear together, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lorry.track.folder import write_json, write_text

Json = dict[str, Any]


def write_evaluation(
    folder: Path, scores: Json, answers: Sequence[Json], hard: Sequence[Json], *, samples: int
) -> None:
    """Puts a whole new folder in the place of the old one; what breaks on the way leaves the old one as it was."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        write_text(aside / "samples.jsonl", _lines(spread(answers, samples)))
        write_text(aside / "answers.jsonl", _lines(answers))
        write_text(aside / "high_loss.jsonl", _lines(hard))
        write_json(aside / "scores.json", scores)
        _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def spread(rows: Sequence[Json], most: int) -> list[Json]:
    """At most so many rows, from the whole length of the list and not from its beginning."""
    if most <= 0 or len(rows) <= most:
        return list(rows) if most > 0 else []
    return [rows[index * len(rows) // most] for index in range(most)]


def read_json(path: Path) -> Json:
    """A JSON object; an empty one where there is no such file or it holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("Json", value) if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[Json]:
    """The rows of a file that `write_evaluation` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _lines(rows: Sequence[Json]) -> str:
    # Half of a surrogate pair, which a row may hold, has no place in UTF-8: it is written as its escape.
    texts = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    return "".join(texts).encode("utf-8", "backslashreplace").decode("utf-8")


def _swap(new: Path, old: Path) -> None:
    """Renames twice; a folder cannot replace one that has files in it."""
    before = old.with_name(f".{old.name}.{os.getpid()}.before")
    if old.exists():
        old.replace(before)
    try:
        new.replace(old)
    except OSError:
        if before.exists():
            before.replace(old)
        raise
    shutil.rmtree(before, ignore_errors=True)
