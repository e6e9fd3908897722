"""From what a recipe names to raw rows: finds the files, and reads each as its kind asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import groupby, islice
from pathlib import Path

from lorry.data.bad_rows import BadRows
from lorry.data.naming import renamed
from lorry.data.readers import csv_file, json_file, jsonl, parquet, text
from lorry.data.readers.blob import Blob, Rows
from lorry.errors import DataError
from lorry.recipe.layer import show
from lorry.recipe.paths import from_home
from lorry.recipe.sources import Source, each, path_of

READERS: dict[str, Callable[[Blob, BadRows], Rows]] = {
    ".jsonl": jsonl.read,
    ".ndjson": jsonl.read,
    ".json": json_file.read,
    ".csv": csv_file.read,
    ".tsv": csv_file.read,
    ".parquet": parquet.read,
    **dict.fromkeys(text.SUFFIXES, text.read),
}
"""What reads which kind of file."""


def find(named: str | Source | Sequence[str | Source], base: Path) -> list[Blob]:
    """The files that a recipe names, in order. Raises DataError for one that does not exist or is of no known kind."""
    found: list[Blob] = []
    for one in each(named):
        blobs = _found(path_of(one), base)
        found += [replace(blob, source=one) for blob in blobs] if isinstance(one, Source) else blobs
    return found


def read(blobs: Sequence[Blob], bad: BadRows) -> Rows:
    """Raw rows of all files, each with its place; what is no row is added to `bad`."""
    for _, group in groupby(blobs, lambda blob: id(blob.source)):
        yield from read_source(list(group), bad)


def read_source(blobs: Sequence[Blob], bad: BadRows) -> Rows:
    """The same for files of one source: the first of its rows, with the names that formats know."""
    source = blobs[0].source if blobs else None
    if source is None:
        return _all_rows(blobs, bad)
    return renamed(islice(_all_rows(blobs, bad), _wanted(blobs, source.rows)), source)


def _all_rows(blobs: Sequence[Blob], bad: BadRows) -> Rows:
    return (row for blob in blobs for row in READERS[blob.kind](blob, bad))


def _wanted(blobs: Sequence[Blob], size: float | None) -> int | None:
    """How many rows a number or a share means; for a share they are counted. At least one, and None for all."""
    if size is None or size >= 1:
        return None if size is None else int(size)
    return max(int(size * sum(1 for _ in _all_rows(blobs, BadRows()))), 1)


def _found(name: str, base: Path) -> list[Blob]:
    if name.startswith("hub:"):
        from lorry.data.readers import hub

        return hub.find(name, tuple(READERS))
    try:
        return _found_here(name, base)
    except OSError as error:
        message = f"cannot be read: {error.strerror}: {show(error.filename, 200)}"
        raise DataError(message, place=show(name, 200), hint="name files that you may read") from error


def _found_here(name: str, base: Path) -> list[Blob]:
    path = base / from_home(name)
    if path.is_dir():
        return _folder(path, base)
    if any(sign in name for sign in "*?[") and not path.exists():
        return _matching(name, base)
    if not path.is_file():
        raise DataError("no such file", place=_shown(path, base), hint=_near(path))
    return [_known(Blob.local(path, _shown(path, base)))]


def _folder(path: Path, base: Path) -> list[Blob]:
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file, path))
    texts = [file for file in inside if file.suffix.lower() in text.SUFFIXES]
    if texts:
        return [Blob.local(file, _shown(file, base)) for file in texts]
    tables = [file.relative_to(path).as_posix() for file in inside if file.suffix.lower() in READERS]
    hint = f"name its files: `{_shown(path / tables[0], base)}`" if tables else "put .txt, .md or .rst files there"
    raise DataError("the folder holds no text files", place=_shown(path, base), hint=hint)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _matching(name: str, base: Path) -> list[Blob]:
    pattern = from_home(name)
    root = Path(pattern.anchor) if pattern.is_absolute() else base
    relative = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
    try:
        files = sorted(file for file in root.glob(str(relative)) if file.is_file())
    except ValueError as error:
        hint = "`**` stands between slashes: `rows/**/*.jsonl`"
        raise DataError(f"no pattern for files: {error}", place=name, hint=hint) from error
    if not files:
        raise DataError("no file matches", place=name, hint=f"looked in {root}")
    return [_known(Blob.local(file, _shown(file, base))) for file in files]


def _shown(file: Path, base: Path) -> str:
    """A file's name as the person knows it: from the recipe's folder if it lies there, else whole."""
    return file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)


def _known(blob: Blob) -> Blob:
    if blob.kind in READERS:
        return blob
    what = f"files of the kind `{blob.suffix}` cannot be read" if blob.suffix else "the file's name has no suffix"
    raise DataError(what, place=blob.name, hint=f"name it by what it holds: {', '.join(READERS)}")


def _near(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    near = get_close_matches(path.name, [file.name for file in folder.iterdir()], n=1) if folder == path.parent else []
    if near:
        return f"did you mean `{near[0]}`? (looked in {folder})"
    return f"looked for {path}" if folder == path.parent else f"looked for {path}: there is no folder {path.parent}"
