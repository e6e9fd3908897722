"""Examples: rows as the trainer sees them, token ids with a mark on each trained token, in memory-mapped files.

A set is a folder with `ids.bin` (int32), `trained.bin` (one byte a token), `starts.npy` (int64, n + 1 offsets into the
former two), `kinds.npy` (int8, what each is in its row) and `origins.npy` (int64, n pairs of file number and line). Rows with
images have `placed.npy` (int32, five numbers an image: which, first token, end, rows and columns) and `placed_starts.npy`; the
images themselves lie in the album of the folder above. Reading costs no memory but the pages touched.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorry.data.images.picture import Album, Placed, kept_before
from lorry.data.rows import Origin

_BLOCK = 1 << 20
_EXAMPLES = 4096
"""Bytes, and examples, that are handled at once."""


class Kind(IntEnum):
    """What an example is in its row. Those from `REJECTED` on belong to the one before and are never without it."""

    ALONE = 0
    CHOSEN = 1
    GOOD = 2
    BAD = 3
    PROMPT = 4
    """A prompt alone, which the model answers by itself while it trains."""
    REJECTED = 10
    STRANGE = 11
    """A prompt with another row's answer, against which KTO measures how far the model has moved."""

    @property
    def follows(self) -> bool:
        """Whether it belongs to the example before it."""
        return self >= Kind.REJECTED


UNWANTED = frozenset({Kind.BAD, Kind.REJECTED, Kind.STRANGE})
"""Answers that nobody wants the model to give."""
CONTEXT = 2
"""In `trained.bin`: a token of the prompt whose likelihood counts, though it is no part of the answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row in tokens. `trained[i]` says that predicting `ids[i]` from what stands before it counts in the loss."""

    ids: NDArray[np.int32]  # (length,)
    trained: NDArray[np.bool_]  # (length,)
    cut: bool = False
    """Whether the row was longer and lost its end; not kept on disk."""
    kind: Kind = Kind.ALONE
    context: NDArray[np.bool_] | None = None
    """`(length,)`: which trained tokens are part of the prompt; None for none."""
    known: Mapping[str, NDArray[np.float32]] | None = None
    """By name, `(trained tokens,)`: what a method knows of each before it is trained on; not kept on disk."""

    images: tuple[Placed, ...] = ()
    """Its images, in their order; their tokens are never trained on."""

    def without_images(self) -> Example:
        """The same, with nothing trained on where an image stands."""
        trained = self.trained.copy()
        for one in self.images:
            trained[one.start : one.end] = False
        return replace(self, trained=trained)

    def up_to(self, length: int) -> Example:
        """Its beginning, of so many tokens, or fewer where that would cut an image: then it ends before the image."""
        images, length = kept_before(self.images, length)
        context = None if self.context is None else self.context[:length]
        is_cut = self.cut or length < len(self.ids)
        short = replace(self, ids=self.ids[:length], trained=self.trained[:length], context=context)
        return replace(short, images=images, cut=is_cut)

    @property
    def answer(self) -> NDArray[np.bool_]:
        """`(length,)`: which trained tokens are part of an answer."""
        return self.trained if self.context is None else self.trained & ~self.context

    @property
    def has_answer(self) -> bool:
        """Whether there are any."""
        return bool(self.answer.any())

    @property
    def is_useful(self) -> bool:
        """Whether something can be learnt from it: it has an answer, or is to be answered."""
        return self.has_answer or self.kind is Kind.PROMPT


class ExampleSet:
    """A read-only sequence of examples on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._starts: NDArray[np.int64] = np.load(folder / "starts.npy")
        self._origins: NDArray[np.int64] = np.load(folder / "origins.npy")
        self._files: list[str] = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        self._ids: NDArray[np.int32] = _mapped(folder / "ids.bin", np.int32)
        self._trained: NDArray[np.uint8] = _mapped(folder / "trained.bin", np.uint8)
        self.kinds: NDArray[np.int8] = np.load(folder / "kinds.npy")
        """Of each example, `(n,)`."""
        self._known: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._placed, self._placed_starts = _placed_in(folder, len(self._starts))

    @property
    def has_images(self) -> bool:
        """Whether any row shows something."""
        return len(self._placed) > 0

    @property
    def image_lengths(self) -> NDArray[np.int64]:
        """Tokens of each image of all examples, marks between its placeholders included, `(images,)`."""
        return (self._placed[:, 2] - self._placed[:, 1]).astype(np.int64)

    def images(self, index: int) -> tuple[Placed, ...]:
        """The images of one example."""
        if not self.has_images:
            return ()
        pictures = self._album
        rows = self._placed[int(self._placed_starts[index]) : int(self._placed_starts[index + 1])].tolist()
        return tuple(Placed(pictures[number], start, end, (high, wide)) for number, start, end, high, wide in rows)

    @cached_property
    def _album(self) -> Album:
        return Album(self.folder.parent)

    def knowing(self, name: str, values: NDArray[np.float32], bounds: NDArray[np.int64]) -> ExampleSet:
        """The same examples, of which something more is known: `values[bounds[i]:bounds[i + 1]]` of the tokens of the i-th."""
        more = copy(self)
        more._known = {**self._known, name: (values, bounds)}
        return more

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Example:
        span = slice(int(self._starts[index]), int(self._starts[index + 1]))
        marks, kind = self._trained[span], Kind(int(self.kinds[index]))
        context = marks == CONTEXT
        known = {name: values[bounds[index] : bounds[index + 1]] for name, (values, bounds) in self._known.items()}
        return Example(
            self._ids[span],
            marks > 0,
            kind=kind,
            context=context if context.any() else None,
            known=known or None,
            images=self.images(index),
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, `(n,)`."""
        return np.diff(self._starts)

    @cached_property
    def units(self) -> list[list[int]]:
        """Indices of examples that belong together: those of a pair, else each alone."""
        return [[*range(first, end)] for first, end in pairwise([*self.firsts.tolist(), len(self)])]

    @property
    def unit_count(self) -> int:
        """How many units there are."""
        return len(self.firsts)

    def members(self, units: Iterable[int]) -> list[int]:
        """Indices of the examples of these units."""
        return [index for unit in units for index in range(int(self._bounds[unit]), int(self._bounds[unit + 1]))]

    @cached_property
    def unit_lengths(self) -> NDArray[np.int64]:
        """Tokens of each unit, what its examples share counted for each, `(units,)`."""
        return np.add.reduceat(self.lengths, self.firsts) if len(self) else self.lengths

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The first example of each unit, `(units,)`."""
        return np.flatnonzero(self.kinds < Kind.REJECTED).astype(np.int64)

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        return np.append(self.firsts, len(self))

    def together(self, indices: Iterable[int]) -> list[Example]:
        """The examples of whole rows that any of these belong to."""
        return [self[one] for one in self.whole(indices)]

    def whole(self, indices: Iterable[int]) -> list[int]:
        """These examples, and those that belong together with them."""
        units = np.searchsorted(self.firsts, np.asarray([*indices], dtype=np.int64), side="right") - 1
        return self.members(np.unique(units).tolist())

    @property
    def tokens(self) -> int:
        """Tokens of all examples."""
        return int(self._starts[-1])

    @property
    def trained_tokens(self) -> int:
        """Tokens that count in the loss."""
        with (self.folder / "trained.bin").open("rb") as file:
            return sum(len(part) - part.count(0) for part in iter(lambda: file.read(_BLOCK), b""))

    def origin(self, index: int) -> Origin:
        """Where the row of this example stands."""
        file, line = self._origins[index]
        return Origin(self._files[file], int(line))

    def sha256(self) -> str:
        """Hash of the tokens, marks and boundaries, and of the images."""
        digest = hashlib.sha256()
        names = ["ids.bin", "trained.bin", "starts.npy", *(["kinds.npy"] if self.kinds.any() else [])]
        for name in names:
            with (self.folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if self.has_images:
            pictures = self._album
            digest.update(self._placed_starts.tobytes() + self._placed[:, 1:].tobytes())
            for number in self._placed[:, 0].tolist():
                digest.update(pictures[number].sha256)
        return digest.hexdigest()

    def copy(self, chosen: NDArray[np.bool_], folder: Path) -> ExampleSet:
        """A new set of the chosen examples, `(n,)`, in their order. Reads files part by part, not through the map."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in (("ids.bin", 4), ("trained.bin", 1)):
            with (self.folder / name).open("rb") as source, (folder / name).open("wb") as target:
                for begin in range(0, len(self), _EXAMPLES):
                    part = slice(begin, begin + _EXAMPLES)
                    tokens = np.frombuffer(source.read(int(self.lengths[part].sum()) * size), dtype=f"V{size}")
                    target.write(tokens[np.repeat(chosen[part], self.lengths[part])].tobytes())
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths[chosen])])
        np.save(folder / "starts.npy", starts)
        np.save(folder / "origins.npy", self._origins[chosen])
        np.save(folder / "kinds.npy", self.kinds[chosen])
        (folder / "files.json").write_text(json.dumps(self._files), encoding="utf-8")
        if self.has_images:
            counts = np.diff(self._placed_starts)
            np.save(folder / "placed.npy", self._placed[np.repeat(chosen, counts)])
            np.save(folder / "placed_starts.npy", np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[chosen])]))
        return ExampleSet(folder)


class ExampleWriter:
    """Appends examples to a new set; `close` makes it readable. Memory grows by 25 bytes an example."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._ids = (folder / "ids.bin").open("wb")
        self._trained = (folder / "trained.bin").open("wb")
        self._starts = array("q", [0])
        self._origins = array("q")
        self._kinds = array("b")
        self._placed = array("i")
        self._placed_starts = array("q", [0])
        self._files: dict[str, int] = {}

    def append(self, example: Example, origin: Origin) -> None:
        """Adds one example."""
        self._ids.write(example.ids.astype(np.int32, copy=False).tobytes())
        marks = example.trained.astype(np.uint8)
        if example.context is not None:
            marks[example.context & example.trained] = CONTEXT
        self._trained.write(marks.tobytes())
        self._kinds.append(example.kind)
        for one in example.images:
            self._placed.extend((one.picture.number, one.start, one.end, *one.grid))
        self._placed_starts.append(self._placed_starts[-1] + len(example.images))
        self._starts.append(self._starts[-1] + len(example.ids))
        self._origins.extend((self._files.setdefault(origin.file, len(self._files)), origin.line))

    def close(self) -> ExampleSet:
        """Writes the index and opens the set."""
        self._ids.close()
        self._trained.close()
        np.save(self.folder / "starts.npy", np.asarray(self._starts, dtype=np.int64))
        np.save(self.folder / "kinds.npy", np.asarray(self._kinds, dtype=np.int8))
        np.save(self.folder / "origins.npy", np.asarray(self._origins, dtype=np.int64).reshape(-1, 2))
        (self.folder / "files.json").write_text(json.dumps(list(self._files)), encoding="utf-8")
        if self._placed:
            np.save(self.folder / "placed.npy", np.asarray(self._placed, dtype=np.int32).reshape(-1, 5))
            np.save(self.folder / "placed_starts.npy", np.asarray(self._placed_starts, dtype=np.int64))
        return ExampleSet(self.folder)


def write_examples(folder: Path, examples: Iterable[tuple[Example, Origin]]) -> ExampleSet:
    """A set with these examples."""
    writer = ExampleWriter(folder)
    for example, origin in examples:
        writer.append(example, origin)
    return writer.close()


def _placed_in(folder: Path, bounds: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    if not (folder / "placed.npy").is_file():
        return np.zeros((0, 5), np.int32), np.zeros(bounds, np.int64)
    return np.load(folder / "placed.npy"), np.load(folder / "placed_starts.npy")


def _mapped(path: Path, dtype: type[Any]) -> NDArray[Any]:
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)
