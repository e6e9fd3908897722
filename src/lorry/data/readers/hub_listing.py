"""What the Hub last said of a data set's files, for when it cannot be reached: their rows may be rendered here already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lorry.data.readers.blob import Blob, suffix_of
from lorry.track.folder import cache, write_json


def remember(name: str, blobs: list[Blob]) -> None:
    """Keeps the names and hashes of a split's files."""
    write_json(_place(name), [{"name": blob.name, "digest": blob.digest()} for blob in blobs])


def remembered(name: str, refuse: Callable[[str], BinaryIO]) -> list[Blob]:
    """The split's files as they were last time; empty where it was never seen. Opening one calls `refuse` with its name."""
    try:
        found = json.loads(_place(name).read_text(encoding="utf-8"))
        return [_blob(str(one["name"]), str(one["digest"]), name, refuse) for one in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _blob(file: str, digest: str, name: str, refuse: Callable[[str], BinaryIO]) -> Blob:
    told = f"the Hub cannot be reached: {name} is taken as it was when its rows were rendered here"
    return Blob(file, suffix_of(file), lambda: refuse(file), lambda: digest, told)


def _place(name: str) -> Path:
    return cache() / "hub" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
