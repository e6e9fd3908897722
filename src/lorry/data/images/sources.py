"""Files that images were read from: rendered rows are those of the files as they were, and others where one has changed.

Which files rows name is known only once they were read, so it is noted beside the folders of rendered rows, for each folder
that relative paths start from, and the name of the rows' folder says how the files were. Folders that a run reads at this
moment never change. Files that were looked for in vain are among them: rows are rendered again once they are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lorry.track.folder import write_json

Seen = dict[str, str]
"""How each file was, by its path, before it was read; and the URLs that could not be fetched."""
FAILED = "failed"
"""Stands for what may be otherwise each time it is asked for."""


def note_sources(place: Path, base: Path, seen: Mapping[str, str]) -> None:
    """Notes which files the images of rows at this place were looked for in."""
    if seen:
        write_json(_note(place, base), sorted(seen))


def with_sources(place: Path, base: Path) -> Path:
    """Where the rows lie that were rendered with the image files as they are now; `place` itself where there are none."""
    try:
        found: list[str] = json.loads(_note(place, base).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return place
    return folder_for(place, base, {name: state_of(Path(name)) for name in found})


def folder_for(place: Path, base: Path, seen: Mapping[str, str]) -> Path:
    """The folder of rows at this place whose image files were in this state; `place` itself where there are none."""
    if not seen:
        return place
    digest = hashlib.sha256(f"{base.resolve()}\n".encode("utf-8", "surrogatepass"))
    for name in sorted(seen):
        digest.update(f"{name}\0{seen[name]}\n".encode("utf-8", "surrogatepass"))
    return place.with_name(f"{place.name}-{digest.hexdigest()[:16]}")


def state_of(file: Path) -> str:
    """How a file is: its size and when it was changed, or that it is not there."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns}"


def _note(place: Path, base: Path) -> Path:
    """Equal rows in two projects name files of each its own."""
    owner = hashlib.sha256(str(base.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return place.with_name(f"{place.name}.{owner}.images.json")
