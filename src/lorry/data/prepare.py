"""Preparing data: what a recipe names becomes rendered sets on disk, with facts about them; done once, then reused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from lorry.data import columns, files
from lorry.data.assemble import Assembler
from lorry.data.examples import UNWANTED, ExampleSet
from lorry.data.facts import DataFacts
from lorry.data.images.picture import Album, AlbumWriter, Picture
from lorry.data.images.sources import Seen, folder_for, note_sources, with_sources
from lorry.data.images.taking import Taking
from lorry.data.readers.blob import Blob
from lorry.data.render import Renderer
from lorry.data.rows import Message
from lorry.data.template import plain
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError, InputError
from lorry.plugins import make
from lorry.recipe.chat_template import is_file
from lorry.recipe.paths import from_home
from lorry.recipe.schema import DataSettings, Recipe
from lorry.track.folder import cache, write_json
from lorry.trainer.methods._base import Method

_VERSION = 9
"""Raised whenever the same files and settings would give other sets than before."""

NAME = 32
"""Letters of a folder's name that tell files and settings; what follows tells images and columns."""
SPLITS = ("train", "eval", "test")

_NO_FOLDER = frozenset(
    getattr(errno, name) for name in ("EACCES", "EEXIST", "ENAMETOOLONG", "ENOENT", "ENOTDIR", "EPERM", "EROFS")
)
"""Errors by which a system says that nothing can be written there."""


@dataclass(frozen=True)
class Task:
    """A question with its answer: what is generated for, and compared with."""

    index: int
    """The first of its examples' indices in its split."""
    messages: list[Message]
    """The turns before the answer."""
    tools: list[dict[str, Any]] | None
    truth: str
    origin: str
    apart: str = ""
    """What tells its row from others with the same prompt and answer: the answer that people liked less, or the label."""
    reasoning: str = ""
    """What the answer's turn thinks before it answers, where the row says so."""
    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else its row holds, where it has no answer; else `Prepared.with_columns` adds it."""
    images: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Numbers and hashes of its images, in the order of the marks in its turns."""
    pictures: tuple[Picture, ...] = ()
    """The same, to be looked at."""


@dataclass(frozen=True)
class Prepared:
    """Rendered sets in a folder, and the facts about them."""

    folder: Path
    facts: DataFacts

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """What `prepare` left in a folder. Raises DataError if it is not there, or not whole."""
        try:
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            hint = "run `lorry check RECIPE` to render them again"
            raise DataError("the rendered rows are gone", place=str(folder), hint=hint) from error
        return cls(folder, DataFacts.from_json(facts))

    @cached_property
    def train(self) -> ExampleSet:
        """The rows that are trained on."""
        return ExampleSet(self.folder / "train")

    @cached_property
    def eval(self) -> ExampleSet | None:
        """Rows that are never trained on, scored during training; None if there are none."""
        return ExampleSet(self.folder / "eval") if self.facts.eval else None

    @cached_property
    def test(self) -> ExampleSet | None:
        """Rows that are scored once, at the end; None if there are none."""
        return ExampleSet(self.folder / "test") if self.facts.test else None

    @cached_property
    def album(self) -> Album:
        """The images of all rows."""
        return Album(self.folder)

    def was_cut(self, split: str, index: int) -> bool:
        """Whether the row of an example lost its end."""
        return bool(np.load(self.folder / split / "cut.npy")[index])

    def tasks_file(self, split: str) -> Path | None:
        """Where the questions and answers of a split stand, one JSON object a line; None for raw text."""
        file = self.folder / split / "tasks.jsonl"
        return file if file.is_file() and file.stat().st_size else None

    def tasks(self, split: str) -> list[Task]:
        """Questions and answers of `train`, `eval` or `test`, in the order of its examples; none for raw text."""
        file = self.tasks_file(split)
        if file is None:
            return []
        with file.open(encoding="utf-8") as lines:
            examples = ExampleSet(self.folder / split)
            found = zip(examples.firsts.tolist(), lines, strict=False)
            # What people disliked is no answer to be held against.
            return [self._task(at, line) for at, line in found if examples.kinds[at] not in UNWANTED]

    def _task(self, at: int, line: str) -> Task:
        task = Task(index=at, **json.loads(line))
        pictures = tuple(self.album[number] for number, _ in task.images)
        return replace(task, pictures=pictures) if pictures else task

    def with_columns(self, split: str, tasks: Sequence[Task]) -> list[Task]:
        """The same tasks with what else their rows hold, for metrics; training rows' was not kept."""
        if not tasks:
            return []
        rows = {first: row for row, first in enumerate(ExampleSet(self.folder / split).firsts.tolist())}
        found = columns.read(self.folder / split, {rows[task.index] for task in tasks})
        return [replace(task, columns=task.columns or found.get(rows[task.index], {})) for task in tasks]


def prepare(recipe: Recipe, base: Path, tokenizer: Tokenizer, *, all_columns: bool = False) -> Prepared:
    """The recipe's rows, rendered for its method and this tokenizer. Relative paths start from `base`.

    Of rows that are held back what else they hold is kept, with `all_columns` of all.

    Reuses what an earlier call left, if files, tokenizer, template and settings are the same. Raises DataError for rows
    that cannot be used (all of them in one), InputError when the disk is full.
    """
    renderer = renderer_for(recipe, base, tokenizer)
    method = cast("Method", make("methods", recipe.method))
    blobs = _found(recipe, base)
    digests = _digests(blobs)
    place = _place(recipe, renderer, digests, blobs)
    if all_columns:
        place = place.with_name(f"{place.name}-columns")
    folder = with_sources(place, base)
    if (folder / "facts.json").is_file():
        return _noted(Prepared.open(folder), blobs)
    seen: Seen = {}
    with _built(place, base, seen) as aside:
        images, skips = recipe.data.image_folder, recipe.data.on_bad_image == "skip"
        taking = Taking(AlbumWriter(aside), base, None if images is None else base / from_home(images), skips, seen)
        assembler = Assembler(recipe.data, method, renderer, taking, all_columns=all_columns)
        facts = assembler.assemble(blobs, digests)
        write_json(aside / "facts.json", facts.as_json())
    return Prepared.open(folder_for(place, base, seen))


def rows_folder(recipe: Recipe, base: Path, tokenizer: Tokenizer) -> Path:
    """Where `prepare` leaves, or left, the rows of these files and settings; nothing is rendered for it."""
    blobs = _found(recipe, base)
    return with_sources(_place(recipe, renderer_for(recipe, base, tokenizer), _digests(blobs), blobs), base)


def tells_day(recipe: Recipe, base: Path, tokenizer: Tokenizer) -> bool:
    """Whether rows may hold the day on which they are rendered."""
    chat = renderer_for(recipe, base, tokenizer).tokenizer
    return chat.has_template and chat.template().tells_time


def _found(recipe: Recipe, base: Path) -> dict[str, list[Blob]]:
    return {name: files.find(named, base) for name in SPLITS if (named := getattr(recipe.data, name)) is not None}


def _digests(blobs: Mapping[str, list[Blob]]) -> dict[str, str]:
    return {blob.name: blob.digest() for split in blobs.values() for blob in split}


def _noted(prepared: Prepared, blobs: Mapping[str, list[Blob]]) -> Prepared:
    """With what is to be said of the files this time."""
    notes = dict.fromkeys(blob.note for split in blobs.values() for blob in split if blob.note)
    return (
        replace(prepared, facts=replace(prepared.facts, notes=[*prepared.facts.notes, *notes])) if notes else prepared
    )


def renderer_for(recipe: Recipe, base: Path, tokenizer: Tokenizer) -> Renderer:
    """How rows are rendered, in training and in generation alike; its `tokenizer` has the recipe's template."""
    data = recipe.data
    chat = templated(tokenizer, data, base)
    return Renderer(chat, data.max_length, plain(data.template_args), max_pixels=data.max_pixels)


def templated(tokenizer: Tokenizer, data: DataSettings, base: Path) -> Tokenizer:
    """The tokenizer with the chat template that the recipe names, or its own. Raises DataError for a missing file."""
    if data.chat_template is None:
        return tokenizer
    if not is_file(data.chat_template):
        chat = tokenizer.with_template(data.chat_template)
        chat.template()
        return chat
    path = base / from_home(data.chat_template)
    if not path.is_file():
        hint = "give a Jinja file, relative to the recipe, or `chatml`, or `plain`"
        raise DataError("no such chat template", place=data.chat_template, hint=hint)
    chat = tokenizer.with_template(Blob.local(path, data.chat_template).text())
    chat.template()
    return chat


def _place(recipe: Recipe, renderer: Renderer, digests: Mapping[str, str], blobs: Mapping[str, list[Blob]]) -> Path:
    """The folder named by a hash of all that the rendered sets depend on."""
    method = cast("Method", make("methods", recipe.method))
    data = recipe.data.model_dump(mode="json", exclude={"packing", "chat_template"})
    named = {name: [[blob.name, digests[blob.name]] for blob in split] for name, split in blobs.items()}
    tokenizer = renderer.tokenizer
    today = str(date.today()) if tokenizer.has_template and tokenizer.template().tells_time else ""
    parts = [_VERSION, data, named, type(method).name, method.model_dump(mode="json"), tokenizer.sha256(), today]
    text = json.dumps(parts, sort_keys=True, default=str)
    return cache() / "rows" / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:NAME]


@contextmanager
def _built(folder: Path, base: Path, seen: Seen) -> Generator[Path]:
    """A folder to build in, put into place whole when the block ends well, and removed when it does not.

    `seen` tells at the end which image files were looked for, and how they were before they were read.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        _clear_unfinished(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        note_sources(folder, base, seen)
        folder = folder_for(folder, base, seen)
        if not (folder / "facts.json").is_file():
            # Nobody else prepared the same in the meantime.
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    except OSError as error:
        raise _said(error, folder) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _clear_unfinished(parent: Path) -> None:
    """Removes what processes left that were killed while they built."""
    for left in parent.glob(".*.*"):
        owner = left.suffix[1:]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _said(error: OSError, folder: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"free some space, or set LORRY_HOME to a larger disk; `{cache()}` may be deleted"
        return InputError("the disk is full", place=str(folder.parent), hint=hint)
    if error.errno in _NO_FOLDER:
        hint = "set LORRY_HOME to a folder that you may write to"
        return InputError(f"rendered rows cannot be written: {error.strerror}", place=str(folder.parent), hint=hint)
    return error
