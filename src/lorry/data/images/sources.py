"""Files that images were read from: rendered rows are those of the files as they were, and others where one has changed.

Which files rows name is known only once they were read, so it is noted beside the folders of rendered rows, and the folder's
name says how the files were. Folders that a run reads at this moment never change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lorry.track.folder import write_json


def note_sources(place: Path, sources: Iterable[str]) -> None:
    """Notes which files the images of rows at this place were read from."""
    found = sorted(sources)
    if found:
        write_json(_note(place), found)


def with_sources(place: Path) -> Path:
    """Where the rows lie that were rendered with the image files as they are now; `place` itself where there are none."""
    try:
        found: list[str] = json.loads(_note(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return place
    digest = hashlib.sha256()
    for name in found:
        digest.update(f"{name}\0{_state(Path(name))}\n".encode("utf-8", "surrogatepass"))
    return place.with_name(f"{place.name}-{digest.hexdigest()[:16]}")


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.images.json")


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns}"
