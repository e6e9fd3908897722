"""Staging: files are read, understood, rendered and written as one set, from which splits are then taken.

Works on a few hundred rows at a time; what grows with the number of rows is 40 bytes for each.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lorry.data import columns, detect
from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.detect import Layout
from lorry.data.divide import prompt_key
from lorry.data.examples import Example, ExampleSet, ExampleWriter
from lorry.data.images.families import FAMILIES
from lorry.data.images.opened import CorruptImageError
from lorry.data.images.taking import Taking
from lorry.data.readers.blob import Blob
from lorry.data.render import Renderer
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.trainer.methods._base import Method

_ROWS_AT_ONCE = 512
_CHARS_AT_ONCE = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Staged:
    """All usable rows of some files, rendered."""

    folder: Path
    examples: ExampleSet
    row_of: NDArray[np.int64]
    """The row of each example, `(examples,)`, rising."""
    keys: NDArray[np.uint64]
    """What rows with the same prompt share, `(rows,)`."""
    cut: NDArray[np.bool_]
    """Which rows lost their end, `(rows,)`."""
    dropped: int
    """Rows of which nothing to train on was left."""
    long: int
    """Rows that were left out for their length, as the recipe asks."""
    bad: BadRows
    unseen: BadRows
    """Rows whose image cannot be decoded, where they are skipped."""
    read: int
    """Rows in the files, bad ones included."""
    format: str


class Stager:
    """Makes staged sets for one method and one renderer."""

    def __init__(
        self,
        method: Method,
        renderer: Renderer,
        taking: Taking,
        *,
        keeps_columns: bool = True,
        skips_long: bool = False,
    ) -> None:
        self._method = method
        self._renderer = renderer
        self._taking = taking
        self._keeps_columns = keeps_columns
        self._skips_long = skips_long

    def stage(self, blobs: Sequence[Blob], layout: Layout, folder: Path) -> Staged:
        """All usable rows of the files. Reads them once, and again only if formats turn out to be mixed."""
        tally = deepcopy(self._renderer.tally)
        staged = self._once(blobs, layout, folder)
        if not layout.mixed:
            return staged
        layout.settle()
        self._renderer.tally.reset_to(tally)
        shutil.rmtree(folder)
        return self._once(blobs, layout, folder)

    def _once(self, blobs: Sequence[Blob], layout: Layout, folder: Path) -> Staged:
        bad, unseen = BadRows(), BadRows()
        sink = _Sink(folder, keeps_columns=self._keeps_columns, skips_long=self._skips_long)
        try:
            for read in chunks(detect.rows(blobs, layout, bad)):
                chunk = self._with_pictures(read, bad, unseen if self._taking.skips_corrupt else bad)
                for row, result in zip(chunk, self._method.examples_of(chunk, self._renderer), strict=True):
                    if isinstance(result, DataError):
                        bad.add(row.origin, BadRowError(result.message, hint=result.hint))
                    else:
                        sink.append(row, result)
        except BaseException:
            sink.abandon()
            raise
        return sink.close(bad, unseen, layout.format)

    def _with_pictures(self, rows: Sequence[Row], bad: BadRows, unseen: BadRows) -> list[Row]:
        """The rows whose images could be had, with them."""
        usable: list[Row] = []
        if not any(row.images for row in rows):
            return list(rows)
        if fault := self._reads_no_images():
            for row in rows:
                if row.images:
                    bad.add(row.origin, fault)
                else:
                    usable.append(row)
            return usable
        for row, taken in zip(rows, self._taking.take(rows), strict=True):
            if isinstance(taken, BadRowError):
                (unseen if isinstance(taken, CorruptImageError) else bad).add(row.origin, taken)
            else:
                usable.append(taken)
        return usable

    def _reads_no_images(self) -> BadRowError | None:
        if self._renderer.vision is None:
            hint = f"take a model that lorry shows images to ({', '.join(FAMILIES)}), or rows without images"
            return BadRowError("the row has images, and the model reads none", hint=hint)
        if not self._method.reads_images:
            hint = "`sft`, `dpo`, `orpo` and `simpo` learn from images"
            return BadRowError(f"the row has images, which `{type(self._method).name}` does not learn from", hint=hint)
        return None


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in groups that are quick to tokenise together and small enough to hold."""
    group: list[Row] = []
    chars = 0
    for row in rows:
        turns = [*(row.messages or []), *(row.rejected or [])]
        size = len(row.text) if row.text is not None else sum(len(turn["content"]) for turn in turns)
        size += sum(one.weight for one in row.images)
        if group and (len(group) >= _ROWS_AT_ONCE or chars + size > _CHARS_AT_ONCE):
            yield group
            group, chars = [], 0
        group.append(row)
        chars += size
    if group:
        yield group


def take(staged: Staged, rows: NDArray[np.int64] | None, folder: Path, *, with_columns: bool) -> ExampleSet:
    """A set of the examples and tasks of some rows (rising indices), or of all, which empties the staged set."""
    if rows is None:
        if not with_columns:
            (staged.folder / columns.FILE).unlink(missing_ok=True)
        np.save(staged.folder / "cut.npy", staged.cut[staged.row_of])
        staged.folder.rename(folder)
        return ExampleSet(folder)
    wanted = np.zeros(len(staged.keys), dtype=np.bool_)
    wanted[rows] = True
    examples = staged.examples.copy(wanted[staged.row_of], folder)
    _copy_tasks(staged, wanted, folder)
    if with_columns:
        columns.copy(staged.folder, folder, wanted.tolist())
    np.save(folder / "cut.npy", staged.cut[staged.row_of][wanted[staged.row_of]])
    return examples


def _copy_tasks(staged: Staged, wanted: NDArray[np.bool_], folder: Path) -> None:
    source = staged.folder / "tasks.jsonl"
    with source.open(encoding="utf-8") as lines, (folder / source.name).open("w", encoding="utf-8") as kept:
        kept.writelines(line for line, keep in zip(lines, wanted.tolist(), strict=False) if keep)


class _Sink:
    """Where rendered rows go."""

    def __init__(self, folder: Path, *, keeps_columns: bool, skips_long: bool) -> None:
        self._folder = folder
        self._skips_long = skips_long
        self._writer = ExampleWriter(folder)
        self._columns = columns.ColumnsWriter(folder) if keeps_columns else None
        self._tasks = (folder / "tasks.jsonl").open("w", encoding="utf-8")
        self._row_of = array("q")
        self._keys = array("Q")
        self._cut = bytearray()
        self._dropped = 0
        self._long = 0

    def append(self, row: Row, examples: Sequence[Example]) -> None:
        useful = [example for example in examples if example.is_useful]
        if not useful or (len(useful) < len(examples) and any(example.kind.follows for example in examples)):
            self._dropped += 1
            return
        if self._skips_long and any(example.cut for example in examples):
            self._long += 1
            return
        for example in useful:
            self._writer.append(example, row.origin)
            self._row_of.append(len(self._keys))
        self._keys.append(prompt_key(row))
        self._cut.append(any(example.cut for example in useful))
        if row.messages is not None:
            self._tasks.write(json.dumps(_task(row), ensure_ascii=False) + "\n")
        if self._columns is not None:
            self._columns.append(row.beside)

    def abandon(self) -> None:
        """Closes the files of a set that will not be whole."""
        self._tasks.close()
        self._writer.close()
        if self._columns is not None:
            self._columns.close()

    def close(self, bad: BadRows, unseen: BadRows, layout: str) -> Staged:
        self._tasks.close()
        if self._columns is not None:
            self._columns.close()
        return Staged(
            folder=self._folder,
            examples=self._writer.close(),
            row_of=np.frombuffer(self._row_of, dtype=np.int64) if self._row_of else np.zeros(0, np.int64),
            keys=np.frombuffer(self._keys, dtype=np.uint64) if self._keys else np.zeros(0, np.uint64),
            cut=np.frombuffer(bytes(self._cut), dtype=np.bool_),
            dropped=self._dropped,
            long=self._long,
            bad=bad,
            unseen=unseen,
            read=len(self._keys) + self._dropped + self._long + bad.count + unseen.count,
            format=layout,
        )


def _task(row: Row) -> dict[str, Any]:
    messages = row.messages or []
    if row.columns is not None:
        asked = {"messages": messages, "tools": row.tools, "truth": row.truth, "origin": str(row.origin)}
        return {**asked, "columns": json.loads(json.dumps(row.columns, default=str))}
    last = messages[-1]
    truth = last["content"] or json.dumps(last.get("tool_calls"), ensure_ascii=False)
    asked = messages[: row.asked or -1]
    thought = {"reasoning": last["reasoning_content"]} if last.get("reasoning_content") else {}
    shown = {"images": [[one.number, one.sha256.hex()] for one in row.pictures]} if row.pictures else {}
    told = {"messages": asked, "tools": row.tools, "truth": truth, "origin": str(row.origin)}
    return {**told, **thought, **_apart(row), **shown}


def _apart(row: Row) -> dict[str, str]:
    """What tells a row from others with the same prompt and answer; nothing where prompt and answer are all of it."""
    if row.rejected is not None:
        return {"apart": json.dumps(row.rejected[row.asked :], ensure_ascii=False)}
    return {} if row.label is None else {"apart": str(row.label)}
