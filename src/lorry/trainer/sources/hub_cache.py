"""The Hub's local cache, verified: each file against the hash that the Hub gave it when it was fetched.

A snapshot `models--OWNER--NAME/snapshots/COMMIT` links to `blobs/HASH`: SHA-256 for large files, git's SHA-1 for others.
`trees/COMMIT.json` holds the same hashes for systems without links (huggingface_hub 2.4, `_tree_cache.py`).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lorry import units
from lorry.track.folder import cache, write_json

_WEIGHTS = (".safetensors", ".bin")
_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Verified:
    """What comparing a snapshot with its hashes gave."""

    damaged: list[str] = field(default_factory=list[str])
    unknown: list[str] = field(default_factory=list[str])
    """Files whose hash nobody wrote down."""
    hashed: int = 0
    """Bytes that were read now; what was verified before and has not changed since is not read again."""
    seconds: float = 0.0

    @property
    def told(self) -> str:
        """In words, for the note that says that the copy is used."""
        parts = [f"read {units.size(self.hashed)} in {units.duration(self.seconds)}"] if self.hashed else []
        parts += [f"no hash is known for {', '.join(self.unknown)}"] if self.unknown else []
        return "its files are whole" + (f" ({'; '.join(parts)})" if parts else "")


def verify(snapshot: Path, *, weights: bool) -> Verified:
    """Compares a snapshot's files with their hashes; without `weights`, only the small ones.

    Reads about a gigabyte a second, and remembers what it found by size and time of change.
    """
    began = time.monotonic()
    expected, remembered = _expected(snapshot), _remembered(snapshot)
    damaged, unknown, hashed = list[str](), list[str](), 0
    for file in sorted(snapshot.iterdir()):
        if not file.is_file() or (file.suffix in _WEIGHTS and not weights):
            continue
        wanted = expected.get(file.name, "")
        if len(wanted) not in {40, 64}:
            unknown.append(file.name)
            continue
        state = [*_state(file), wanted]
        if remembered.get(file.name, {}).get("state") != state:
            remembered[file.name] = {"state": state, "whole": _hash(file, len(wanted)) == wanted}
            hashed += file.stat().st_size
        if not remembered[file.name]["whole"]:
            damaged.append(file.name)
    write_json(_memory(snapshot), remembered)
    return Verified(damaged, unknown, hashed, time.monotonic() - began)


def known_damaged(snapshot: Path) -> list[str]:
    """Files that an earlier `verify` found damaged, and that have not changed since. Reads none of them."""
    return [
        name
        for name, found in _remembered(snapshot).items()
        if not found["whole"] and (snapshot / name).is_file() and found["state"][:2] == _state(snapshot / name)
    ]


def _expected(snapshot: Path) -> dict[str, str]:
    """Each file's hash: the name of what it links to, or what the listing says."""
    found = {file.name: Path(file.readlink()).name for file in snapshot.iterdir() if file.is_symlink()}
    return {**_listed(snapshot.parents[1] / "trees" / f"{snapshot.name}.json"), **found}


def _listed(tree: Path) -> dict[str, str]:
    try:
        files = cast("dict[str, dict[str, Any]]", json.loads(tree.read_text(encoding="utf-8"))["files"])
        return {name: str(facts.get("lfs_sha256") or facts["blob_id"]) for name, facts in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _hash(file: Path, length: int) -> str:
    """SHA-256, or git's hash of a blob: SHA-1 over a head with the size, and the content."""
    if length == 64:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    made = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            made.update(block)
    return made.hexdigest()


def _state(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _memory(snapshot: Path) -> Path:
    key = hashlib.sha256(str(snapshot.absolute()).encode()).hexdigest()[:16]
    return cache() / "verified" / f"{snapshot.name[:12]}-{key}.json"


def _remembered(snapshot: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_memory(snapshot).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = cast("dict[str, Any]", found).items() if isinstance(found, dict) else ()
    return {name: one for name, one in entries if isinstance(one, dict) and {"state", "whole"} <= one.keys()}
