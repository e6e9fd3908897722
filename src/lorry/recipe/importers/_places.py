"""Where another system's rows lie, as a recipe names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from lorry.recipe.importers._sheet import Sheet

_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_FILES = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|parquet|txt|text|md|rst)(\.gz)?$", re.IGNORECASE)
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_SLICE = re.compile(r"(?P<split>[\w.-]+)(?:\[:(?P<rows>\d+)(?P<share>%?)\])?")


class Split(NamedTuple):
    """`train[:1000]`: a split, and how many of its first rows."""

    name: str
    rows: float | None


def split_of(text: str) -> Split | None:
    """A split as `datasets` writes it; None for rows from the middle."""
    found = _SLICE.fullmatch(text.strip())
    if found is None or found["rows"] == "0":
        return None
    if not found["rows"]:
        return Split(found["split"], None)
    number = int(found["rows"])
    if not found["share"]:
        return Split(found["split"], number)
    return Split(found["split"], None if number >= 100 else number / 100)


def is_remote(path: str) -> bool:
    """Whether this is a URL."""
    return re.match(r"[a-z][a-z0-9+]*://", path) is not None


def is_on_hub(path: str, sheet: Sheet) -> bool:
    """Whether a name is `OWNER/NAME` on the Hub, rather than a file or folder here."""
    return sheet.local(path) is None and _ON_HUB.fullmatch(path) is not None and not _FILES.search(path)


def on_hub(path: str, *, revision: str | None, config: str | None, split: str | None) -> str:
    """The Hub's data set as a recipe names it."""
    part = f"{config}/{split or 'train'}" if config else split or ""
    return f"hub:{path}" + (f"@{revision}" if revision else "") + (f":{part}" if part and part != "train" else "")


def in_folder(path: str, sheet: Sheet) -> list[str] | None:
    """The tables that lie in a folder; the folder itself where it holds texts, None for one that lorry cannot read."""
    folder = sheet.local(path)
    if folder is None or not folder.is_dir():
        return [path]
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    tables = [file for file in files if file.suffix.lower() in _TABLES and file.name not in _SETTINGS]
    if tables:
        return [str(Path(path) / file.name) for file in tables]
    return [path] if any(_FILES.search(file.name) for file in files) else None


_SETTINGS = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json")
"""What `datasets` writes beside tables."""
